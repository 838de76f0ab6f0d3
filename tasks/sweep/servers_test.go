// Servers that take another one's place.

package sweep

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"botfleet/ratelimit/redistest"
)

// restarts is a world with one row, on a server that can be started anew, and a clock
// that can be put forward.
type restarts struct {
	*world

	server *redistest.Server
	shift  atomic.Int64
	cfg    Config
}

func newRestarts(t *testing.T) *restarts {
	server := redistest.Start(t, redistest.AOF())
	w := &restarts{world: newWorld(t, redistest.Client(t, server.URL)), server: server}
	w.cfg = w.config()
	w.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }
	w.submit("r", "helper")
	return w
}

// drop takes the row's task away.
func (w *restarts) drop() { must(w.t, w.inspector.DeleteTask(queue, id("p0", "helper"))) }

// restored reports whether the row has a task.
func (w *restarts) restored() bool {
	_, err := w.inspector.GetTaskInfo(queue, id("p0", "helper"))
	return err == nil
}

// A server that has started anew may have lost what was said last: rows without a
// task are found within a minute and a half, and not after ten.
func TestANewServerIsAHint(t *testing.T) {
	t.Parallel()
	ctx, w := t.Context(), newRestarts(t)
	s := hasty(New(w.cfg))
	passed := func(after time.Duration) func() bool { // everything has been looked at, that long after the beginning
		return func() bool {
			ms, err := w.redis.Get(ctx, lastKey).Int64()
			return err == nil && ms > time.Now().Add(after).UnixMilli()
		}
	}
	defer start(s)()
	w.until(passed(-time.Minute))
	w.until(func() bool { return w.redis.Exists(ctx, serversKey).Val() == 1 })

	w.drop()
	w.server.Restart()
	w.shift.Store(int64(61 * time.Second))
	w.until(w.restored)
	w.until(passed(60 * time.Second))
	if changed, _, err := s.replaced(ctx); !changed || err != nil {
		t.Errorf("the server is taken for a known one after one pass: %v, %v", changed, err)
	}
	w.drop() // by what is written meanwhile
	w.shift.Store(int64(122 * time.Second))
	w.until(w.restored)
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
	ctx, w := t.Context(), newRestarts(t)
	last := func() string { return w.redis.Get(ctx, lastKey).Val() }
	stop := start(hasty(New(w.cfg)))
	w.until(func() bool { return w.redis.Exists(ctx, serversKey, lastKey).Val() == 2 })
	stop()

	w.drop()
	w.server.Restart()
	w.shift.Store(int64(61 * time.Second))
	began := make(chan struct{}, 1)
	frozen := w.cfg
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
	stop = start(hasty(New(w.cfg)))
	w.until(w.restored)
	w.until(func() bool { return last() != before })
	stop() // between the two

	w.drop()
	w.shift.Store(int64(122 * time.Second))
	defer start(hasty(New(w.cfg)))()
	w.until(w.restored)
}
