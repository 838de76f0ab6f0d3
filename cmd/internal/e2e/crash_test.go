// Processes that are killed, frozen, told twice to stop, or cannot write: what
// they leave behind is gone on with.

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

// calm waits until the portals have ended what a killed process had asked of them.
func (f *fleet) calm() {
	f.t.Helper()
	made, since := f.created(), time.Now()
	await(f.t, time.Minute, "the portals to be done", func() bool {
		if n := f.created(); n != made {
			made, since = n, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// A run that is killed, and the same command again: it ends what is left.
func TestKilledRunGoesOn(t *testing.T) {
	t.Parallel()
	for _, lasting := range []bool{false, true} {
		t.Run(fmt.Sprintf("lasting Redis %v", lasting), func(t *testing.T) {
			turn(t)
			f := newFleet(t)
			f.addMany(10, slowPortal(), slowEntry)
			env := []string{"REQUEST_TIMEOUT=3s", "SHUTDOWN_TIMEOUT=8s", "BATCH=off"}
			if lasting {
				env = shared(t)
			}
			rows := goodRows(f.names, 30)
			out := filepath.Join(t.TempDir(), "results.jsonl")
			args := []string{"run", "--portals", f.file(), "--output", out, writeCSV(t, rows)}
			kills := 2
			if lasting {
				kills = 1 // what a killed process had on its way holds up the next one a while
			}
			for range kills {
				p := start(t, "enqueue", env, args...)
				before := f.created()
				await(t, time.Minute, "60 more bots", func() bool { return f.created() >= before+60 })
				p.Kill()
				f.calm()
				if lasting {
					ageLeases(t, url(env))
				}
			}
			finish(t, 0, 2*time.Minute, "enqueue", env, args...)
			allRegistered(t, f, readResults(t, out, len(rows)))
			if n := f.bots(); n != len(rows) {
				t.Errorf("%d bots for %d rows", n, len(rows))
			}
		})
	}
}

// A second signal does not wait for calls on their way, nor for SHUTDOWN_TIMEOUT.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	turn(t)
	f := newFleet(t)
	like := sandbox.Unlimited("")
	like.ServiceTime = 30 * time.Second
	f.addMany(2, like, nil)
	env := shared(t)
	env = append(env, "REQUEST_TIMEOUT=40s", "SHUTDOWN_TIMEOUT=50s")
	rows := writeJSONL(t, goodRows(f.names, 2))
	submitted(t, env, "--portals", f.file(), rows)
	worker := startWorker(t, env...)
	alone := start(t, "enqueue", env[2:], "run", "--portals", f.file(), rows)
	await(t, time.Minute, "eight calls on their way", func() bool { return f.box.MaxConcurrent() >= 8 })
	for _, p := range []struct {
		*process
		status     int
		stops, why string
	}{
		{worker, 1, "worker stops", "told to stop twice"},
		{alone, 130, "stopping: requests on their way may end", ""},
	} {
		p.signal(syscall.SIGTERM)
		awaitLine(t, p.process, p.stops)
		lasts(1200 * time.Millisecond) // what comes within a second counts as the same signal
		p.signal(syscall.SIGTERM)
		p.expect(p.status, 3*time.Second)
		noPanic(t, p.process)
		if text := p.stderr.String(); !strings.Contains(text, p.why) {
			t.Errorf("%s said: %s", p.name, text)
		}
	}
}

// oneLine wants nothing but one line of error, or none.
func oneLine(t *testing.T, p *process, want string) {
	t.Helper()
	noPanic(t, p)
	var said []string
	for line := range strings.Lines(p.stderr.String()) {
		if strings.HasPrefix(line, "enqueue: ") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], want) {
		t.Errorf("enqueue %s said, instead of one line with %q: %s", p.Cmd.Args[1], want, p.stderr.String())
	}
}

// A full disk under the output: the command says so, and the rows go on.
func TestFullDiskUnderTheOutput(t *testing.T) {
	turn(t)
	const full = "/dev/full"
	f := newFleet(t)
	f.addMany(10, slowPortal(), slowEntry)
	env := shared(t)
	rows := goodRows(f.names, 20)
	input := writeJSONL(t, rows)
	startWorker(t, env...)
	p := finish(t, 1, time.Minute, "enqueue", env, "submit", "--wait", "--output", full, "--format", "jsonl", "--portals", f.file(), input)
	oneLine(t, p, "the disk is full")
	run := strings.TrimPrefix(lineWith(p.stderr.String(), "run "), "run ")
	allRegistered(t, f, resultsOf(t, env, run, len(rows), time.Minute))
	f.madeOnce(len(rows))
	p = finish(t, 1, time.Minute, "enqueue", env, "results", "--output", full, "--format", "jsonl", run)
	oneLine(t, p, "the disk is full")

	// In one process, the command that has nowhere to write to ends, and one with
	// a better place does the rest.
	other := newFleet(t)
	other.addMany(10, slowPortal(), slowEntry)
	input = writeJSONL(t, goodRows(other.names, 20))
	p = finish(t, 1, time.Minute, "enqueue", env[2:], "run", "--output", full, "--format", "jsonl", "--portals", other.file(), input)
	oneLine(t, p, "the disk is full")
	other.calm()
	out := filepath.Join(t.TempDir(), "results.jsonl")
	finish(t, 0, time.Minute, "enqueue", env[2:], "run", "--output", out, "--portals", other.file(), input)
	allRegistered(t, other, readResults(t, out, len(rows)))
	other.bots()
}

// head starts a command whose reader leaves after the first line, as head -1 does.
func head(t *testing.T, env []string, args ...string) (p *process, first string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "enqueue", env, args...)
	cmd.Stdout = w
	p = launch(t, cmd)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	first, err = bufio.NewReaderSize(r, 16).ReadString('\n')
	if err != nil && err != io.EOF { //nolint:errorlint // a reader returns it as it is
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return p, first
}

// A reader of standard output that leaves after a line: one line says so, and
// the rows go on.
func TestReaderThatLeaves(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(30, slowPortal(), slowEntry)
	env := shared(t)
	rows := goodRows(f.names, 40) // whose results are more than a pipe holds
	w := startWorker(t, env...)
	p, first := head(t, env, "submit", "--wait", "--portals", f.file(), writeJSONL(t, rows))
	p.expect(1, time.Minute)
	oneLine(t, p, "broken pipe")
	if !strings.HasPrefix(first, `{"row":`) {
		t.Errorf("the first line is %q", first)
	}
	run := strings.TrimPrefix(lineWith(p.stderr.String(), "run "), "run ")
	allRegistered(t, f, resultsOf(t, env, run, len(rows), time.Minute))
	f.madeOnce(len(rows))
	for _, args := range [][]string{{"results", run}, {"results", "--follow", run}, {"results", "--format", "csv", run}} {
		p, _ = head(t, env, args...)
		p.expect(1, time.Minute)
		oneLine(t, p, "broken pipe")
	}
	w.stop(10 * time.Second)
}

// A worker frozen in the middle of its calls, for longer than they may last, while
// another one takes its rows over; then it is woken. No call of it makes a second
// bot, and each row has one outcome.
func TestFrozenWorkerWakes(t *testing.T) {
	turn(t)
	f := newFleet(t)
	like := slowPortal()
	like.ServerTimeout = time.Second
	f.addMany(20, like, map[string]any{"server_timeout": 1})
	env := append(shared(t), "REQUEST_TIMEOUT=2s")
	rows := goodRows(f.names, 15)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	frozen := startWorker(t, env...)
	await(t, time.Minute, "60 bots", func() bool { return f.created() >= 60 })
	frozen.signal(syscall.SIGSTOP)
	f.calm()
	if n := f.created(); n >= len(rows) {
		t.Fatal("all rows were done before the worker was frozen")
	}
	ageLeases(t, url(env))
	other := startWorker(t, env...)
	// The other one ends all rows: also those whose marks last for the request's
	// 2 s, the server's 1 s and 5 s more.
	client := redistest.Client(t, url(env))
	await(t, 2*time.Minute, "all rows registered", func() bool { return f.created() >= len(rows) })
	await(t, time.Minute, "nothing at work", func() bool {
		active := int64(0)
		for _, key := range client.Keys(t.Context(), "asynq:*:active").Val() {
			active += client.LLen(t.Context(), key).Val()
		}
		return active == 0
	})
	frozen.signal(syscall.SIGCONT)
	results := resultsOf(t, env, run, len(rows), time.Minute)
	allRegistered(t, f, results)
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	frozen.stop(10 * time.Second)
	other.stop(10 * time.Second)
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows after both workers have ended", n, len(rows))
	}
	if c := tallyOf(t, env, run); c.Registered != len(rows) || c.Waiting != 0 {
		t.Errorf("%+v", c)
	}
}

// The same worker woken in the middle of the other one's work, more than once.
func TestWorkerThatStumbles(t *testing.T) {
	turn(t)
	f := newFleet(t)
	like := slowPortal()
	like.ServerTimeout = time.Second
	f.addMany(20, like, map[string]any{"server_timeout": 1})
	env := append(shared(t), "REQUEST_TIMEOUT=2s")
	rows := goodRows(f.names, 40)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	stumbles := startWorker(t, env...)
	await(t, time.Minute, "60 bots", func() bool { return f.created() >= 60 })
	stumbles.signal(syscall.SIGSTOP)
	ageLeases(t, url(env))
	other := startWorker(t, append(env, "CONCURRENCY=16")...)
	lasts(9 * time.Second) // the marks of its calls have ended
	stumbles.signal(syscall.SIGCONT)
	lasts(time.Second)
	stumbles.signal(syscall.SIGSTOP)
	lasts(4 * time.Second) // its calls have ended, their marks have not
	stumbles.signal(syscall.SIGCONT)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 2*time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	stumbles.stop(10 * time.Second)
	other.stop(10 * time.Second)
	f.bots()
}
