// What somebody archives, and passes that leave rows out.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/tasks/dispatch"
)

// clocked is a sweeper in the background, whose clock the test sets.
type clocked struct {
	*Sweeper

	w     *world
	shift atomic.Int64
}

func (w *world) clocked() *clocked {
	s := &clocked{w: w}
	c := w.config()
	c.Now = func() time.Time { return time.Now().Add(time.Duration(s.shift.Load())) }
	s.Sweeper = hasty(New(c))
	return s
}

// at sets the clock, in time since the test began.
func (s *clocked) at(d time.Duration) { s.shift.Store(int64(d)) }

// passed waits for a full pass to end well.
func (s *clocked) passed() {
	s.w.t.Helper()
	s.w.until(func() bool { return s.w.redis.Exists(s.w.t.Context(), lastKey).Val() == 1 })
}

// An operator who archives tasks sees their rows dead a minute later, and need not
// wait for all rows to be looked at.
func TestWhatIsArchivedIsSeenWithinAMinute(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var codes []string
		for n := range 450 {
			codes = append(codes, fmt.Sprintf("bot%d", n))
		}
		w.submit("r", codes...)
		s := w.clocked()
		defer start(s.Sweeper)()
		s.passed()
		before, err := w.redis.Get(t.Context(), lastKey).Result()
		must(t, err)
		for _, c := range codes[:430] {
			must(t, w.inspector.ArchiveTask(queue, id("p0", c)))
		}
		s.at(61 * time.Second)
		w.until(func() bool { return w.counts("r").Dead == 430 })
		if o := w.load("r", 1).Outcome; o.Class != ClassOperator || o.Error.Code != CodeArchived {
			t.Errorf("%+v", o)
		}
		must(t, w.inspector.ArchiveTask(queue, id("p0", "bot440"))) // in the time that the sweeper will take for now
		must(t, w.redis.ZAdd(t.Context(), prefix(queue)+"archived", zAt(id("p0", "bot440"), time.Now().Add(90*time.Second))).Err())
		s.at(122 * time.Second)
		w.until(func() bool { return w.counts("r").Dead == 431 })
		if after := w.redis.Get(t.Context(), lastKey).Val(); after != before {
			t.Error("all rows were looked at meanwhile")
		}
	})
}

// More than one look concerns: all rows are looked at, then.
func TestMoreThanOneLookArchived(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var codes []string
		for n := range newestArchived + 50 {
			codes = append(codes, fmt.Sprintf("bot%d", n))
		}
		w.submit("r", codes...)
		s := w.clocked()
		defer start(s.Sweeper)()
		s.passed()
		_, err := w.inspector.ArchiveAllPendingTasks(queue)
		must(t, err)
		s.at(61 * time.Second)
		w.until(func() bool { return w.counts("r").Dead >= newestArchived })
		s.at(122 * time.Second)
		w.until(func() bool { return w.counts("r").Dead == len(codes) })
	})
}

// Rows that ended as their task was archived, tasks without a row, of another
// run, of nobody: the look at the archive leaves them alone, and comes to an end.
func TestTheArchiveHoldsOtherThings(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.do = func(dispatch.Job, int) dispatch.Result {
			return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "NAME_ERROR"}}
		}
		w.submit("dead", "a", "b")
		w.finish("dead")
		w.submit("gone", "c")
		must(t, w.inspector.ArchiveTask(queue, id("p0", "c")))
		keys, err := w.redis.Keys(ctx, "botfleet:{run:gone}:*").Result()
		must(t, err)
		must(t, w.redis.Del(ctx, keys...).Err())
		for at, msg := range []string{"", "x", `{"v":1,"run":"../..","row":1,`, `"run":"dead","row":99999999999999999999,`, `"run":"dead","row":0,`, `"run":"dead","row":7,`} {
			other := fmt.Sprintf("other-%d", at)
			if msg != "" {
				must(t, w.redis.HSet(ctx, taskKey(queue, other), "msg", msg, "state", "archived").Err())
			}
			must(t, w.redis.ZAdd(ctx, prefix(queue)+"archived", zAt(other, time.Now())).Err())
		}
		must(t, w.redis.Set(ctx, taskKey(queue, "text"), "no hash", 0).Err())
		must(t, w.redis.ZAdd(ctx, prefix(queue)+"archived", zAt("text", time.Now())).Err())
		p, end := w.begin()
		defer end()
		full, err := p.archives(ctx, time.Now().Add(-time.Minute))
		if err != nil || full || len(p.mended) != 0 || p.troubleErr() != nil {
			t.Errorf("full %v, %v, %v, mended %v", full, err, p.troubleErr(), p.mended)
		}
		if c := w.counts("dead"); c.Dead != 2 {
			t.Errorf("%+v", c)
		}
	})
}

// What was archived before the last look is not looked at again.
func TestTheArchivesPastIsLeftAlone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "old", "new")
		must(t, w.inspector.ArchiveTask(queue, id("p0", "old")))
		must(t, w.inspector.ArchiveTask(queue, id("p0", "new")))
		must(t, w.redis.ZAdd(ctx, prefix(queue)+"archived", redis.Z{Member: id("p0", "old"), Score: float64(time.Now().Add(-time.Hour).Unix())}).Err())
		p, end := w.begin()
		defer end()
		_, err := p.archives(ctx, time.Now().Add(-time.Minute))
		must(t, err)
		if w.load("r", 1).Outcome != nil || w.load("r", 2).Outcome == nil {
			t.Errorf("old %+v, new %+v", w.load("r", 1), w.load("r", 2))
		}
	})
}

// begin is a pass of which the test does the parts.
func (w *world) begin() (p *pass, end func()) {
	w.t.Helper()
	l, err := w.sweeper.take(w.t.Context())
	must(w.t, err)
	p = &pass{Sweeper: w.sweeper, lease: l, mended: map[string]int{}, queueByPortal: map[string]string{}}
	must(w.t, p.announce(w.t.Context()))
	return p, func() { l.release(context.WithoutCancel(w.t.Context())) }
}

// A pass that could not see to some rows has not looked at everything: it is made
// again a minute later, then after two, four and eight.
func TestRowsThatWereLeftOutAreLookedAtSoon(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "a", "b", "c", "d")
		must(t, w.inspector.DeleteTask(queue, id("p0", "a")))
		var asked, failures atomic.Int32
		failures.Store(1)
		w.portals.fail(func(string) error { // the first of three looks at rows, after that at their queue
			if n := asked.Add(1); n > 1 && failures.Add(-1) >= 0 {
				return errors.New("WRONGPASS invalid username-password pair or user is disabled")
			}
			return nil
		})
		s := w.clocked()
		defer start(s.Sweeper)()
		w.until(func() bool { return failures.Load() < 1 && asked.Load() > 1 })
		if w.redis.Exists(ctx, lastKey).Val() != 0 {
			t.Error("a pass that left a row out counts as one over everything")
		}
		s.at(61 * time.Second)
		s.passed()
		if _, err := w.inspector.GetTaskInfo(queue, id("p0", "a")); err != nil {
			t.Errorf("the row was left out: %v", err)
		}
	})
}

// Rows that nobody can see to, as long as the test goes on, do not have everything
// looked at each minute.
func TestRowsThatAreLeftOutAlwaysCostLittle(t *testing.T) {
	s := New(Config{})
	now := time.Now()
	s.now = func() time.Time { return now }
	r := rhythm{Sweeper: s}
	var after []time.Duration
	for range 7 {
		after = append(after, r.leftOut(now).Sub(now)+s.every)
	}
	want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute}
	if fmt.Sprint(after) != fmt.Sprint(want) {
		t.Errorf("tried again after %v, want %v", after, want)
	}
}
