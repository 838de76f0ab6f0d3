// Servers that take another one's place.

package sweep

import (
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
	drop() // by what is written meanwhile
	shift.Store(int64(122 * time.Second))
	w.until(restored)
	if again, err := s.replaced(ctx); again || err != nil {
		t.Errorf("the server is still taken for a new one: %v, %v", again, err)
	}
}
