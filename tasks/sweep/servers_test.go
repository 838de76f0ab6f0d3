// Servers that take another one's place.

package sweep

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"botfleet/ratelimit/redistest"
)

// A server that has started anew may have lost what was said last: rows without a
// task are found within a minute and a half, and not after ten.
func TestANewServerIsAHint(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t, redistest.AOF())
	w := newWorld(t, redistest.Client(t, server.URL))
	var shift atomic.Int64
	c := w.config()
	c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	s := hasty(New(c))
	restored := func() bool {
		_, err := w.inspector.GetTaskInfo(queue, id("p0", "helper"))
		return err == nil
	}
	drop := func() { must(t, w.inspector.DeleteTask(queue, id("p0", "helper"))) }
	passed := func(after time.Duration) func() bool { // everything has been looked at, that long after the beginning
		return func() bool {
			ms, err := w.redis.Get(ctx, lastKey).Int64()
			return err == nil && ms > time.Now().Add(after).UnixMilli()
		}
	}
	w.submit("r", "helper")
	defer start(s)()
	w.until(passed(-time.Minute))
	w.until(func() bool { return w.redis.Exists(ctx, serversKey).Val() == 1 })

	drop()
	server.Restart()
	shift.Store(int64(61 * time.Second))
	w.until(restored)
	w.until(passed(60 * time.Second))
	if changed, _, err := s.replaced(ctx); !changed || err != nil {
		t.Errorf("the server is taken for a known one after one pass: %v, %v", changed, err)
	}
	drop() // by what is written meanwhile
	shift.Store(int64(122 * time.Second))
	w.until(restored)
	w.until(func() bool { // when the pass has ended, it is no new one any more
		changed, _, err := s.replaced(ctx)
		must(t, err)
		return !changed
	})
}

// The worker that meets a new server may be stopped before it has looked at all rows,
// or between the two times: the next one does what is left.
func TestAWorkerThatTakesOverGoesOnWithANewServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t, redistest.AOF())
	w := newWorld(t, redistest.Client(t, server.URL))
	var shift atomic.Int64
	c := w.config()
	c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	restored := func() bool {
		_, err := w.inspector.GetTaskInfo(queue, id("p0", "helper"))
		return err == nil
	}
	drop := func() { must(t, w.inspector.DeleteTask(queue, id("p0", "helper"))) }
	last := func() string { return w.redis.Get(ctx, lastKey).Val() }
	w.submit("r", "helper")
	stop := start(hasty(New(c)))
	w.until(func() bool { return w.redis.Exists(ctx, serversKey, lastKey).Val() == 2 })
	stop()

	drop()
	server.Restart()
	shift.Store(int64(61 * time.Second))
	began := make(chan struct{}, 1)
	frozen := c
	frozen.Queues = func(ctx context.Context) ([]string, error) {
		select {
		case began <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	stop = start(hasty(New(frozen)))
	<-began
	stop() // in its first pass

	before := last()
	stop = start(hasty(New(c)))
	w.until(restored)
	w.until(func() bool { return last() != before })
	stop() // between the two

	drop()
	shift.Store(int64(122 * time.Second))
	defer start(hasty(New(c)))()
	w.until(restored)
}
