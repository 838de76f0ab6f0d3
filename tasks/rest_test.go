// A worker that rests, and goes on.

package tasks

import (
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/dispatch"
)

func TestAWorkerThatRestsGoesOn(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { _ = rdb.Close() }()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	told := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			all, err := inspector.Servers()
			if err == nil && len(all) == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d servers, %v, want %d", len(all), err, want)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	w := NewWorker(WorkerConfig{
		Redis: rdb, Handler: &Handler{}, Queues: []string{"first", "second"}, Concurrency: 1, ShutdownTimeout: 5 * time.Second,
		Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	told(2)
	w.Rest()
	if len(w.servers) != 0 || len(w.resting) != 2 {
		t.Errorf("%d serve, %d rest", len(w.servers), len(w.resting))
	}
	if !w.Rested() {
		t.Error("it is not done, without a job")
	}
	told(0)
	if err := w.Serve([]string{"first", "second"}); err != nil {
		t.Fatal(err)
	}
	told(2)
	w.Rest()
	w.Stop() // ends those that rest as well
	told(0)
	w.Rest()
	if !w.Rested() {
		t.Error("a stopped worker is not done")
	}
}
