// asynq's holes: each is made, and seen closed.

package sweep

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

func zAt(id string, at time.Time) redis.Z { return redis.Z{Score: float64(at.Unix()), Member: id} }

// Archived at once by an operator, more than asynq's archive holds: what is
// trimmed keeps its hash.
func TestGhostsOfTheArchive(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		client := asynq.NewClientFromRedisClient(w.redis)
		const most = 9999
		pipe := w.redis.Pipeline() // the archive full of others, as asynq writes them
		for n := range most {
			old := fmt.Sprintf("old-%d", n)
			pipe.HSet(ctx, taskKey(queue, old), "msg", "x", "state", "archived")
			pipe.ZAdd(ctx, prefix(queue)+"archived", zAt(old, time.Now().Add(time.Hour)))
		}
		_, err := pipe.Exec(ctx)
		must(t, err)
		_, err = client.Enqueue(asynq.NewTask("other", nil), asynq.Queue(queue), asynq.TaskID("another"))
		must(t, err)
		_, err = w.inspector.ArchiveAllPendingTasks(queue)
		must(t, err)
		if err := w.inspector.DeleteTask(queue, "another"); err == nil {
			t.Fatal("the archive has made no ghosts")
		}
		w.pass(map[string]int{Ghost: 2, Restored: 1})
		if st := w.info("helper").State; st != asynq.TaskStatePending {
			t.Errorf("the row's task is %s", st)
		}
		_, err = client.Enqueue(asynq.NewTask("other", nil), asynq.Queue(queue), asynq.TaskID("another"))
		must(t, err)
		w.pass(nil)
	})
}

func TestActiveWithoutLeaseAndWithoutWorker(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.redis.LMove(ctx, prefix(queue)+"pending", prefix(queue)+"active", "right", "left").Err())
		must(t, w.redis.HSet(ctx, taskKey(queue, id("p0", "helper")), "state", "active").Err())
		w.sweeper.now = func() time.Time { return time.Now().Add(-31 * time.Second) } // the time that asynq waits
		w.pass(map[string]int{Lease: 1})
		w.sweeper.now = time.Now
		w.pass(nil)
		w.finish("r") // asynq looks for ended leases when it starts
		if o := w.load("r", 1).Outcome; o.Status != runs.StatusRegistered {
			t.Errorf("%+v", o)
		}
		w.pass(nil)
	})
}

// The worker lives, and keeps its task.
func TestActiveWithoutLeaseWithItsWorker(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		began, end := make(chan struct{}), make(chan struct{})
		w.do = func(dispatch.Job, int) dispatch.Result {
			close(began)
			<-end
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		w.submit("r", "helper")
		stop := w.work()
		defer stop()
		<-began
		must(t, w.redis.Del(ctx, prefix(queue)+"lease").Err()) // evicted
		w.pass(map[string]int{Lease: 1})
		if ends := w.redis.ZScore(ctx, prefix(queue)+"lease", id("p0", "helper")).Val(); ends < float64(time.Now().Add(-10*time.Second).Unix()) {
			t.Error("the worker has no time to extend the lease")
		}
		soon := time.Now().Add(10 * time.Second).Unix()
		w.until(func() bool { // the worker extends it
			return w.redis.ZScore(ctx, prefix(queue)+"lease", id("p0", "helper")).Val() > float64(soon)
		})
		close(end)
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
		if w.called("p0", "helper") != 1 || w.load("r", 1).Outcome.BotID != 7 {
			t.Errorf("%d calls, %+v", w.called("p0", "helper"), w.load("r", 1).Outcome)
		}
		w.pass(nil)
	})
}

// Its lease is gone when the handler ends: asynq takes the task from the list of
// active ones and then refuses to go on.
func TestFinishedWithoutLease(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		began, end := make(chan struct{}), make(chan struct{})
		w.do = func(dispatch.Job, int) dispatch.Result {
			close(began)
			<-end
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		w.submit("r", "helper")
		stop := w.work()
		<-began
		must(t, w.redis.Del(ctx, prefix(queue)+"lease").Err())
		close(end)
		w.until(func() bool { return w.redis.LLen(ctx, prefix(queue)+"active").Val() == 0 })
		stop()
		if st := w.info("helper").State; st != asynq.TaskStateActive {
			t.Fatalf("the task is %s: no hole", st)
		}
		w.pass(map[string]int{Stranded: 1})
		stop = w.work()
		w.until(func() bool { return w.info("helper").State == asynq.TaskStateCompleted })
		stop()
		if w.called("p0", "helper") != 1 {
			t.Errorf("%d calls for a row that had ended", w.called("p0", "helper"))
		}
		w.pass(nil)
	})
}

// The list of active tasks is gone, and the worker too.
func TestActiveWithAnEndedLeaseInNoList(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.redis.Del(ctx, prefix(queue)+"pending").Err())
		must(t, w.redis.HSet(ctx, taskKey(queue, id("p0", "helper")), "state", "active").Err())
		lease := func(at time.Duration) {
			must(t, w.redis.ZAdd(ctx, prefix(queue)+"lease", zAt(id("p0", "helper"), time.Now().Add(at))).Err())
		}
		lease(-100 * time.Second) // asynq may still see to it
		w.pass(nil)
		lease(-130 * time.Second)
		w.pass(map[string]int{Stranded: 1})
		w.finish("r")
		w.pass(nil)
	})
}

func TestTasksInNoList(t *testing.T) {
	for _, state := range []string{"pending", "scheduled", "retry", "completed"} {
		t.Run(state, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ctx := t.Context()
				w.submit("r", "helper")
				must(t, w.redis.Del(ctx, prefix(queue)+"pending").Err())
				must(t, w.redis.HSet(ctx, taskKey(queue, id("p0", "helper")), "state", state).Err())
				want := map[string]int{Unlisted: 1}
				if state == "completed" {
					want = map[string]int{Ghost: 1, Restored: 1}
				}
				w.pass(want)
				w.pass(nil)
				w.finish("r")
				if w.called("p0", "helper") != 1 {
					t.Errorf("%d calls", w.called("p0", "helper"))
				}
				w.pass(nil)
			})
		})
	}
}

// Ids whose hash was evicted, in every list that may hold them.
func TestIdsWithoutATask(t *testing.T) {
	for _, where := range []string{"pending", "active", "lease", "scheduled", "retry", "archived", "completed", "active and lease"} {
		t.Run(where, func(t *testing.T) {
			both(t, func(t *testing.T, w *world) {
				ctx := t.Context()
				w.submit("r", "helper")
				gone := id("p0", "helper")
				must(t, w.redis.Del(ctx, taskKey(queue, gone), prefix(queue)+"pending").Err())
				switch where {
				case "pending", "active":
					must(t, w.redis.LPush(ctx, prefix(queue)+where, gone).Err())
				case "active and lease":
					must(t, w.redis.LPush(ctx, prefix(queue)+"active", gone).Err())
					must(t, w.redis.ZAdd(ctx, prefix(queue)+"lease", zAt(gone, time.Now().Add(-time.Hour))).Err())
				default:
					must(t, w.redis.ZAdd(ctx, prefix(queue)+where, zAt(gone, time.Now().Add(time.Hour))).Err())
				}
				w.pass(map[string]int{Empty: 1, Restored: 1})
				if n := w.redis.LLen(ctx, prefix(queue)+"pending").Val(); n != 1 {
					t.Errorf("%d pending", n)
				}
				w.pass(nil)
				w.finish("r")
				if w.called("p0", "helper") != 1 {
					t.Errorf("%d calls", w.called("p0", "helper"))
				}
				w.pass(nil)
			})
		})
	}
}

// A task without its message, as asynq makes one of an id without a task.
func TestTasksWithoutAMessage(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.redis.Del(ctx, taskKey(queue, id("p0", "helper"))).Err())
		stop := w.work()
		w.until(func() bool { return w.redis.LLen(ctx, prefix(queue)+"active").Val() == 1 })
		stop()
		must(t, w.redis.HSet(ctx, taskKey("portals-1", "left behind"), "result", "1").Err())
		w.pass(map[string]int{Empty: 2, Restored: 1})
		w.finish("r")
		w.pass(nil)
	})
}

// Behind very many pending tasks an id is not searched for nothing, and found
// all the same.
func TestAmongManyPendingTasks(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var codes []string
		for n := range 1500 {
			codes = append(codes, fmt.Sprintf("bot%d", n))
		}
		w.submit("r", codes...)
		for _, c := range []string{"bot3", "bot700", "bot1400"} {
			must(t, w.redis.Del(ctx, taskKey(queue, id("p0", c))).Err())
		}
		w.pass(map[string]int{Empty: 3, Restored: 3})
		if n := w.redis.LLen(ctx, prefix(queue)+"pending").Val(); n != 1500 {
			t.Errorf("%d pending", n)
		}
		w.pass(nil)
	})
}

func TestLostQueueNames(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper") // brings one name
		w.pass(nil)             // announces the other, which nobody has missed
		must(t, w.redis.Del(ctx, queueNames).Err())
		w.pass(map[string]int{Queue: 2})
		// Another worker does not know what was announced, but sees the tasks.
		must(t, w.redis.Del(ctx, queueNames).Err())
		w.sweeper = New(w.config())
		w.pass(map[string]int{Queue: 1})
		names, err := w.inspector.Queues()
		if err != nil || len(names) != 2 {
			t.Errorf("%v, %v", names, err)
		}
		totals, err := Totals(ctx, w.redis)
		if err != nil || totals[Queue] != 3 || w.meter.mended[Queue] != 3 {
			t.Errorf("%v, %v, %v", totals, w.meter.mended, err)
		}
	})
}

// Other asynq users of the same Redis look after themselves; what is no task at
// all is passed over.
func TestOthersAreLeftAlone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		must(t, w.redis.HSet(ctx, taskKey("foreign", "x"), "msg", "y", "state", "archived").Err())
		must(t, w.redis.Set(ctx, taskKey(queue, "text"), "no hash", 0).Err())
		must(t, w.redis.HSet(ctx, taskKey(queue, "group"), "msg", "y", "state", "aggregating").Err())
		w.submit("r", "helper")
		w.pass(nil)
	})
}

// A queue's task that is not ours is never deleted but when it had ended.
func TestTasksOfOtherTypesSurvive(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var ran atomic.Int32
		_, err := asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask("other", nil), asynq.Queue(queue), asynq.TaskID("another"))
		must(t, err)
		must(t, w.redis.Del(ctx, prefix(queue)+"pending").Err())
		must(t, w.redis.HSet(ctx, taskKey(queue, "another"), "state", "active").Err())
		w.pass(map[string]int{Stranded: 1})
		s := asynq.NewServerFromRedisClient(w.redis, asynq.Config{Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond})
		must(t, s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { ran.Add(1); return nil })))
		w.until(func() bool { return ran.Load() == 1 })
		s.Shutdown()
		w.pass(nil)
	})
}
