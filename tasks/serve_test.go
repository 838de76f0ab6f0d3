// What a worker that was told to take nothing more does with new queues.

package tasks

import (
	"fmt"
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

// Queues that come later, as with more SHARDS, get what those that are served leave:
// all together never take more than mostTaken times what is worked on.
func TestQueuesThatComeLaterShareWhatIsLeft(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { _ = rdb.Close() }()
	names := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("portals-%d", i)
		}
		return all
	}
	for _, c := range []struct{ concurrency, first, later, want int }{
		{1024, 1, 4, 512}, {1024, 4, 16, 170}, {1024, 1, 20, 161}, {8, 4, 5, 4}, {1, 4, 6, 1},
	} {
		w := NewWorker(WorkerConfig{
			Redis: rdb, Handler: &Handler{}, Queues: names(c.first), Concurrency: c.concurrency, ShutdownTimeout: 5 * time.Second,
			Log: slog.New(slog.DiscardHandler), Dispatcher: dispatch.New(dispatch.Config{}),
		})
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		if err := w.Serve(names(c.later)); err != nil {
			t.Fatal(err)
		}
		all := 0
		for _, n := range w.slots {
			all += n
		}
		if got := w.slots[names(c.later)[c.later-1]]; got != c.want || all > max(mostTaken*c.concurrency, c.later) {
			t.Errorf("%d, of %d then %d queues: %d slots each, %d in all; want %d", c.concurrency, c.first, c.later, got, all, c.want)
		}
		w.Stop()
	}
}
