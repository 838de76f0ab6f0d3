// The worker's own life: what it takes on when told not to, and how it stops.

package tasks_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
)

func (f *fleet) worker(queues []string, timeout time.Duration) *tasks.Worker {
	return tasks.NewWorker(tasks.WorkerConfig{
		Redis: f.redis, Handler: f.handler, Queues: queues, Concurrency: 10, ShutdownTimeout: timeout,
		Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
	})
}

func TestAWorkerServesQueuesThatComeLater(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		w := f.worker([]string{"other"}, 5*time.Second)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		for range 2 { // again changes nothing
			if err := w.Serve([]string{"other", queue}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Finished()
		})
	})
}

// A producer that outlives Redis' data does not tell asynq of its queue again.
func TestAWorkerMakesItsQueuesKnownAgain(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		w := f.worker([]string{queue}, 5*time.Second)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if err := f.redis.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := w.Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		submit(t, f, "r2", reg("b"))
		if _, err := f.inspector.GetQueueInfo(queue); err != nil {
			t.Error(err)
		}
	})
}

func TestAWorkerWithoutQueuesDoesNotStart(t *testing.T) {
	w := tasks.NewWorker(tasks.WorkerConfig{Dispatcher: dispatch.New(dispatch.Config{})})
	if w.Start() == nil {
		t.Error("it would do nothing, and nobody would know")
	}
}

// stuck is a Doer whose calls end only when their context does.
type stuck struct{ began chan struct{} }

func (s stuck) Do(ctx context.Context, _ dispatch.Job) dispatch.Result {
	s.began <- struct{}{}
	<-ctx.Done()
	return dispatch.Result{Deferred: &dispatch.Deferral{Reason: dispatch.ShuttingDown}}
}

// Requests that outlast their part of the timeout must not make Stop take
// another whole one.
func TestStopKeepsToItsTimeout(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		hung := stuck{make(chan struct{}, 1)}
		f.handler.Do = hung
		w := f.worker([]string{queue}, 5*time.Second)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		<-hung.began
		began := time.Now()
		w.Stop()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("%s, although nothing was on its way to a portal", took)
		}
		eventually(t, func() bool { // the task is back for another worker
			info, err := f.inspector.GetTaskInfo(queue, tasks.TaskID("p1", "customapp", "a"))
			return err == nil && info.State != asynq.TaskStateActive
		})
	})
}

// slow is a portal whose answers a test gives.
type slow struct {
	dispatch.Caller

	began, end chan struct{}
}

func (s slow) Register(context.Context, *portals.Portal, *bitrix.Bot) (bitrix.Registered, error) {
	s.began <- struct{}{}
	<-s.end
	return bitrix.Registered{BotID: 39}, nil
}

// A worker that is paused ends the requests on their way, and hands back what it
// has taken and not sent.
func TestAPausedWorkerHandsBackWhatItHasNotSent(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		var regs []tasks.Registration
		for i := range 8 {
			regs = append(regs, reg(strconv.Itoa(i)))
		}
		submit(t, f, "r1", regs...)
		portal := slow{began: make(chan struct{}, len(regs)), end: make(chan struct{})}
		d := dispatch.New(dispatch.Config{
			Gate: ratelimit.NewLocal(ratelimit.Config{}), Caller: portal, Parallel: 2, BatchSize: 1, Batching: dispatch.Off,
			RequestTimeout: time.Minute, Slots: 10,
		})
		f.handler.Do = d
		w := tasks.NewWorker(tasks.WorkerConfig{
			Redis: f.redis, Handler: f.handler, Queues: []string{queue}, Concurrency: 10, ShutdownTimeout: 5 * time.Second,
			Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: d,
		})
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		<-portal.began
		<-portal.began
		w.Pause()
		eventually(t, func() bool {
			info, err := f.inspector.GetQueueInfo(queue)
			return err == nil && info.Active == 2 && info.Pending+info.Retry == len(regs)-2
		})
		close(portal.end)
		eventually(t, func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Counts.Registered == 2 && info.Counts.Waiting == len(regs)-2
		})
		if n := len(portal.began); n != 0 {
			t.Errorf("%d more were sent", n)
		}
	})
}

// An outcome whose run is gone, as after Redis has lost its data, is told as such.
func TestAnOutcomeThatNothingKeepsIsToldSo(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		var log lockedBuffer
		f.handler.Log = slog.New(slog.NewTextHandler(&log, nil))
		submit(t, f, "r1", reg("a"))
		f.do = func(dispatch.Job, int) dispatch.Result {
			if err := f.redis.FlushAll(t.Context()).Err(); err != nil {
				t.Error(err)
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
		}
		f.work(t, "r1", func() bool { return strings.Contains(log.String(), "msg=outcome") })
		for _, want := range []string{"level=WARN msg=outcome run=r1", "status=registered", "bot_id=39", `recorded=false reason="its run is gone"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("not said: %s in\n%s", want, log.String())
			}
		}
	})
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
