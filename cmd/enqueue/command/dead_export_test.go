// From dead rows to a file, and from the file to the same rows.

package command

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"botfleet/bitrix"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks/runs"
)

const onePixelGIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

// photosOfAnyForm are base64 as people give it: some do not come back the same
// from their bytes.
func photosOfAnyForm(t *testing.T) []string {
	raw, err := base64.StdEncoding.DecodeString(onePixel)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"", onePixel, onePixelGIF, onePixel[:40] + "\r\n" + onePixel[40:] + "\n", base64.StdEncoding.EncodeToString(append(raw, 'x'))}
}

// anyBot draws a bot that Validate accepts.
func anyBot(photos []string) *rapid.Generator[bitrix.Bot] {
	return rapid.Custom(func(t *rapid.T) bitrix.Bot {
		text := rapid.Custom(func(t *rapid.T) string {
			s := rapid.OneOf(rapid.StringMatching(`[a-zA-Zа-я0-9 ,;"'\t\r\n\\=@<&\x{2028}\x{202e}{}$|%+-]{0,20}`), rapid.String()).Draw(t, "text")
			return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
		})
		url := func(name string) string {
			return "https://" + rapid.StringMatching(`[a-z]{1,5}\.example/[a-zA-Z0-9?&=%/#,;'"<>{}|$я-]{0,20}`).Draw(t, name)
		}
		b := bitrix.Bot{
			Code: rapid.StringMatching(`[ -~а-яё\r\n]{0,20}[a-z]`).Draw(t, "code"),
			Type: rapid.SampledFrom([]string{"", "B", "O", "H", "S"}).Draw(t, "type"), OpenLine: rapid.SampledFrom([]string{"", "Y", "N"}).Draw(t, "openline"),
			ClientID: text.Draw(t, "client_id"),
			Properties: bitrix.Properties{
				Name: text.Draw(t, "name") + "x", LastName: text.Draw(t, "last_name"), WorkPosition: text.Draw(t, "position"),
				Color:            rapid.SampledFrom([]string{"", "RED", "GRAPHITE"}).Draw(t, "color"),
				Email:            rapid.SampledFrom([]string{"", "a+b@example.com", "почта@пример.рф"}).Draw(t, "email"),
				PersonalBirthday: rapid.SampledFrom([]string{"", "2024-02-29"}).Draw(t, "birthday"),
				PersonalWWW:      rapid.SampledFrom([]string{"", "example.com/=x", "https://example.com"}).Draw(t, "www"),
				PersonalGender:   rapid.SampledFrom([]string{"", "M", "F"}).Draw(t, "gender"),
				PersonalPhoto:    rapid.SampledFrom(photos).Draw(t, "photo"),
			},
		}
		if rapid.Bool().Draw(t, "one handler") {
			b.EventHandler = url("handler")
			return b
		}
		b.EventMessageAdd, b.EventWelcomeMessage, b.EventBotDelete = url("add"), url("welcome"), url("delete")
		b.EventMessageUpdate = rapid.SampledFrom([]string{"", b.EventMessageAdd}).Draw(t, "update")
		return b
	})
}

// buryAs adds bots with their photos as dead rows of a new run.
func (g *graveyard) buryAs(t *testing.T, run string, bots []bitrix.Bot) {
	if err := g.runs.Open(t.Context(), run, runs.Begin{}); err != nil {
		t.Fatal(err)
	}
	for i, bot := range bots {
		o := runs.Outcome{
			Row: 10*i + 3, ID: fmt.Sprintf("id %d,;", i), Portal: g.portal.Name, PortalID: g.portal.ID, Code: bot.Code, Status: runs.StatusDead,
			Class: "validation", Error: &runs.Failure{Code: "NAME_ERROR", Description: "=1+1, \"said\"\n the portal"},
		}
		var err error
		if bot.Properties.PersonalPhoto != "" {
			if o.Photo, err = g.runs.PutPhoto(t.Context(), run, bot.Properties.PersonalPhoto); err != nil {
				t.Fatal(err)
			}
		}
		bot.Properties.PersonalPhoto = ""
		if o.Bot, err = json.Marshal(&bot); err != nil {
			t.Fatal(err)
		}
		if _, err := g.runs.AddDone(t.Context(), run, []string{fmt.Sprint("ident", i)}, []runs.Outcome{o}); err != nil {
			t.Fatal(err)
		}
	}
}

// rowsOf reads an exported file as submit does.
func rowsOf(t *testing.T, path, format, stdin string) []rowfile.Row {
	f, err := rowfile.Open(t.Context(), path, rowfile.Options{Format: format, Stdin: strings.NewReader(stdin)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var rows []rowfile.Row
	for row, err := range f.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		row.Line = 0
		rows = append(rows, row)
	}
	return rows
}

// Any valid bot comes back from an export as it was submitted, byte for byte,
// under its own number, in every format, from a file and from standard output.
func TestWhatIsExportedComesBack(t *testing.T) {
	g := newGraveyard(t)
	photos := photosOfAnyForm(t)
	folder := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		bots := rapid.SliceOfN(anyBot(photos), 1, 4).Draw(rt, "bots")
		var want []rowfile.Row
		for i, bot := range bots {
			if problems := bot.Validate(bitrix.Rules{}); len(problems) > 0 {
				rt.Fatalf("not valid: %v", problems)
			}
			want = append(want, rowfile.Row{Number: 10*i + 3, Portal: g.portal.Name, ID: fmt.Sprintf("id %d,;", i), Bot: bot})
		}
		n++
		run := fmt.Sprint("run", n)
		g.buryAs(t, run, bots)
		for _, format := range []string{"jsonl", "json", "csv"} {
			file := filepath.Join(folder, fmt.Sprintf("failed%d.%s", n, format))
			g.do(t, exitDone, "export", run, "--output", file, "--quiet")
			if d := gocmp.Diff(want, rowsOf(t, file, "", "")); d != "" {
				text, err := os.ReadFile(file)
				rt.Fatalf("%s (-want +got):\n%s\n%s%v", format, d, text, err)
			}
			out, _ := g.do(t, exitDone, "export", run, "--format", format, "--quiet")
			if d := gocmp.Diff(want, rowsOf(t, "-", format, out)); d != "" {
				rt.Fatalf("%s on standard output (-want +got):\n%s\n%s", format, d, out)
			}
		}
	})
}

func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			for name, text := range files(t, filepath.Join(folder, e.Name())) {
				found[e.Name()+"/"+name] = text
			}
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(text)
	}
	return found
}

// Photos lie beside the file, each once; what is missing is told, and cannot be
// submitted by mistake.
func TestExportedPhotosAndWhatIsMissing(t *testing.T) {
	g := newGraveyard(t)
	with := func(photo string) bitrix.Bot {
		b := goodBot("x")
		b.Properties.PersonalPhoto = photo
		return b
	}
	g.buryAs(t, "r2", []bitrix.Bot{with(onePixel), with(onePixelGIF), with(onePixel), with("")})
	folder := t.TempDir()
	file := filepath.Join(folder, "failed.csv")
	_, errs := g.do(t, exitDone, "export", "r2", "--output", file, "--class", "Validation")
	found := files(t, folder)
	if names := slices.Sorted(maps.Keys(found)); len(names) != 3 || !strings.HasPrefix(names[0], "failed-photos/") || !strings.Contains(errs, "2 photos in "+filepath.Join(folder, "failed-photos")) {
		t.Errorf("%v\n%s", names, errs)
	}
	if lines := strings.Split(found["failed.csv"], "\n"); !strings.HasPrefix(lines[0], "row,portal,id,CODE,") || !strings.HasSuffix(lines[0], ",class,error.code,error.description") ||
		!strings.HasPrefix(lines[1], "3,acme.bitrix24.ru,") || !strings.HasSuffix(lines[1], `,validation,NAME_ERROR,"'=1+1, ""said""  the portal"`) {
		t.Error(found["failed.csv"])
	}
	// The same again leaves what a person may have mended.
	_, errs = g.do(t, exitFailed, "export", "r2", "--output", file)
	if !strings.Contains(errs, "is there already, mended perhaps; name another file, or replace it with --yes") {
		t.Error(errs)
	}
	g.do(t, exitDone, "export", "r2", "--output", file, "--yes", "--code", "name_error")
	if d := gocmp.Diff(found, files(t, folder)); d != "" {
		t.Errorf("exported again (-before +after):\n%s", d)
	}

	for _, key := range g.rdb.Keys(t.Context(), "botfleet:{photo:*:data").Val() {
		if err := g.rdb.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	o := runs.Outcome{Row: 99, Portal: g.portal.Name, Code: "bare", Status: runs.StatusDead, Class: "validation"}
	if _, err := g.runs.AddDone(t.Context(), "r2", []string{"i"}, []runs.Outcome{o}); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{filepath.Join(folder, "later.jsonl"), ""} {
		args := []string{"export", "r2"}
		if output != "" {
			args = append(args, "--output", output)
		}
		out, errs := g.do(t, exitDone, args...)
		if strings.Count(errs, "its photo is no longer kept; put it in the place of @") != 3 ||
			!strings.Contains(errs, "row 99 (bare on acme.bitrix24.ru): what was submitted is not kept") || !strings.Contains(errs, "something is missing in 4 rows") {
			t.Error(errs)
		}
		rows := rowsOf(t, cmp.Or(output, "-"), "jsonl", out)
		for i, row := range rows {
			if (i != 3) != (len(row.Problems) > 0 || len(row.Bot.Validate(bitrix.Rules{})) > 0) || row.Bot.Code == "" {
				t.Errorf("row %d of the export: %+v", row.Number, row)
			}
		}
	}
}

func TestExportsThatCannotBe(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{}, grave{})
	folder := t.TempDir()
	before := write(t, "file.jsonl", "precious\n")
	for says, args := range map[string][]string{
		"not as \"table\"":        {"--format", "table"},
		"is a folder":             {"--output", folder},
		"folder does not exist":   {"--output", filepath.Join(folder, "none", "x.csv")},
		"is there already":        {"--output", before},
		"unknown command \"exp\"": nil,
	} {
		if args == nil {
			if _, errs := g.do(t, exitFailed, "exp"); !strings.Contains(errs, says) {
				t.Errorf("%s: %s", says, errs)
			}
			continue
		}
		if _, errs := g.do(t, exitFailed, append([]string{"export", deadRun}, args...)...); !strings.Contains(errs, says) {
			t.Errorf("%s: %s", says, errs)
		}
	}
	if text, err := os.ReadFile(before); err != nil || string(text) != "precious\n" {
		t.Errorf("%q, %v", text, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil { // nobody reads any more
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var errs bytes.Buffer
	code := Options{}.run(t.Context(), []string{"dead", "export", deadRun}, g.environ, stdio{strings.NewReader(""), w, &errs})
	if code != exitFailed || !strings.Contains(errs.String(), "broken pipe") {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
}
