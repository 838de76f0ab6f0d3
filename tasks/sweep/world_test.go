// What the tests work with: a queue, runs, a producer, and workers.

package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const queue = "portals-0"

// directory is a set of portals, by their names; some are in another queue.
type directory struct {
	mu      sync.Mutex
	removed map[string]bool
	failing func(name string) error // nil: nothing fails
}

func (d *directory) portal(name string) (portals.Portal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n int
	if _, err := fmt.Sscanf(name, "p%d", &n); err != nil || d.removed[name] {
		return portals.Portal{}, portals.ErrUnknown
	}
	return portals.Portal{ID: name, Name: name, Queue: fmt.Sprintf("portals-%d", n%2), Kind: portals.OAuth}, nil
}

func (d *directory) Get(_ context.Context, id string) (portals.Portal, error) {
	d.mu.Lock()
	failing := d.failing
	d.mu.Unlock()
	if failing != nil {
		if err := failing(id); err != nil {
			return portals.Portal{}, err
		}
	}
	return d.portal(id)
}

func (d *directory) fail(f func(name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = f
}

func (d *directory) FindMany(_ context.Context, names []string) (map[string]portals.Portal, error) {
	found := map[string]portals.Portal{}
	for _, n := range names {
		if p, err := d.portal(n); err == nil {
			found[n] = p
		}
	}
	return found, nil
}

func (d *directory) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.removed[name] = true
}

// counter is a Meter.
type counter struct {
	mu     sync.Mutex
	mended map[string]int
	ended  []runs.Outcome
}

func (c *counter) Outcome(o *runs.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = append(c.ended, *o)
}

func (c *counter) Mended(kind string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mended[kind] += n
}

// world is a Redis with all that works on it.
type world struct {
	*tasks.Client

	t         *testing.T
	redis     redis.UniversalClient
	runs      *runs.Store
	portals   *directory
	inspector *asynq.Inspector
	sweeper   *Sweeper
	meter     *counter

	mu    sync.Mutex
	calls map[string]int // by portal and code
	do    func(job dispatch.Job, nth int) dispatch.Result
}

func newWorld(t *testing.T, rdb redis.UniversalClient) *world {
	t.Helper()
	w := &world{
		t: t, redis: rdb, runs: runs.New(rdb, runs.Options{TTL: time.Hour}), portals: &directory{removed: map[string]bool{}},
		inspector: asynq.NewInspectorFromRedisClient(rdb), meter: &counter{mended: map[string]int{}}, calls: map[string]int{},
	}
	w.Client = tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: w.inspector, Portals: w.portals, Runs: w.runs, Retention: time.Hour,
	})
	w.sweeper = New(w.config())
	return w
}

// config sweeps at once, and everything.
func (w *world) config() Config {
	return Config{
		Redis: w.redis, Queues: func(context.Context) ([]string, error) { return []string{queue, "portals-1"}, nil },
		Runs: w.runs, Portals: w.portals, Requeue: w.Client, Meter: w.meter,
		Settle: time.Millisecond, Age: time.Nanosecond, Rate: 1_000_000,
	}
}

// both runs a test on each kind of Redis.
func both(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel() // most of it is waiting
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) { test(t, newWorld(t, rdb)) })
}

func (w *world) Do(_ context.Context, job dispatch.Job) dispatch.Result {
	w.mu.Lock()
	at := job.Portal.Name + " " + job.Bot.Code
	w.calls[at]++
	nth, do := w.calls[at], w.do
	w.mu.Unlock()
	if do == nil {
		return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
	}
	return do(job, nth)
}

func (w *world) called(portal, code string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[portal+" "+code]
}

// work starts a worker, which the function that is returned stops.
func (w *world) work() (stop func()) {
	w.t.Helper()
	worker := tasks.NewWorker(tasks.WorkerConfig{
		Redis: w.redis, Queues: []string{queue, "portals-1"}, Concurrency: 64, ShutdownTimeout: 5 * time.Second,
		Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
		Handler: &tasks.Handler{
			Runs: w.runs, Portals: w.portals, Do: w, Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Policy: tasks.Policy{MaxAttempts: 3, HoldTTL: time.Hour},
		},
	})
	must(w.t, worker.Start())
	w.t.Cleanup(worker.Stop) // asynq panics when its Redis goes first
	return worker.Stop
}

func reg(portal, code string) tasks.Registration {
	return tasks.Registration{Portal: portal, Bot: bitrix.Bot{
		Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Bot " + code},
	}}
}

func id(portal, code string) string { return tasks.TaskID(portal, "oauth", code) }

// submit queues bots of portal p0 as rows of a run.
func (w *world) submit(run string, codes ...string) {
	w.t.Helper()
	var regs []tasks.Registration
	for _, c := range codes {
		regs = append(regs, reg("p0", c))
	}
	_, err := w.Submit(w.t.Context(), run, regs...)
	must(w.t, err)
}

// pass sweeps, and wants these kinds of things mended, and nothing else.
func (w *world) pass(want map[string]int) {
	w.t.Helper()
	r, err := w.sweeper.Pass(w.t.Context())
	must(w.t, err)
	if fmt.Sprint(r.Mended) != fmt.Sprint(want) {
		w.t.Fatalf("mended %v, want %v", r.Mended, want)
	}
}

func (w *world) info(code string) *asynq.TaskInfo {
	w.t.Helper()
	info, err := w.inspector.GetTaskInfo(queue, id("p0", code))
	must(w.t, err)
	return info
}

func (w *world) load(run string, row int) runs.State {
	w.t.Helper()
	st, err := w.runs.Load(w.t.Context(), run, row)
	must(w.t, err)
	return st
}

func (w *world) counts(run string) runs.Counts {
	w.t.Helper()
	info, err := w.runs.Get(w.t.Context(), run)
	must(w.t, err)
	if info.Counts.Queued != info.Counts.Waiting+info.Counts.Done() {
		w.t.Fatalf("the counters do not add up: %+v", info.Counts)
	}
	return info.Counts
}

// finish works until a run has finished.
func (w *world) finish(run string) {
	w.t.Helper()
	stop := w.work()
	defer stop()
	w.until(func() bool { return w.counts(run).Waiting == 0 })
}

// until waits for a condition, for at most a minute.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			w.t.Fatal("it did not happen in a minute")
		case <-tick.C:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
