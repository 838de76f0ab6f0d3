// Workers and producers as processes: stopped, killed, interrupted, doubled.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/built"
	"botfleet/cmd/internal/cable"
	"botfleet/ratelimit/redistest"
)

// slowPortal takes 300 ms for a bot, so that a signal finds calls on their way.
func slowPortal() sandbox.Portal {
	p := sandbox.Unlimited("")
	p.ServiceTime, p.ServerTimeout = 300*time.Millisecond, 2*time.Second
	return p
}

// slowEntry tells the client of slowPortal.
var slowEntry = map[string]any{"server_timeout": 2}

// shared is the environment of processes on one Redis.
func shared(t *testing.T) []string {
	t.Helper()
	return []string{"REDIS_URL=" + redistest.Start(t).URL, "SECRETS_KEY=" + portals.NewKey(),
		"REQUEST_TIMEOUT=3s", "SHUTDOWN_TIMEOUT=8s", "BATCH=off"}
}

// url is the Redis of an environment that shared made.
func url(env []string) string { return strings.TrimPrefix(env[0], "REDIS_URL=") }

// created counts the bots that portals have made so far.
func (f *fleet) created() int { return f.box.Stats().BotsCreated }

// submitted queues rows and returns the run's id.
func submitted(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := finish(t, 0, time.Minute, "enqueue", env, append([]string{"submit"}, args...)...)
	return strings.TrimSpace(p.stdout.String())
}

// resultsOf are a run's results, once it has ended.
func resultsOf(t *testing.T, env []string, run string, n int, bound time.Duration) []result {
	t.Helper()
	p := finish(t, 0, bound, "enqueue", env, "results", "--follow", run)
	return parseResults(t, p.stdout.String(), n)
}

// A worker that is told to stop under load ends in time, and the next one goes
// on with the rows.
func TestStoppedWorkerHandsItsRowsOn(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(20, slowPortal(), slowEntry)
	env := shared(t)
	rows := goodRows(f.names, 60)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	for range 2 {
		w := startWorker(t, env...)
		before := f.created()
		await(t, time.Minute, "50 more bots", func() bool { return f.created() >= before+50 })
		w.stop(10 * time.Second)
		if f.created() >= len(rows) {
			t.Fatal("all rows were done before the worker was stopped")
		}
	}
	startWorker(t, env...)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
}

// A worker that is killed in the middle of its calls: its rows come back when
// their leases have ended. The engine looks for such leases as a worker starts and
// every minute, and takes those that ended half a minute ago.
func TestKilledWorkerLosesNothing(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(10, slowPortal(), slowEntry)
	env := shared(t)
	rows := goodRows(f.names, 10)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w := startWorker(t, env...)
	await(t, time.Minute, "20 bots", func() bool { return f.created() >= 20 })
	w.Kill()
	ageLeases(t, url(env))
	startWorker(t, env...)
	results := resultsOf(t, env, run, len(rows), time.Minute)
	allRegistered(t, f, results)
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
}

// ageLeases makes the leases that a killed worker left what they will be in two
// minutes. They must end within the 30 s for which the engine gives them.
func ageLeases(t *testing.T, url string) {
	t.Helper()
	client := redistest.Client(t, url)
	aged := 0
	for _, key := range client.Keys(t.Context(), "asynq:*:lease").Val() {
		leases, err := client.ZRangeWithScores(t.Context(), key, 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, lease := range leases {
			ends := time.Unix(int64(lease.Score), 0)
			if left := time.Until(ends); left > 30*time.Second {
				t.Errorf("a killed worker's lease lasts for another %v", left)
			}
			lease.Score = float64(ends.Add(-2 * time.Minute).Unix())
			if err := client.ZAdd(t.Context(), key, lease).Err(); err != nil {
				t.Fatal(err)
			}
			aged++
		}
	}
	if aged == 0 {
		t.Fatal("a worker killed in the middle of its calls left no lease")
	}
}

// Two workers send together what the portals' limits allow, and no more.
func TestTwoWorkersShareTheLimits(t *testing.T) {
	turn(t)
	const rowsEach, rate, burst = 40, 10, 5
	f := newFleet(t)
	like := sandbox.Unlimited("")
	like.Rate, like.Burst, like.ServiceTime = rate, burst, 50*time.Millisecond
	f.addMany(4, like, map[string]any{"rate": rate, "burst": burst})
	// With few slots neither can take all rows before the other has looked, which it
	// does once a second while there are none.
	env := append(shared(t), "CONCURRENCY=4")
	workers := []*process{startWorker(t, env...), startWorker(t, env...)}
	rows := goodRows(f.names, rowsEach)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	results := resultsOf(t, env, run, len(rows), time.Minute)
	allRegistered(t, f, results)
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	for _, name := range f.names {
		if stats := f.portal(name).Stats(); stats.Statuses[503] > 0 || stats.Violations > 0 {
			t.Errorf("%s answered 503 %d times; violations: %v", name, stats.Statuses[503], f.portal(name).Violations())
		}
	}
	// 35 requests beyond the burst at 10/s are 3.5 s, and the machine may be busy.
	took := span(results)
	t.Logf("%d rows took %v", len(rows), took)
	if took > 15*time.Second {
		t.Errorf("%d rows took %v; the limits allow about 3.5 s", len(rows), took)
	}
	for i, w := range workers {
		if !strings.Contains(w.stderr.String(), "msg=outcome") {
			t.Errorf("worker %d registered nothing:\n%s", i+1, built.Tail(w.stderr.String()))
		}
		w.stop(10 * time.Second)
	}
}

// Ctrl-C ends a run cleanly, and the same command goes on where it ended.
func TestInterruptedRunGoesOn(t *testing.T) {
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
			rows := goodRows(f.names, 40)
			out := filepath.Join(t.TempDir(), "results.jsonl")
			args := []string{"run", "--portals", f.file(), "--output", out, writeCSV(t, rows)}
			for range 2 {
				p := start(t, "enqueue", env, args...)
				before := f.created()
				await(t, time.Minute, "40 more bots", func() bool { return f.created() >= before+40 })
				p.signal(os.Interrupt)
				p.expect(130, 12*time.Second)
				if !strings.Contains(p.stderr.String(), "the same command goes on") {
					t.Errorf("how to resume is not said: %s", p.stderr.String())
				}
			}
			finish(t, 0, time.Minute, "enqueue", env, args...)
			allRegistered(t, f, readResults(t, out, len(rows)))
			if n := f.bots(); n != len(rows) {
				t.Errorf("%d bots for %d rows", n, len(rows))
			}
		})
	}
}

// Ctrl-C in the middle of a submission, and then the rest of it under the same run.
func TestInterruptedSubmitGoesOn(t *testing.T) {
	turn(t)
	f, rows, input := manyOnce(t)
	c, env, halted := halfway(t, redistest.Start(t))
	p := start(t, "enqueue", env, "submit", "--portals", f.file(), input)
	awaitHalt(t, p, halted)
	p.signal(os.Interrupt)
	p.expect(130, 10*time.Second) // though Redis is silent
	c.Set(cable.Whole, false)
	run := strings.TrimSpace(p.stdout.String())
	if run == "" || !strings.Contains(p.stderr.String(), "--run "+run) {
		t.Fatalf("how to go on is not said: %q, %s", run, p.stderr.String())
	}
	again := submitted(t, env, "--run", run, input)
	if again != run {
		t.Errorf("run %s was taken up as %s", run, again)
	}
	startWorker(t, env...)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 2*time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
}

// The same file twice: while its rows wait they are duplicates, and once they
// are registered they are skipped.
func TestSubmittedTwice(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(3, sandbox.Unlimited(""), nil)
	env := shared(t)
	rows := goodRows(f.names, 3)
	input := writeJSONL(t, rows)
	first := submitted(t, env, "--portals", f.file(), input)
	second := submitted(t, env, input)
	for _, r := range resultsOf(t, env, second, len(rows), time.Minute) {
		if r.Status != "duplicate" || r.Of == nil || r.Of.Run != first || r.Of.Row != r.Row {
			t.Errorf("row %d of the second run: %+v", r.Row, r)
		}
	}
	startWorker(t, env...)
	allRegistered(t, f, resultsOf(t, env, first, len(rows), time.Minute))
	p := finish(t, 0, time.Minute, "enqueue", env, "submit", "--wait", input)
	third := parseResults(t, p.stdout.String(), len(rows))
	allRegistered(t, f, third)
	for _, r := range third {
		if r.How != "skipped" || !r.Existed {
			t.Errorf("row %d of the third run: %+v", r.Row, r)
		}
	}
	if n := f.box.Stats().Methods["imbot.register"]; n != len(rows) {
		t.Errorf("%d registrations were sent for %d rows", n, len(rows))
	}
}

// A reader of standard output that leaves: the command says so and ends, with
// nothing half written and no second bot.
func TestClosedStandardOutput(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(10, slowPortal(), slowEntry)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "enqueue", []string{"SHUTDOWN_TIMEOUT=5s"}, "run", "--portals", f.file(), writeJSONL(t, goodRows(f.names, 10)))
	cmd.Stdout = w
	p := launch(t, cmd)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	p.expect(1, 30*time.Second)
	text := p.stderr.String()
	if !strings.Contains(text, "enqueue: ") || strings.Contains(text, "goroutine ") {
		t.Errorf("it said: %s", text)
	}
	f.bots()
}

// A stopped worker is not ready before it has gone, and one that is told to
// take nothing stays.
func TestPausedWorkerStays(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(2, sandbox.Unlimited(""), nil)
	env := shared(t)
	w := startWorker(t, env...)
	w.signal(syscall.SIGTSTP)
	awaitLine(t, w, "takes no more tasks")
	rows := goodRows(f.names, 2)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w.stop(10 * time.Second)
	if n := f.created(); n != 0 {
		t.Errorf("a paused worker made %d bots", n)
	}
	startWorker(t, env...)
	results := resultsOf(t, env, run, len(rows), time.Minute)
	allRegistered(t, f, results)
	if !slices.IsSortedFunc(results, func(a, b result) int { return a.Row - b.Row }) {
		t.Error("results are not in the order of their rows")
	}
}
