// Cancelling a run: what ends, what stays, and that nothing is ended twice.

package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

func (f *fleet) cancel(t *testing.T, c tasks.Cancel) tasks.Cancelled {
	t.Helper()
	did, err := f.canceller().Cancel(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return did
}

func (f *fleet) canceller() tasks.Canceller {
	return tasks.Canceller{Redis: f.redis, Runs: f.runs, Portals: f.handler.Portals}
}

// counts are a run's, which always add up.
func (f *fleet) counts(t *testing.T, run string) runs.Counts {
	t.Helper()
	info, err := f.runs.Get(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if c := info.Counts; c.Queued != c.Waiting+c.Done() {
		t.Errorf("the counters do not add up: %+v", c)
	}
	return info.Counts
}

// living counts the tasks of the queue that are pending, scheduled, in retry or archived.
func (f *fleet) living(t *testing.T) (n int) {
	t.Helper()
	prefix := "asynq:{" + queue + "}:"
	n = int(f.redis.LLen(t.Context(), prefix+"pending").Val())
	for _, set := range []string{"scheduled", "retry", "archived"} {
		n += int(f.redis.ZCard(t.Context(), prefix+set).Val())
	}
	if keys := len(f.redis.Keys(t.Context(), prefix+"t:*").Val()); keys < n {
		t.Errorf("%d tasks are listed, and there are %d", n, keys)
	}
	return n
}

func taskOf(code string) string { return tasks.TaskID("p1", "customapp", code) }

// wherever puts the tasks of a run into all states: p1 and p2 pending, s scheduled,
// r put off after a failure, a archived, g without a task.
func wherever(t *testing.T, f *fleet) {
	t.Helper()
	f.do = func(dispatch.Job, int) dispatch.Result {
		return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Ambiguous, Code: "NO_ANSWER", Description: "no answer in time"}}
	}
	submit(t, f, "r1", reg("r"))
	f.work(t, "", func() bool { return f.redis.ZCard(t.Context(), "asynq:{"+queue+"}:retry").Val() == 1 })
	submit(t, f, "r1", reg("p1"), reg("p2"), reg("s"), reg("a"), reg("g"))
	if err := f.inspector.ArchiveTask(queue, taskOf("a")); err != nil {
		t.Fatal(err)
	}
	if err := f.inspector.DeleteTask(queue, taskOf("g")); err != nil {
		t.Fatal(err)
	}
	info, err := f.inspector.GetTaskInfo(queue, taskOf("s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.inspector.DeleteTask(queue, taskOf("s")); err != nil {
		t.Fatal(err)
	}
	_, err = f.queue.Enqueue(asynq.NewTask(tasks.TypeName, info.Payload), asynq.TaskID(info.ID), asynq.Queue(queue), asynq.ProcessIn(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
}

func TestACancelledRunEndsWhereverItsTasksAre(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		wherever(t, f)
		submit(t, f, "r2", reg("other"))
		told := 0
		did := f.cancel(t, tasks.Cancel{Run: "r1", Reason: "the wrong file", Told: func(n int) { told = n }})
		if did != (tasks.Cancelled{Rows: 6}) || told != 6 {
			t.Errorf("%+v, told of %d", did, told)
		}
		if d := cmp.Diff(runs.Counts{Queued: 6, Dead: 6}, f.counts(t, "r1")); d != "" {
			t.Error(d)
		}
		if n := f.living(t); n != 1 || f.counts(t, "r2").Waiting != 1 {
			t.Errorf("%d tasks are left, and %+v of the other run", n, f.counts(t, "r2"))
		}
		info, err := f.runs.Get(t.Context(), "r1")
		if err != nil || info.Ended.IsZero() || !slices.Equal(info.DeadBy, []runs.CodeCount{{Class: tasks.ClassOperator, Code: tasks.CodeCancelled, Rows: 6}}) {
			t.Errorf("%+v, %v", info, err)
		}
		for _, o := range f.outcomes(t, "r1") {
			want, attempts := "cancelled by an operator: the wrong file", 0
			if o.Code == "r" {
				want, attempts = want+"; the last it said: attempt 1: NO_ANSWER: no answer in time", 1
			}
			if o.Status != runs.StatusDead || o.Class != tasks.ClassOperator || o.Error.Code != tasks.CodeCancelled || !strings.HasPrefix(o.Error.Description, want) || attempts == 0 && o.Error.Description != want ||
				o.Attempts != attempts || o.ID != "own-"+o.Code || o.Portal != portal || o.PortalID != "p1" || len(o.Bot) == 0 || o.QueuedAt.IsZero() || o.DoneAt.IsZero() {
				t.Errorf("%+v %+v", o, o.Error)
			}
		}
		if did := f.cancel(t, tasks.Cancel{Run: "r1"}); did != (tasks.Cancelled{}) {
			t.Errorf("again: %+v", did)
		}
	})
}

func TestACancelledRowComesBackWhenItIsSubmittedAgain(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		wherever(t, f)
		f.cancel(t, tasks.Cancel{Run: "r1"})
		f.do = nil
		for _, o := range f.outcomes(t, "r1") {
			r := reg(o.Code)
			r.Row = o.Row
			if got := submit(t, f, "r1", r); got[0].Status != tasks.ReceiptQueued {
				t.Fatalf("%+v", got)
			}
		}
		f.work(t, "r1", nil)
		if c := f.counts(t, "r1"); c != (runs.Counts{Queued: 6, Registered: 6}) {
			t.Errorf("%+v", c)
		}
	})
}

func TestRowsOfOtherPortalsAreNotCancelled(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		for i := range 250 { // so many that the pending tasks are gone through
			other := reg(fmt.Sprint("o", i))
			other.Portal, other.Bot.ClientID = "oauth.bitrix24.ru", ""
			submit(t, f, "r1", reg(fmt.Sprint("b", i)), other)
		}
		if did := f.cancel(t, tasks.Cancel{Run: "r1", Portals: []string{"p2"}}); did.Rows != 250 {
			t.Errorf("%+v", did)
		}
		if c := f.counts(t, "r1"); c.Waiting != 250 || f.living(t) != 250 {
			t.Errorf("%+v, %d tasks", c, f.living(t))
		}
		for _, o := range f.outcomes(t, "r1") {
			if o.PortalID != "p2" {
				t.Fatalf("%+v", o)
			}
		}
		rows := 0
		err := f.runs.Waiting(t.Context(), "r1", func(id string, n int) error {
			rows += n
			if id != "p1" {
				t.Errorf("%d rows wait for %s", n, id)
			}
			return nil
		})
		if err != nil || rows != 250 {
			t.Errorf("%d rows, %v", rows, err)
		}
	})
}

// manyRows submits rows of two runs in turn.
func manyRows(t *testing.T, f *fleet, n int) {
	t.Helper()
	const at = 100
	for from := 0; from < n; from += at {
		var a, b []tasks.Registration
		for i := from; i < from+at; i++ {
			a, b = append(a, reg(fmt.Sprint("a", i))), append(b, reg(fmt.Sprint("b", i)))
		}
		submit(t, f, "r1", a...)
		submit(t, f, "r2", b...)
	}
}

func TestManyPendingTasksAreDeletedFromAmongOthers(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		manyRows(t, f, 700)
		if did := f.cancel(t, tasks.Cancel{Run: "r1"}); did.Rows != 700 || did.Busy != 0 {
			t.Errorf("%+v", did)
		}
		if a, b := f.counts(t, "r1"), f.counts(t, "r2"); a.Dead != 700 || b.Waiting != 700 || f.living(t) != 700 {
			t.Errorf("%+v, %+v, %d tasks", a, b, f.living(t))
		}
	})
}

// Ctrl-C in the middle leaves a task to each row that waits, and to no other.
func TestAnInterruptedCancellationGoesOn(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		manyRows(t, f, 700)
		interrupted := errors.New("interrupted")
		ctx, stop := context.WithCancelCause(t.Context())
		did, err := f.canceller().Cancel(ctx, tasks.Cancel{Run: "r1", Told: func(n int) {
			if n > 100 {
				stop(interrupted)
			}
		}})
		c := f.counts(t, "r1")
		if !errors.Is(err, interrupted) || did.Rows != c.Dead || c.Dead == 0 || c.Waiting == 0 {
			t.Fatalf("%+v, %+v, %v", did, c, err)
		}
		if n := f.living(t); n != c.Waiting+700 {
			t.Errorf("%d tasks for %d rows", n, c.Waiting+700)
		}
		if again := f.cancel(t, tasks.Cancel{Run: "r1"}); again.Rows+did.Rows != 700 || f.living(t) != 700 {
			t.Errorf("%+v, %d tasks", again, f.living(t))
		}
	})
}

// stopping interrupts as soon as tasks of a queue have been deleted.
type stopping struct {
	redis.Hook

	stop func()
}

func (s stopping) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.HasPrefix(cmd.Name(), "eval") && err == nil && strings.HasSuffix(fmt.Sprint(cmd.Args()[3]), ":pending") {
			s.stop()
		}
		return err
	}
}

func (stopping) DialHook(next redis.DialHook) redis.DialHook { return next }

func (stopping) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Between the end of tasks and that of their rows no interruption is heard.
func TestAPageIsNotBrokenOff(t *testing.T) {
	for _, rows := range []int{100, 300} { // searched for one by one, and gone through
		t.Run(strconv.Itoa(rows), func(t *testing.T) {
			both(t, func(t *testing.T, f *fleet) {
				manyRows(t, f, rows)
				ctx, stop := context.WithCancel(t.Context())
				f.redis.AddHook(stopping{stop: stop})
				if _, err := f.canceller().Cancel(ctx, tasks.Cancel{Run: "r1"}); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if c := f.counts(t, "r1"); c.Dead == 0 || f.living(t) != c.Waiting+rows {
					t.Errorf("%+v, %d tasks", c, f.living(t))
				}
			})
		})
	}
}

// Beside a worker a row is registered or dead, and if it is dead nobody has asked
// its portal for it.
func TestCancellingBesideAWorker(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(job dispatch.Job, nth int) dispatch.Result {
			if nth == 1 && len(job.Bot.Code)%2 == 0 { // put off once, while it is being cancelled
				return dispatch.Result{Deferred: &dispatch.Deferral{Reason: ratelimit.Rate, Until: time.Now()}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
		}
		manyRows(t, f, 200)
		var did tasks.Cancelled
		began, last := false, ""
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(last)
			}
		})
		f.work(t, "", func() bool {
			if !began && len(f.calls()) > 20 {
				began = true
				did = f.cancel(t, tasks.Cancel{Run: "r1"})
			}
			if !began {
				return false
			}
			a, b := f.counts(t, "r1"), f.counts(t, "r2")
			last = fmt.Sprintf("%+v, %+v, %+v", did, a, b)
			return a.Waiting == 0 && b.Waiting == 0
		})
		registered := map[string]bool{}
		for _, job := range f.calls() {
			registered[job.Bot.Code] = true
		}
		dead := 0
		for _, o := range f.outcomes(t, "r1") {
			if o.Status == runs.StatusDead {
				dead++
				// A row that was put off had its call refused by the gate.
				if registered[o.Code] && len(o.Code)%2 != 0 {
					t.Errorf("row %d is dead, and its portal was asked", o.Row)
				}
			}
		}
		if dead != did.Rows || dead == 0 {
			t.Errorf("%d dead, %+v", dead, did)
		}
		if c := f.counts(t, "r2"); c.Registered != 200 {
			t.Errorf("%+v", c)
		}
	})
}

// What a worker has in hand finishes by itself, and is waited for a little.
func TestARowInWorkIsNotCancelled(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		going, answer := make(chan struct{}, 1), make(chan struct{})
		f.do = func(dispatch.Job, int) dispatch.Result {
			going <- struct{}{}
			<-answer
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
		}
		submit(t, f, "r1", reg("a"))
		var did tasks.Cancelled
		f.work(t, "r1", func() bool {
			<-going
			c := f.canceller()
			walked := sync.OnceFunc(func() { close(answer) })
			defer walked() // the worker waits for it
			asked := 0
			c.Now = func() time.Time { // first asked for when all rows have been looked at
				if asked++; asked == 1 && f.counts(t, "r1").Waiting != 1 {
					t.Errorf("%+v", f.counts(t, "r1"))
				}
				walked()
				return time.Now()
			}
			var err error
			if did, err = c.Cancel(t.Context(), tasks.Cancel{Run: "r1"}); err != nil || asked < 3 {
				t.Errorf("the time was asked for %d times, too seldom to have waited for a row; %v", asked, err)
			}
			return true
		})
		if o := f.outcomes(t, "r1")[1]; did != (tasks.Cancelled{}) || o.Status != runs.StatusRegistered {
			t.Errorf("%+v, %+v", did, o)
		}
	})
}

// A producer puts a row into its run before it queues its task: a row that is
// cancelled between the two gets a task all the same, which asks nobody.
func TestTheTaskOfACancelledRowRegistersNothing(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		info, err := f.inspector.GetTaskInfo(queue, taskOf("a"))
		if err != nil {
			t.Fatal(err)
		}
		f.cancel(t, tasks.Cancel{Run: "r1"})
		_, err = f.queue.Enqueue(asynq.NewTask(tasks.TypeName, info.Payload), asynq.TaskID(info.ID), asynq.Queue(queue), asynq.Retention(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		f.work(t, "", func() bool {
			info, err := f.inspector.GetTaskInfo(queue, taskOf("a"))
			return err == nil && info.State == asynq.TaskStateCompleted
		})
		if o := f.outcomes(t, "r1")[1]; o.Status != runs.StatusDead || len(f.calls()) > 0 {
			t.Errorf("%+v, %d calls", o, len(f.calls()))
		}
		r := reg("a")
		r.Row = 1
		submit(t, f, "r1", r)
		f.work(t, "r1", nil)
		if c := f.counts(t, "r1"); c.Registered != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// The row of a removed portal ends too; of a run that is none nothing does.
func TestCancellingWithoutPortalOrRun(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		c := f.canceller()
		c.Portals = directory{}
		if did, err := c.Cancel(t.Context(), tasks.Cancel{Run: "r1"}); err != nil || did.Rows != 1 {
			t.Errorf("%+v, %v", did, err)
		}
		if _, err := c.Cancel(t.Context(), tasks.Cancel{Run: "r9"}); !errors.Is(err, runs.ErrUnknownRun) {
			t.Error(err)
		}
		broken := errors.New("no way to the portals")
		c.Portals = failing{broken}
		submit(t, f, "r2", reg("b"))
		if _, err := c.Cancel(t.Context(), tasks.Cancel{Run: "r2"}); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Get(context.Context, string) (portals.Portal, error) { return portals.Portal{}, f.err }

// Rows that stood in their portal's line leave it: what comes next would be put
// behind them, for hours.
func TestCancelledRowsLeaveTheLine(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		limits := ratelimit.Limits{Rate: 2, Burst: 10}
		known := directory{portal: {ID: "p1", Name: portal, Queue: queue, Kind: portals.Webhook, ClientID: "app", Limits: limits}}
		gate := ratelimit.NewShared(ratelimit.SharedConfig{Redis: f.redis})
		client := func() *tasks.Client { // what it has queued lately is its own memory
			return tasks.NewClient(tasks.ClientConfig{Queue: f.queue, Inspector: f.inspector, Portals: known, Runs: f.runs, Line: gate})
		}
		var all []tasks.Registration
		for i := range 400 {
			all = append(all, reg(fmt.Sprint("Bot-", i)))
		}
		if _, err := client().Submit(t.Context(), "r1", all...); err != nil {
			t.Fatal(err)
		}
		f.cancel(t, tasks.Cancel{Run: "r1"})
		keys, err := f.redis.Keys(t.Context(), "botfleet:{p1}:*").Result()
		if err != nil || slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, ":line") || strings.HasSuffix(k, ":asks") }) {
			t.Errorf("%q, %v", keys, err)
		}
		var more []tasks.Registration
		for i := range 60 {
			more = append(more, reg(fmt.Sprint("Next-", i)))
		}
		if _, err := client().Submit(t.Context(), "r2", more...); err != nil {
			t.Fatal(err)
		}
		last, err := f.redis.ZRangeArgsWithScores(t.Context(), redis.ZRangeArgs{Key: "asynq:{" + queue + "}:scheduled", Start: 0, Stop: 0, Rev: true}).Result()
		if err != nil || len(last) == 0 {
			t.Fatal(last, err)
		}
		// 60 rows at 2 a second, and not 460.
		if wait := time.Until(time.Unix(int64(last[0].Score), 0)); wait > 45*time.Second {
			t.Errorf("the last waits %v", wait)
		}
	})
}
