// The command as its users meet it, in this process: what it leaves alone, and
// the status it ends with.

package command

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// command runs enqueue, and returns its exit status and output.
func command(ctx context.Context, environ []string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = Options{}.run(ctx, args, environ, stdio{strings.NewReader(""), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

// write puts a file into a folder of the test's own.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const oneRow = `{"portal":"acme.bitrix24.ru","CODE":"helper","EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"Helper"}}` + "\n"

// A rehearsal with the rows of a real job, on a machine that is set up for real
// work, must not put made-up credentials into the registry, nor let its bots
// count as registered.
func TestASandboxLeavesTheRealRedisAlone(t *testing.T) {
	server := redistest.Start(t)
	rdb := redistest.Client(t, server.URL)
	rows := write(t, "rows.jsonl", oneRow)
	code, out, errs := command(t.Context(), []string{"REDIS_URL=" + server.URL}, "run", "--sandbox", rows)
	if code != exitDone || !strings.Contains(out, `"status":"registered"`) {
		t.Fatalf("exit status %d\n%s%s", code, out, errs)
	}
	if n, err := rdb.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys in the real Redis, %v", n, err)
	}
}

// recorded returns a Redis with a finished run of one registered row.
func recorded(t *testing.T) (environ []string, run string) {
	t.Helper()
	server := redistest.Start(t)
	store := runs.New(redistest.Client(t, server.URL), runs.Options{})
	if err := store.Open(t.Context(), "r1", runs.Begin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add(t.Context(), "r1", []runs.Row{{Number: 1, Ident: "i", Portal: "acme.bitrix24.ru", Code: "helper"}}); err != nil {
		t.Fatal(err)
	}
	o := runs.Outcome{Row: 1, Portal: "acme.bitrix24.ru", Code: "helper", Status: runs.StatusRegistered, BotID: 39}
	if err := store.Record(t.Context(), "r1", 0, o); err != nil {
		t.Fatal(err)
	}
	return []string{"REDIS_URL=" + server.URL}, "r1"
}

// Results replace earlier ones in a file, behind a link too, and a pipe or a
// device named as the output stays what it is.
func TestResultsReplaceTheContentAndNothingElse(t *testing.T) {
	environ, run := recorded(t)
	folder := t.TempDir()
	file, link, pipe := filepath.Join(folder, "file.jsonl"), filepath.Join(folder, "link.jsonl"), filepath.Join(folder, "pipe")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if code, _, errs := command(t.Context(), environ, "results", run, "--output", link); code != exitDone {
			t.Fatalf("exit status %d: %s", code, errs)
		}
		if got, err := os.ReadFile(file); err != nil || strings.Count(string(got), "\n") != 1 {
			t.Fatalf("%q, %v", got, err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Fatal("the link was replaced")
		}
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	piped := make(chan string, 1)
	go func() {
		var got []byte
		if f, err := os.Open(pipe); err == nil {
			got, _ = io.ReadAll(f)
			_ = f.Close()
		}
		piped <- string(got)
	}()
	if code, _, errs := command(t.Context(), environ, "results", run, "--output", pipe); code != exitDone {
		t.Fatalf("exit status %d: %s", code, errs)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Fatal("the pipe was replaced")
	}
	if got := <-piped; strings.Count(got, "\n") != 1 {
		t.Errorf("through the pipe came %q", got)
	}
}

// Whatever an interruption meets, a call to Redis too, it ends with 130.
func TestAnInterruptionHasAStatusOfItsOwn(t *testing.T) {
	environ, run := recorded(t)
	rows := write(t, "rows.jsonl", oneRow)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	for _, args := range [][]string{{"status"}, {"results", run}, {"results", run, "--follow"}, {"submit", rows}, {"run", "--sandbox"}} {
		if code, _, errs := command(ctx, environ, args...); code != exitInterrupted {
			t.Errorf("%v: exit status %d: %s", args, code, errs)
		}
	}
}

// Every line on standard error says who speaks, and a wrong command line says
// where to read on.
func TestErrorsNameTheCommandAndUsageItsHelp(t *testing.T) {
	twoWrong := write(t, "portals.csv", "portal,webhook\na.bitrix24.ru,x\nb.bitrix24.ru,y\n")
	for _, c := range []struct {
		args []string
		code int
		help string // "" where the command line is not at fault
	}{
		{[]string{"sumbit"}, exitFailed, "see: enqueue --help"},
		{[]string{"submit", "--portal", "x"}, exitFailed, "see: enqueue submit --help"},
		{[]string{"check", "a.csv", "b.csv"}, exitFailed, "see: enqueue check --help"},
		{[]string{"run", "--sandbox", "--bot", "bot.json", "a.csv"}, exitFailed, "see: enqueue run --help"},
		{[]string{"check", "--portals", twoWrong, "rows.csv"}, exitRefused, ""},
		{[]string{"check", "--portals", "nowhere.csv", "rows.csv"}, exitRefused, ""},
	} {
		code, _, errs := command(t.Context(), nil, c.args...)
		if code != c.code {
			t.Errorf("%v: exit status %d, want %d", c.args, code, c.code)
		}
		for line := range strings.Lines(errs) {
			if !strings.HasPrefix(line, "enqueue: ") {
				t.Errorf("%v: line %q", c.args, line)
			}
		}
		if told := strings.Contains(errs, "--help"); told != (c.help != "") || !strings.Contains(errs, c.help) {
			t.Errorf("%v: want %q in\n%s", c.args, c.help, errs)
		}
	}
}

// A command that is given again says what it need not do again.
func TestARunSaysWhatWasRegisteredBefore(t *testing.T) {
	rows, output := write(t, "rows.jsonl", oneRow), filepath.Join(t.TempDir(), "results.jsonl")
	for i := range 2 {
		code, _, errs := command(t.Context(), nil, "run", "--sandbox", "--output", output, rows)
		if code != exitDone {
			t.Fatalf("exit status %d: %s", code, errs)
		}
		if told := strings.Contains(errs, "registered before, as "+output+" says: 1 row\n"); told != (i == 1) {
			t.Errorf("run %d: %s", i+1, errs)
		}
	}
}
