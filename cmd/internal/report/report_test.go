package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	queued = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.FixedZone("", 3*3600))
	done   = queued.Add(2 * time.Second)
	yes    = true
)

func samples() []Result {
	return []Result{
		{Row: 12, ID: "k", Portal: "acme.bitrix24.ru", Code: "helper", Status: Registered, BotID: 39, How: Created, Attempts: 1, QueuedAt: queued, DoneAt: done},
		{Row: 13, Portal: "acme.bitrix24.ru", Code: "old", Status: Registered, BotID: 7, Existed: &yes, How: Skipped},
		{Row: 14, Portal: "beta.example.com:8443", Code: "=1+1", Status: Dead, Attempts: 8, Class: "transient",
			Error: &Failure{Code: "HTTP_502", Description: "evil \x1b[31m\u009b1m,\n\"<b>\""}, Retried: &Retried{Reason: "=back\nagain", At: done, Times: 2}},
		{Row: 15, Portal: "", Code: "x", Status: Refused, Errors: []bitrix.Problem{{Field: "CODE", Code: "CODE_ERROR", Problem: "too long"}, {Code: "INPUT", Problem: "broken"}}},
		{Row: 16, Portal: "acme.bitrix24.ru", Code: "Helper", Status: Duplicate, Of: &Ref{Run: "r1", Row: 12}},
	}
}

func written(t testing.TB, format string, o Options, results ...Result) string {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, format, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const wantJSONL = `{"row":12,"id":"k","portal":"acme.bitrix24.ru","code":"helper","status":"registered","bot_id":39,"existed":false,"how":"created","attempts":1,"queued_at":"2026-11-22T07:00:00.123Z","done_at":"2026-11-22T07:00:02.123Z"}
{"row":13,"portal":"acme.bitrix24.ru","code":"old","status":"registered","bot_id":7,"existed":true,"how":"skipped"}
{"row":14,"portal":"beta.example.com:8443","code":"=1+1","status":"dead","attempts":8,"class":"transient","error":{"code":"HTTP_502","description":"evil \u001b[31m\u009b1m,\n\"<b>\""},"retried":{"reason":"=back\nagain","at":"2026-11-22T07:00:02.123Z","times":2}}
{"row":15,"portal":"","code":"x","status":"refused","errors":[{"field":"CODE","code":"CODE_ERROR","problem":"too long"},{"field":"","code":"INPUT","problem":"broken"}]}
{"row":16,"portal":"acme.bitrix24.ru","code":"Helper","status":"duplicate","of":{"run":"r1","row":12}}
`

const wantCSV = `row,id,portal,code,status,bot_id,existed,how,attempts,queued_at,done_at,class,error_code,error_description,errors,of_run,of_row,retried_reason,retried_at,retried_times
12,k,acme.bitrix24.ru,helper,registered,39,false,created,1,2026-11-22T07:00:00.123Z,2026-11-22T07:00:02.123Z,,,,,,,,,
13,,acme.bitrix24.ru,old,registered,7,true,skipped,,,,,,,,,,,,
14,,beta.example.com:8443,'=1+1,dead,,,,8,,,transient,HTTP_502,"evil �[31m�1m, ""<b>""",,,,'=back again,2026-11-22T07:00:02.123Z,2
15,,,x,refused,,,,,,,,,,"CODE: too long (CODE_ERROR); broken (INPUT)",,,,,
16,,acme.bitrix24.ru,Helper,duplicate,,,,,,,,,,,r1,12,,,
`

const wantTable = `ROW  PORTAL                 CODE    STATUS      BOT_ID  DETAIL
12   acme.bitrix24.ru       helper  registered  39      created
13   acme.bitrix24.ru       old     registered  7       skipped
14   beta.example.com:8443  =1+1    dead                transient: HTTP_502: evil �[31m�1m, "<b>" (queued again 2 times: =back again)
15                          x       refused             CODE: too long (CODE_ERROR); broken (INPUT)
16   acme.bitrix24.ru       Helper  duplicate           of run r1, row 12
`

func TestFormats(t *testing.T) {
	for format, want := range map[string]string{JSONL: wantJSONL, CSV: wantCSV, Table: wantTable} {
		if diff := cmp.Diff(want, written(t, format, Options{}, samples()...)); diff != "" {
			t.Errorf("%s:\n%s", format, diff)
		}
	}
	for _, n := range []int{0, 1, 5} {
		var got []Result
		if err := json.Unmarshal([]byte(written(t, JSON, Options{}, samples()[:n]...)), &got); err != nil || len(got) != n {
			t.Errorf("array of %d: %d results, %v", n, len(got), err)
		}
	}
	if got := written(t, CSV, Options{}); got != csvHeader {
		t.Errorf("CSV of none: %q", got)
	}
	if _, err := NewWriter(io.Discard, "xml", Options{}); err == nil {
		t.Error("unknown format accepted")
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	text := written(t, Table, Options{Width: 60}, samples()...)
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 60 {
			t.Errorf("%d characters: %q", n, line)
		}
	}
	if !strings.Contains(text, "…\n") {
		t.Error("nothing was cut")
	}
	colored := written(t, Table, Options{Color: true}, samples()...)
	if plain := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[33m", "", "\x1b[90m", "", "\x1b[0m", "").Replace(colored); plain != wantTable || plain == colored {
		t.Errorf("colours change more than colours:\n%s", colored)
	}
}

func TestTableStreamsAfterItsFirstBlock(t *testing.T) {
	var out bytes.Buffer
	w := newTableWriter(&out, Options{})
	r := samples()[0]
	for range 3 * block {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		if len(w.held) >= block {
			t.Fatal("rows pile up")
		}
	}
	if err := w.Close(); err != nil || strings.Count(out.String(), "\n") != 3*block+1 {
		t.Errorf("%d lines, %v", strings.Count(out.String(), "\n"), err)
	}
}

// failing takes some bytes and then no more.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EPIPE:  "write results to standard output: whoever read them has gone (broken pipe)",
		syscall.ENOSPC: "write results to standard output: the disk is full",
	} {
		for _, format := range []string{JSONL, JSON, CSV, Table} {
			w, err := NewWriter(&failing{err: cause}, format, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Write(samples()[0]); err != nil {
				t.Errorf("%s: %v before the flush", format, err)
			}
			for _, err := range []error{w.Flush(), w.Close()} {
				var typed *WriteError
				if !errors.As(err, &typed) || !errors.Is(err, cause) || err.Error() != want {
					t.Errorf("%s: %v", format, err)
				}
			}
		}
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0ms", 850 * time.Millisecond: "850ms", 12 * time.Second: "12s", 150 * time.Second: "2m30s",
		3*time.Hour + 5*time.Minute: "3h05m", 52 * time.Hour: "2d04h", -time.Second: "-1s", -1 << 63: "-0ms",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %s, want %s", d, got, want)
		}
	}
	for r, want := range map[float64]string{0: "0/s", 4.52: "4.5/s", 9.97: "10/s", 1234.4: "1,234/s"} {
		if got := Rate(r); got != want {
			t.Errorf("Rate(%v) = %s, want %s", r, got, want)
		}
	}
	if got := Clean("a\tb\r\n\x1b[0m\u202e\u009bж"); got != "a b  �[0m��ж" {
		t.Errorf("Clean: %q", got)
	}
	for n, want := range map[int]string{0: "0 rows", 1: "1 row", 1234: "1,234 rows"} {
		if got := Counted(n, "row"); got != want {
			t.Errorf("Counted(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestGuardIsUndone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`'{0,3}[=+@a\t\r-]{0,3}`).Draw(t, "cell")
		if got := guarded(s); bare(got) != s || isFormula(got) && got[0] != '\'' {
			t.Fatalf("%q is guarded as %q and read as %q", s, got, bare(got))
		}
	})
}

func TestShortenIsNeverLonger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n := rapid.String().Draw(t, "s"), rapid.IntRange(-1, 20).Draw(t, "n")
		if got := []rune(shorten(s, n)); len(got) > max(n, 0) {
			t.Fatalf("%q has %d characters", string(got), len(got))
		}
	})
}
