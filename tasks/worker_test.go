// The worker's own life: what it takes on when told not to, and how it stops.

package tasks_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"

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
