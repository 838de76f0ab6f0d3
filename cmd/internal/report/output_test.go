package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var fileFormats = []string{JSONL, JSON, CSV}

// put writes an existing output file.
func put(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t testing.TB, path string) *Output {
	t.Helper()
	o, err := OpenOutput(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// alone checks that a folder holds nothing but the file.
func alone(t testing.TB, path string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v", entries, err)
	}
}

func TestOutputIsTakenUpWhereverItWasCut(t *testing.T) {
	for _, format := range fileFormats {
		t.Run(format, func(t *testing.T) {
			whole := written(t, format, Options{}, samples()...)
			fresh := written(t, format, Options{}, samples()[:2]...)
			// Backwards from the whole, in steps that meet every kind of place.
			for cut := len(whole); cut >= 0; cut -= 7 {
				path := put(t, "out."+format, whole[:cut])
				o := open(t, path)
				kept := o.Kept()
				for _, r := range samples()[:2] {
					if _, ok := o.Registered(r.Portal, r.Code); ok {
						continue
					}
					if err := o.Write(r); err != nil {
						t.Fatal(err)
					}
				}
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(fresh, content(t, path)); diff != "" {
					t.Fatalf("cut at %d, %d kept:\n%s", cut, kept, diff)
				}
				if cut == len(whole) && kept != 2 {
					t.Errorf("%d of 2 registered rows kept", kept)
				}
				alone(t, path)
			}
		})
	}
}

func TestRegisteredGivesTheWholeResult(t *testing.T) {
	for _, format := range fileFormats {
		path := put(t, "out."+format, written(t, format, Options{}, samples()...))
		o := open(t, path)
		got, ok := o.Registered("ACME.bitrix24.ru", "HELPER")
		if diff := cmp.Diff(samples()[0].settled(), got); !ok || diff != "" {
			t.Errorf("%s: %v\n%s", format, ok, diff)
		}
		for _, r := range samples()[2:4] {
			if _, ok := o.Registered(r.Portal, r.Code); ok {
				t.Errorf("%s: row %d is %s", format, r.Row, r.Status)
			}
		}
		if err := errors.Join(o.Close(), o.Close()); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestAnyRegisteredRowIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	for _, format := range fileFormats {
		rapid.Check(t, func(rt *rapid.T) {
			path := filepath.Join(dir, "out."+format)
			if err := os.RemoveAll(path); err != nil {
				rt.Fatal(err)
			}
			text := rapid.StringMatching(`[a-z0-9Жé=+'", ;\\{}\[\]\n-]{0,9}`)
			var rows []Result
			for i := range rapid.IntRange(1, 6).Draw(rt, "rows") {
				rows = append(rows, Result{Row: i + 1, ID: text.Draw(rt, "id"), Portal: fmt.Sprintf("p%d.example.com", i),
					Code: text.Draw(rt, "code"), Status: Registered, BotID: int64(i), How: Created}.settled())
			}
			first, err := OpenOutput(path, "")
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range rows {
				if err := first.Write(r); err != nil {
					rt.Fatal(err)
				}
			}
			if err := first.Close(); err != nil {
				rt.Fatal(err)
			}
			again, err := OpenOutput(path, "")
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range rows {
				got, ok := again.Registered(r.Portal, r.Code)
				if diff := cmp.Diff(r, got); !ok || diff != "" {
					rt.Fatalf("%s: found %v\n%s", format, ok, diff)
				}
			}
			if err := again.Close(); err != nil {
				rt.Fatal(err)
			}
		})
	}
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	input := `{"portal":"a.b","CODE":"x"}`
	for name, text := range map[string]string{
		"rows.jsonl": input + "\n", "short.jsonl": input, "notes.txt": "hello\n", "nul.jsonl": "\x00\x00", "rows.json": "[" + input + "]",
		"object.json": input, "more.json": "[] []", "rows.csv": "portal,CODE\na.b,x\n", "jsonl.csv": wantJSONL, "csv.jsonl": wantCSV,
		"broken.jsonl": wantJSONL + "oops\n" + wantJSONL, "broken.csv": wantCSV + "oops\n" + "12,,a.b,x,registered,1,,,,,,,,,,,\n",
		"word.csv": csvHeader + "twelve,,a.b,x,registered,1,,,,,,,,,,,\n",
	} {
		path := put(t, name, text)
		_, err := OpenOutput(path, "")
		if err == nil || !strings.Contains(err.Error(), "holds something else than results") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if content(t, path) != text {
			t.Errorf("%s was changed", name)
		}
		alone(t, path)
	}
}

func TestOutputsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                               "is a folder, not a file",
		filepath.Join(dir, "no", "a.csv"): "its folder does not exist",
	} {
		if _, err := OpenOutput(path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, format := range []string{Table, "xml"} {
		if _, err := OpenOutput(filepath.Join(dir, "a"), format); err == nil {
			t.Errorf("format %s accepted", format)
		}
	}
	o, err := OpenOutput("/dev/full", JSONL)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Write(samples()[0]); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err == nil || !strings.Contains(err.Error(), "write results to /dev/full: the disk is full") {
		t.Errorf("got %v", err)
	}
}

func TestOutputBehindALinkAndLeftovers(t *testing.T) {
	path := put(t, "out.jsonl", wantJSONL)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".out.jsonl.compacting"), []byte("of a killed run"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.jsonl")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	o := open(t, link)
	if err := o.Close(); err != nil || o.Kept() != 2 {
		t.Errorf("%d kept, %v", o.Kept(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	alone(t, path)
}

// manyResults is a file of n registered rows.
func manyResults(tb testing.TB, n int, format string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "out."+format)
	o := open(tb, path)
	r := samples()[0]
	for i := range n {
		r.Row, r.Code = i+1, fmt.Sprintf("helper%d", i)
		if err := o.Write(r); err != nil {
			tb.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestMemoryOfWhatIsKept(t *testing.T) {
	const many = 40_000
	path := manyResults(t, many, JSONL)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	o := open(t, path)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); o.Kept() != many || grown/many > 80 {
		t.Errorf("%d rows take %d bytes each; 80 are allowed", o.Kept(), grown/many)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzPrevious(f *testing.F) {
	for i, format := range fileFormats {
		f.Add([]byte(written(f, format, Options{}, samples()...)), i)
	}
	f.Add([]byte("[{\"row\":1"), 1)
	f.Add([]byte(csvHeader+"1,\"\n"), 2)
	f.Fuzz(func(t *testing.T, text []byte, format int) {
		for r, err := range previousResults(strings.NewReader(string(text)), fileFormats[uint(format)%3]) {
			if err == nil && r.check() != nil {
				t.Fatalf("no result: %+v", r)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []string{JSONL, JSON, CSV, Table} {
		b.Run(format, func(b *testing.B) {
			count := &counter{w: discard{}}
			w, err := NewWriter(count, format, Options{Width: 120})
			if err != nil {
				b.Fatal(err)
			}
			r := samples()[0]
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Write(r); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil || count.n < int64(b.N)*40 {
				b.Fatalf("%d bytes written, %v", count.n, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkTakeUp(b *testing.B) {
	const many = 20_000
	for _, format := range fileFormats {
		b.Run(format, func(b *testing.B) {
			path := manyResults(b, many, format)
			for b.Loop() {
				o := open(b, path)
				for i := range many {
					if _, ok := o.Registered("acme.bitrix24.ru", fmt.Sprintf("helper%d", i)); !ok {
						b.Fatalf("row %d not found", i)
					}
				}
				if err := o.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(many)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
