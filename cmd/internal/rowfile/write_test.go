package rowfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyRow draws a row with any text in any field.
func anyRow(t *rapid.T) Row {
	var row Row
	text := rapid.OneOf(rapid.StringMatching(`[a-zA-Zа-я0-9 ,;"'\t\r\n\\=@<&\x{2028}]{0,12}`), rapid.String())
	for i, f := range fields {
		if i == fieldPortal {
			continue
		}
		*f.at(&row) = strings.ReplaceAll(text.Draw(t, f.name), "\x00", "")
	}
	row.Bot.Properties.PersonalPhoto = strings.TrimLeft(row.Bot.Properties.PersonalPhoto, "@\n")
	row.Portal = rapid.StringMatching(`[a-z0-9]{1,8}\.example\.(ru|рф)(:[1-9][0-9]{3})?`).Draw(t, "portal")
	return row
}

func TestWhatIsWrittenReadsBackTheSame(t *testing.T) {
	dir := t.TempDir()
	for _, format := range []string{JSONL, JSON, CSV} {
		t.Run(format, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				rows := rapid.SliceOfN(rapid.Custom(anyRow), 1, 5).Draw(rt, "rows")
				own := rapid.Bool().Draw(rt, "numbers of their own")
				for i := range rows {
					rows[i].Number = i + 1
				}
				var out bytes.Buffer
				w, err := NewWriter(&out, format)
				if err != nil {
					rt.Fatal(err)
				}
				for i, row := range rows {
					var note *Note
					if i%2 == 0 {
						note = &Note{Class: "validation", Code: "CODE_ERROR", Description: "=1+1, \"said\" the portal\n"}
					}
					if own {
						rows[i].Number = 1000 - 7*i
						row.Number = rows[i].Number
					} else {
						row.Number = 0
					}
					if err := w.Write(row, note); err != nil {
						rt.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					rt.Fatal(err)
				}
				path := filepath.Join(dir, "a."+format)
				if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
					rt.Fatal(err)
				}
				got, failure := readAll(t, path, Options{})
				for i := range got {
					got[i].Line = 0
				}
				if diff := cmp.Diff(rows, got); diff != "" || failure != "" {
					rt.Fatalf("error %q, rows differ:\n%s\n%s", failure, diff, out.String())
				}
			})
		})
	}
}

func TestWriterRefusesOtherFormats(t *testing.T) {
	if _, err := NewWriter(&bytes.Buffer{}, "xml"); err == nil {
		t.Error("no error")
	}
}

func TestNotesAreNoFormulas(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, CSV)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Row{Portal: "a.b"}, &Note{Description: "=HYPERLINK(1)"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), ",'=HYPERLINK(1)\n") {
		t.Error(out.String())
	}
}
