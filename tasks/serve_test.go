// What a worker that was told to take nothing more does with new queues.

package tasks

import (
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/dispatch"
)

// Portals that are imported while a worker is paused may bring a queue of their
// own: a paused worker does not take from it.
func TestAPausedWorkerTakesUpNoNewQueue(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { _ = rdb.Close() }()
	w := NewWorker(WorkerConfig{
		Redis: rdb, Handler: &Handler{}, Queues: []string{"first"}, Concurrency: 1, ShutdownTimeout: 5 * time.Second,
		Eager: true, Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.Pause()
	if err := w.Serve([]string{"first", "second"}); err != nil {
		t.Fatal(err)
	}
	if len(w.servers) != 1 {
		t.Errorf("%d queues are served", len(w.servers))
	}
	w.Stop()
	w.Stop() // again changes nothing
	if err := w.Serve([]string{"third"}); err != nil || len(w.servers) != 0 {
		t.Errorf("a stopped worker serves %d queues, %v", len(w.servers), err)
	}
}
