// Waiting rows without their task: each way to lose one, and what becomes of it.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// Rows that have their tasks are no suspects: nobody looks at them twice.
func TestHealthyRowsAreNotSuspected(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := w.config()
		c.Settle = time.Hour
		w.submit("r", "a", "b", "c")
		if r, err := New(c).Pass(ctx); err != nil || r.Rows != 3 || r.Total() != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestADeletedTaskIsRestored(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("r", "helper", "other")
		before := w.info("helper")
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		w.pass(map[string]int{Restored: 1})
		after := w.info("helper")
		if string(before.Payload) != string(after.Payload) || before.Timeout != after.Timeout || before.MaxRetry != after.MaxRetry || before.Retention != after.Retention {
			t.Errorf("queued %+v, restored %+v", before, after)
		}
		w.pass(nil)
	})
}

// After a flush of all of asynq's keys, beside the runs.
func TestAFlushedQueueIsRestored(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var codes []string
		for n := range 1100 { // three hashes of rows
			codes = append(codes, fmt.Sprintf("bot%d", n))
		}
		w.submit("r", codes...)
		keys, err := w.redis.Keys(ctx, "asynq:*").Result()
		must(t, err)
		must(t, w.redis.Del(ctx, keys...).Err())
		w.pass(map[string]int{Restored: 1100})
		if n := w.redis.LLen(ctx, prefix(queue)+"pending").Val(); n != 1100 {
			t.Errorf("%d pending", n)
		}
		w.pass(nil)
	})
}

// A producer adds rows before it queues them.
func TestYoungRowsAreLeftToTheirProducer(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		c := w.config()
		c.Age = time.Minute
		at := time.Now()
		c.Now = func() time.Time { return at }
		w.sweeper = New(c)
		w.submit("r", "helper")
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		w.pass(nil)
		at = at.Add(2 * time.Minute)
		w.pass(map[string]int{Restored: 1})
	})
}

func TestAnArchivedTaskEndsItsRow(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("r", "helper")
		must(t, w.inspector.ArchiveTask(queue, id("p0", "helper")))
		w.pass(map[string]int{Archived: 1})
		o := w.load("r", 1).Outcome
		if o.Status != runs.StatusDead || o.Class != ClassOperator || o.Error.Code != CodeArchived || len(o.Bot) == 0 || o.QueuedAt.IsZero() {
			t.Errorf("%+v", o)
		}
		if w.pass(nil); len(w.meter.ended) != 1 || w.meter.ended[0].Error.Code != CodeArchived {
			t.Errorf("the meter heard of %+v", w.meter.ended)
		}
		// A second thought: run again from the dashboard.
		must(t, w.inspector.RunTask(queue, id("p0", "helper")))
		stop := w.work()
		w.until(func() bool { return w.load("r", 1).Outcome.Status == runs.StatusRegistered })
		stop()
		w.counts("r")
		w.pass(nil)
	})
}

// asynq archives what its handler cannot read; the run does not hear of it.
func TestAnUnreadablePayloadEndsItsRow(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		_, err := asynq.NewClientFromRedisClient(w.redis).EnqueueContext(ctx, asynq.NewTask(tasks.TypeName, []byte(`{"v":99}`)),
			asynq.Queue(queue), asynq.TaskID(id("p0", "helper")))
		must(t, err)
		w.pass(nil) // its handler has not seen it yet
		stop := w.work()
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateArchived })
		stop()
		w.pass(map[string]int{Archived: 1})
		o := w.load("r", 1).Outcome
		if o.Class != "validation" || o.Error.Code != "PAYLOAD_UNREADABLE" || !strings.Contains(o.Error.Description, "version 99") {
			t.Errorf("%+v, %+v", o, o.Error)
		}
	})
}

// A row that was taken up again, by a producer that died before it had cleared
// away the dead task of its earlier life.
func TestTheDeadTaskOfAnEarlierLife(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		st := w.load("r", 1)
		must(t, w.inspector.ArchiveTask(queue, id("p0", "helper")))
		w.pass(map[string]int{Archived: 1})
		if _, err := w.runs.Add(ctx, "r", []runs.Row{st.Row}); err != nil {
			t.Fatal(err)
		}
		w.pass(map[string]int{Restored: 1})
		w.finish("r")
		if o := w.load("r", 1).Outcome; o.Status != runs.StatusRegistered || o.Gen != 1 {
			t.Errorf("%+v", o)
		}
	})
}

// waitsOnly puts a row into a run whose producer died before it was queued.
func (w *world) waitsOnly(run, code string) {
	w.t.Helper()
	ctx := w.t.Context()
	must(w.t, w.runs.Open(ctx, run, runs.Begin{}))
	row := runs.Row{
		Number: 1, Ident: id("p0", code), Portal: "p0", PortalID: "p0", Code: code, QueuedAt: time.Now(),
		Bot: []byte(fmt.Sprintf(`{"CODE":%q,"EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"n"}}`, code)),
	}
	_, err := w.runs.Add(ctx, run, []runs.Row{row})
	must(w.t, err)
}

func TestAnothersTask(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("first", "helper")
		w.waitsOnly("second", "helper")
		w.pass(map[string]int{Duplicate: 1})
		o := w.load("second", 1).Outcome
		if o.Status != runs.StatusDuplicate || *o.Of != (runs.Ref{Run: "first", Row: 1}) {
			t.Errorf("%+v", o)
		}
		if w.load("first", 1).Outcome != nil {
			t.Error("the first row has ended")
		}
	})
}

// The other row has ended, and somebody has its task run again: only when that
// has ended it is known what the waiting row comes to.
func TestTheTaskOfARowThatHasEnded(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("first", "helper")
		must(t, w.runs.Record(t.Context(), "first", 0, runs.Outcome{
			Row: 1, Portal: "p0", Code: "helper", Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "CODE_ERROR"},
		}))
		w.waitsOnly("second", "helper")
		w.pass(nil)
	})
}

// The task's own row is gone: the task ends by itself, and then it is the
// waiting row's turn.
func TestTheTaskOfARunThatIsGone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("first", "helper")
		w.waitsOnly("second", "helper")
		keys, err := w.redis.Keys(ctx, "botfleet:{run:first}:*").Result()
		must(t, err)
		must(t, w.redis.Del(ctx, keys...).Err())
		w.pass(nil)
		stop := w.work()
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateArchived })
		stop()
		w.pass(map[string]int{Restored: 1})
		w.finish("second")
		if n := w.called("p0", "helper"); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestAnothersEndedTask(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("first", "helper")
		w.finish("first")
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
		w.waitsOnly("second", "helper")
		w.pass(map[string]int{Registered: 1})
		o := w.load("second", 1).Outcome
		if o.Status != runs.StatusRegistered || o.BotID != 39 || !o.Existed || o.How != runs.HowSkipped {
			t.Errorf("%+v", o)
		}
		if info, err := w.runs.Get(t.Context(), "second"); err != nil || info.Ended.IsZero() {
			t.Errorf("the run has not ended: %+v, %v", info, err)
		}
	})
}

// A run that wants existing bots brought up to date, or refused, is not served by
// what another run's task came to.
func TestAnothersEndedTaskIsNotEnough(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("first", "helper")
		w.finish("first")
		for _, wish := range []runs.OnExisting{runs.Update, runs.Fail} {
			w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
			before, run := w.called("p0", "helper"), string(wish)
			must(t, w.runs.Open(t.Context(), run, runs.Begin{OnExisting: wish}))
			w.waitsOnly(run, "helper")
			w.pass(map[string]int{Restored: 1})
			w.finish(run)
			if n := w.called("p0", "helper"); n != before+1 {
				t.Errorf("%s: %d calls", wish, n-before)
			}
		}
	})
}

// The run has forgotten what its own task came to.
func TestItsOwnEndedTask(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		meta, rows := w.redis.HGetAll(ctx, "botfleet:{run:r}:meta").Val(), w.redis.HGetAll(ctx, "botfleet:{run:r}:rows:0").Val()
		w.finish("r")
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
		must(t, w.redis.Del(ctx, "botfleet:{run:r}:meta").Err())
		must(t, w.redis.HSet(ctx, "botfleet:{run:r}:meta", meta).Err())
		must(t, w.redis.HSet(ctx, "botfleet:{run:r}:rows:0", rows).Err())
		w.pass(map[string]int{Registered: 1})
		if o := w.load("r", 1).Outcome; o.BotID != 39 || o.Existed || o.How != runs.HowRecovered {
			t.Errorf("%+v", o)
		}
		if n := w.called("p0", "helper"); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// A task that ended as completed with another result than a BOT_ID says nothing
// of the row.
func TestAnEndedTaskWithoutABot(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit("first", "helper")
		w.finish("first")
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
		must(t, w.redis.HSet(t.Context(), taskKey(queue, id("p0", "helper")), "result", "dead").Err())
		w.waitsOnly("second", "helper")
		w.pass(map[string]int{Restored: 1})
		w.finish("second")
	})
}

func TestARemovedPortal(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		_, err := w.Submit(t.Context(), "r", reg("p0", "helper"), reg("p1", "helper"))
		must(t, err)
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		w.portals.remove("p0")
		w.pass(map[string]int{PortalUnknown: 1})
		o := w.load("r", 1).Outcome
		if o.Status != runs.StatusDead || o.Class != "blocked" || o.Error.Code != tasks.CodeUnknownPortal {
			t.Errorf("%+v", o)
		}
	})
}

// One portal that cannot be read, and one row that cannot be queued, must not
// keep the others from their tasks.
func TestOneRowInTrouble(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var regs []tasks.Registration
		for _, p := range []string{"p0", "p2", "p4", "p6", "p8"} {
			regs = append(regs, reg(p, "helper"))
		}
		_, err := w.Submit(t.Context(), "r", regs...)
		must(t, err)
		for _, r := range regs {
			must(t, w.inspector.DeleteTask(queue, id(r.Portal, "helper")))
		}
		c := w.config()
		c.Portals, c.Requeue = troubled{w.portals}, refusing{w.Client}
		r, err := New(c).Pass(t.Context())
		if err == nil || !strings.Contains(err.Error(), "p2 is sealed") || r.Mended[Restored] != 3 || r.Total() != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		c.Portals = w.portals
		r, err = New(c).Pass(t.Context())
		if err == nil || !strings.Contains(err.Error(), "row 3 of run r: p4 is refused") || r.Mended[Restored] != 1 || r.Total() != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

type troubled struct{ *directory }

func (d troubled) Get(ctx context.Context, id string) (portals.Portal, error) {
	if id == "p2" {
		return portals.Portal{}, errors.New("p2 is sealed")
	}
	return d.directory.Get(ctx, id)
}

type refusing struct{ *tasks.Client }

func (r refusing) Requeue(ctx context.Context, run string, row runs.Row, p portals.Portal) error {
	if p.ID == "p4" {
		return errors.New("p4 is refused")
	}
	return r.Client.Requeue(ctx, run, row, p)
}

func TestARowThatCannotBeRead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.redis.HSet(ctx, "botfleet:{run:r}:rows:0", "1", "w0|"+id("p0", "helper")+`|{"pid":"p0",`).Err())
		w.pass(nil) // its handler tells of it
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		w.pass(map[string]int{Unreadable: 1})
		if o := w.load("r", 1).Outcome; o.Status != runs.StatusDead || o.Error.Code != runs.CodeUnreadable {
			t.Errorf("%+v", o)
		}
		w.counts("r")
	})
}

// A row that ends between the looks keeps its end: the first look finds no task,
// the row then ends, and the second must leave it.
func TestARowThatEndsMeanwhile(t *testing.T) {
	for name, lose := range map[string]func(*asynq.Inspector, string, string) error{
		"archived": (*asynq.Inspector).ArchiveTask, "deleted": (*asynq.Inspector).DeleteTask,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ctx := t.Context()
				w.submit("r", "helper")
				c := w.config()
				looked := 0
				c.Portals = onGet(func(ctx context.Context, id string) (portals.Portal, error) {
					if looked++; looked == 2 { // the second look begins
						must(t, w.runs.Record(ctx, "r", 0, runs.Outcome{
							Row: 1, Portal: "p0", Code: "helper", Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "CODE_ERROR"},
						}))
					}
					return w.portals.Get(ctx, id)
				})
				must(t, lose(w.inspector, queue, id("p0", "helper")))
				r, err := New(c).Pass(ctx)
				if err != nil || r.Total() != 0 || looked != 2 {
					t.Fatalf("%+v, %v, %d", r, err, looked)
				}
				if o := w.load("r", 1).Outcome; o.Error.Code != "CODE_ERROR" {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

type onGet func(ctx context.Context, id string) (portals.Portal, error)

func (f onGet) Get(ctx context.Context, id string) (portals.Portal, error) { return f(ctx, id) }

// 2,000 rows wait, and a vandal is loose: at the end every row has its bot, and
// no bot was asked for twice.
func TestTasksDeletedAtRandom(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		n := 2000
		if testing.Short() {
			n = 400
		}
		regs := make([]tasks.Registration, n)
		for i := range regs {
			regs[i] = reg(fmt.Sprintf("p%d", i%40), fmt.Sprintf("bot%d", i/40))
		}
		_, err := w.Submit(ctx, "r", regs...)
		must(t, err)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		archived := w.vandalise(rnd, n)
		for range 5 {
			if _, err := w.sweeper.Pass(ctx); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(nil)
		c := w.counts("r")
		if c.Waiting+c.Dead != n || c.Dead > archived {
			t.Fatalf("%d archived: %+v", archived, c)
		}
		w.everyWaitingRowHasATask("r", n)
		w.do = func(job dispatch.Job, nth int) dispatch.Result {
			return dispatch.Result{Registered: &dispatch.Registered{BotID: int64(1000 + nth)}}
		}
		w.finish("r")
		w.until(func() bool { return w.redis.LLen(ctx, prefix(queue)+"active").Val() == 0 })
		for i := range n {
			o := w.load("r", i+1).Outcome
			calls := w.called(o.Portal, o.Code)
			if o.Status == runs.StatusRegistered && calls != 1 || o.Status == runs.StatusDead && (calls != 0 || o.Class != ClassOperator) {
				t.Fatalf("row %d: %+v after %d calls", i+1, o, calls)
			}
		}
		w.pass(nil)
	})
}

// vandalise does away with tasks in every way that a person or a full Redis
// has, and returns how many it has archived at most.
func (w *world) vandalise(rnd *rand.Rand, n int) (archived int) {
	ctx := w.t.Context()
	for i := range n {
		portal := fmt.Sprintf("p%d", i%40)
		q, task := fmt.Sprintf("portals-%d", i%2), id(portal, fmt.Sprintf("bot%d", i/40))
		switch rnd.IntN(14) {
		case 0, 1:
			_ = w.inspector.DeleteTask(q, task)
		case 2:
			if w.inspector.ArchiveTask(q, task) == nil {
				archived++
			}
		case 3:
			w.redis.Del(ctx, taskKey(q, task))
		case 4:
			w.redis.HDel(ctx, taskKey(q, task), "msg")
		case 5:
			w.redis.LRem(ctx, prefix(q)+"pending", 0, task)
		case 6:
			w.redis.LRem(ctx, prefix(q)+"pending", 0, task)
			w.redis.HSet(ctx, taskKey(q, task), "state", []string{"active", "retry", "scheduled", "archived"}[rnd.IntN(4)])
		default:
		}
		switch rnd.IntN(n) {
		case 0:
			w.redis.Del(ctx, prefix(q)+"pending")
		case 1:
			_, _ = w.inspector.DeleteAllPendingTasks(q)
		case 2:
			w.redis.Del(ctx, queueNames)
		default:
		}
	}
	return archived
}

func (w *world) everyWaitingRowHasATask(run string, n int) {
	w.t.Helper()
	for row := 1; row <= n; row++ {
		st := w.load(run, row)
		if st.Outcome != nil {
			continue
		}
		q := "portals-0"
		if st.Row.PortalID[len(st.Row.PortalID)-1]%2 == 1 {
			q = "portals-1"
		}
		info, err := w.inspector.GetTaskInfo(q, st.Row.Ident)
		if err != nil || info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted || info.State == asynq.TaskStateActive {
			w.t.Fatalf("row %d waits, and its task: %+v, %v", row, info, err)
		}
	}
}
