// From Submit through asynq to the outcome, on both kinds of Redis.

package tasks_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// directory is a fixed set of portals.
type directory map[string]portals.Portal

func (d directory) FindMany(_ context.Context, names []string) (map[string]portals.Portal, error) {
	found := map[string]portals.Portal{}
	for _, n := range names {
		if p, ok := d[n]; ok {
			found[n] = p
		}
	}
	return found, nil
}

func (d directory) Get(_ context.Context, id string) (portals.Portal, error) {
	for _, p := range d {
		if p.ID == id {
			return p, nil
		}
	}
	return portals.Portal{}, portals.ErrUnknown
}

// fleet is a producer, and a worker whose calls a test answers.
type fleet struct {
	*tasks.Client
	runs      *runs.Store
	inspector *asynq.Inspector
	queue     *asynq.Client
	handler   *tasks.Handler
	redis     redis.UniversalClient

	mu   sync.Mutex
	jobs []dispatch.Job
	do   func(job dispatch.Job, nth int) dispatch.Result
}

const portal, queue = "acme.bitrix24.ru", "portals-0"

func (f *fleet) Do(_ context.Context, job dispatch.Job) dispatch.Result {
	f.mu.Lock()
	f.jobs = append(f.jobs, job)
	n := 0
	for _, j := range f.jobs {
		if j.Bot.Code == job.Bot.Code {
			n++
		}
	}
	do := f.do
	f.mu.Unlock()
	if do == nil {
		return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
	}
	return do(job, n)
}

func (f *fleet) calls() []dispatch.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]dispatch.Job(nil), f.jobs...)
}

// both runs a subtest on each kind of Redis, beside other tests: they wait for
// asynq, which looks for tasks now and then.
func both(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	t.Parallel()
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		dir := directory{
			portal:              {ID: "p1", Name: portal, Queue: queue, Kind: portals.Webhook, ClientID: "app"},
			"oauth.bitrix24.ru": {ID: "p2", Name: "oauth.bitrix24.ru", Queue: queue, Kind: portals.OAuth},
		}
		store := runs.New(rdb, runs.Options{TTL: time.Hour})
		f := &fleet{
			runs: store, inspector: asynq.NewInspectorFromRedisClient(rdb), queue: asynq.NewClientFromRedisClient(rdb), redis: rdb,
		}
		f.Client = tasks.NewClient(tasks.ClientConfig{
			Queue: f.queue, Inspector: f.inspector, Portals: dir, Runs: store, Retention: time.Hour,
		})
		f.handler = &tasks.Handler{
			Runs: store, Portals: dir, Do: f, Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Policy: tasks.Policy{MaxAttempts: 3, HoldTTL: time.Hour},
		}
		test(t, f)
	})
}

// work runs a worker until the run has finished, or until is true.
func (f *fleet) work(t *testing.T, run string, until func() bool) {
	t.Helper()
	w := tasks.NewWorker(tasks.WorkerConfig{
		Redis: f.redis, Handler: f.handler, Queues: []string{queue}, Concurrency: 10, ShutdownTimeout: 5 * time.Second,
		Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if until == nil {
		until = func() bool {
			info, err := f.runs.Get(t.Context(), run)
			return err == nil && info.Finished()
		}
	}
	eventually(t, until)
}

// eventually waits for a condition, for at most 20 s.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it did not happen in 20 s")
		case <-tick.C:
		}
	}
}

func reg(code string) tasks.Registration {
	return tasks.Registration{ID: "own-" + code, Portal: portal, Bot: bitrix.Bot{
		Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Bot " + code},
	}}
}

func (f *fleet) outcomes(t *testing.T, run string) map[int]runs.Outcome {
	t.Helper()
	all := map[int]runs.Outcome{}
	err := f.runs.Outcomes(t.Context(), run, func(o runs.Outcome) error { all[o.Row] = o; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func submit(t *testing.T, f *fleet, run string, regs ...tasks.Registration) []tasks.Receipt {
	t.Helper()
	got, err := f.Submit(t.Context(), run, regs...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestARowIsRegistered(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := reg("helper")
		r.Bot.Properties.PersonalPhoto = onePixel
		got := submit(t, f, "r1", r)
		if d := cmp.Diff([]tasks.Receipt{{Row: 1, Status: tasks.ReceiptQueued}}, got); d != "" {
			t.Fatal(d)
		}
		f.work(t, "r1", nil)
		o := f.outcomes(t, "r1")[1]
		if o.Status != runs.StatusRegistered || o.BotID != 39 || o.How != runs.HowCreated || o.Attempts != 1 || o.ID != "own-helper" {
			t.Errorf("%+v", o)
		}
		job := f.calls()[0]
		want := r.Bot
		want.ClientID = "app" // the portal's own
		if d := cmp.Diff(&want, job.Bot); d != "" {
			t.Errorf("sent another bot than was asked for (-want +got):\n%s", d)
		}
		info, err := f.inspector.GetTaskInfo(queue, tasks.TaskID("p1", "customapp", "helper"))
		if err != nil || info.State != asynq.TaskStateCompleted || string(info.Result) != "39" {
			t.Errorf("the task does not keep its BOT_ID: %+v, %v", info, err)
		}
		if strings.Contains(string(info.Payload), onePixel) || len(info.Payload) > 400 {
			t.Errorf("payload of %d bytes: %s", len(info.Payload), info.Payload)
		}
	})
}

// onePixel is a 1×1 PNG.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func TestSubmittingAgain(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		// The same run: nothing doubles. Another run: it waits there already.
		again, err := f.Submit(t.Context(), "r1", tasks.Registration{Row: 1, Portal: portal, Bot: reg("a").Bot})
		if err != nil || again[0].Status != tasks.ReceiptQueued {
			t.Fatalf("%+v, %v", again, err)
		}
		other := submit(t, f, "r2", reg("A"))
		if other[0].Status != tasks.ReceiptDuplicate || *other[0].Of != (runs.Ref{Run: "r1", Row: 1}) {
			t.Fatalf("%+v", other)
		}
		f.work(t, "r1", nil)
		later := submit(t, f, "r3", reg("a"))
		if later[0].Status != tasks.ReceiptRegistered || later[0].BotID != 39 {
			t.Fatalf("%+v", later)
		}
		o := f.outcomes(t, "r3")[1]
		if o.How != runs.HowSkipped || o.BotID != 39 || len(f.calls()) != 1 {
			t.Errorf("%+v after %d calls", o, len(f.calls()))
		}
		if o := f.outcomes(t, "r2")[1]; o.Status != runs.StatusDuplicate {
			t.Errorf("%+v", o)
		}
		if _, err := f.Submit(t.Context(), "r1", tasks.Registration{Row: 1, Portal: portal, Bot: reg("other").Bot}); err == nil {
			t.Error("another bot was taken for row 1")
		}
	})
}

func TestInvalidRowsAreRefusedAndHinderNoOthers(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		bad, unknown, noHandler := reg(""), reg("b"), reg("c")
		unknown.Portal = "nobody.bitrix24.ru"
		noHandler.Bot.EventHandler = ""
		oauth := reg("d")
		oauth.Portal = "oauth.bitrix24.ru"
		got := submit(t, f, "r1", bad, unknown, noHandler, oauth)
		var statuses []tasks.ReceiptStatus
		for _, g := range got {
			statuses = append(statuses, g.Status)
		}
		want := []tasks.ReceiptStatus{tasks.ReceiptRefused, tasks.ReceiptRefused, tasks.ReceiptRefused, tasks.ReceiptQueued}
		if d := cmp.Diff(want, statuses); d != "" {
			t.Fatal(d)
		}
		f.work(t, "r1", nil)
		o := f.outcomes(t, "r1")
		if o[1].Errors[0].Code != "CODE_ERROR" || o[2].Errors[0].Code != tasks.CodeUnknownPortal || len(o[3].Errors) != 3 || o[4].BotID != 39 {
			t.Errorf("%+v", o)
		}
	})
}

func TestADeadRowIsKeptArchivedAndQueuedAnew(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(job dispatch.Job, _ int) dispatch.Result {
			return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "NAME_ERROR", Description: "Bot name isn't specified"}}
		}
		submit(t, f, "r1", reg("a"))
		f.work(t, "r1", nil)
		o := f.outcomes(t, "r1")[1]
		if o.Status != runs.StatusDead || o.Class != "validation" || o.Error.Code != "NAME_ERROR" || len(o.Bot) == 0 {
			t.Fatalf("%+v", o)
		}
		id := tasks.TaskID("p1", "customapp", "a")
		eventually(t, func() bool {
			info, err := f.inspector.GetTaskInfo(queue, id)
			return err == nil && info.State == asynq.TaskStateArchived && strings.Contains(info.LastErr, "NAME_ERROR: Bot name isn't specified")
		})
		f.mu.Lock()
		f.do = nil
		f.mu.Unlock()
		// An operator runs it again from the dashboard: the run stays true.
		if err := f.inspector.RunTask(queue, id); err != nil {
			t.Fatal(err)
		}
		f.work(t, "r1", func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Counts == runs.Counts{Queued: 1, Registered: 1}
		})
	})
}

func TestADeadRowSubmittedAgainIsWorkedOnAgain(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(_ dispatch.Job, nth int) dispatch.Result {
			if nth == 1 {
				return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "MAX_COUNT_ERROR"}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		r := reg("a")
		r.Row = 1
		submit(t, f, "r1", r)
		f.work(t, "r1", nil)
		for _, run := range []string{"r1", "r2"} { // under its own run, and under another
			got := submit(t, f, run, r)
			f.work(t, run, nil)
			if o := f.outcomes(t, run)[1]; o.Status != runs.StatusRegistered || o.BotID != 7 {
				t.Errorf("%s: %+v, receipt %+v", run, o, got)
			}
		}
	})
}

func TestPostponementsSpendNoAttemptAndFailuresDo(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(_ dispatch.Job, nth int) dispatch.Result {
			switch {
			case nth == 3:
				return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Transient, Code: "INTERNAL_SERVER_ERROR"}}
			case nth < 5:
				return dispatch.Result{Deferred: &dispatch.Deferral{Until: time.Now(), Reason: ratelimit.Rate}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 1}}
		}
		submit(t, f, "r1", reg("a"))
		id := tasks.TaskID("p1", "customapp", "a")
		f.work(t, "r1", func() bool {
			info, err := f.inspector.GetTaskInfo(queue, id)
			if err == nil && info.State == asynq.TaskStateRetry && strings.Contains(info.LastErr, "INTERNAL_SERVER_ERROR") {
				// The test does not wait for that time.
				if wait := info.NextProcessAt.Sub(info.LastFailedAt); wait < 2*time.Second || wait > 6*time.Second {
					t.Errorf("after its first failure the task waits %v, not 2.5 to 5 s", wait)
				}
				_ = f.inspector.RunTask(queue, id) // it may have come back by itself just now
			}
			run, err := f.runs.Get(t.Context(), "r1")
			return err == nil && run.Finished()
		})
		if o := f.outcomes(t, "r1")[1]; o.Status != runs.StatusRegistered || o.Attempts != 2 {
			t.Errorf("%+v", o)
		}
	})
}

func TestHostileTasksDieWithAReasonAndTheWorkerGoesOn(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		for i, payload := range []string{``, `{"v":99}`, `nonsense`, `{"v":1,"run":"gone","row":1,"pid":"p1","portal":"x","code":"y"}`} {
			task := asynq.NewTask(tasks.TypeName, []byte(payload), asynq.Queue(queue), asynq.TaskID(fmt.Sprintf("hostile%d", i)))
			if _, err := f.queue.Enqueue(task); err != nil {
				t.Fatal(err)
			}
		}
		submit(t, f, "r1", reg("a"))
		f.work(t, "r1", func() bool {
			list, err := f.inspector.ListArchivedTasks(queue)
			return err == nil && len(list) == 4
		})
		list, err := f.inspector.ListArchivedTasks(queue)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range list {
			if !strings.Contains(info.LastErr, "cannot be worked on") && !strings.Contains(info.LastErr, "is gone") {
				t.Errorf("%s: %s", info.ID, info.LastErr)
			}
		}
		eventually(t, func() bool { return len(f.calls()) == 1 })
	})
}

func TestManyProducersNumberTheirRowsApart(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		var wg sync.WaitGroup
		rows := make(chan int, 100)
		for p := range 10 {
			wg.Go(func() {
				for i := range 10 {
					got, err := f.Submit(t.Context(), "r1", reg(fmt.Sprintf("bot-%d-%d", p, i)))
					if err != nil || got[0].Status != tasks.ReceiptQueued {
						t.Errorf("%+v, %v", got, err)
						return
					}
					rows <- got[0].Row
				}
			})
		}
		wg.Wait()
		close(rows)
		seen := map[int]bool{}
		for r := range rows {
			seen[r] = true
		}
		info, err := f.runs.Get(t.Context(), "r1")
		if err != nil || len(seen) != 100 || info.Counts.Waiting != 100 {
			t.Errorf("%d rows, %+v, %v", len(seen), info.Counts, err)
		}
	})
}
