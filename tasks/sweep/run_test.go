// The background: one sweeper at a time, hints, and a healthy queue left alone.

package sweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
)

// hasty makes a sweeper's background quick enough for a test.
func hasty(s *Sweeper) *Sweeper {
	s.takeEvery, s.tickEvery = 10*time.Millisecond, 5*time.Millisecond
	return s
}

// start runs a sweeper until stop is called.
func start(s *Sweeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestRunSweepsAtOnceAndOnHints(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var shift atomic.Int64
		c := w.config()
		c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s := hasty(New(c))
		restored := func() bool { // after having been deleted
			_, err := w.inspector.GetTaskInfo(queue, id("p0", "helper"))
			return err == nil
		}
		drop := func() { must(t, w.inspector.DeleteTask(queue, id("p0", "helper"))) }
		w.submit("r", "helper")
		drop()
		stop := start(s)
		w.until(restored)
		w.until(func() bool { return w.redis.Exists(ctx, lastKey).Val() == 1 })
		drop()
		must(t, s.Hint(ctx))
		w.until(func() bool { return w.redis.Exists(ctx, hintKey).Val() == 0 }) // heard, too soon after the last
		if restored() {
			t.Error("two full passes within a minute")
		}
		shift.Store(int64(61 * time.Second))
		w.until(restored)
		drop()
		must(t, w.redis.Del(ctx, queueNames).Err()) // when it is noticed, that is a hint too
		shift.Store(int64(122 * time.Second))
		w.until(restored)
		drop()
		shift.Store(int64(13 * time.Minute)) // its time has come
		w.until(restored)
		w.until(func() bool { // the pass has ended, too
			ms, err := w.redis.Get(ctx, lastKey).Int64()
			return err == nil && ms > time.Now().Add(12*time.Minute).UnixMilli()
		})
		stop()
		if n := w.redis.Exists(ctx, leaseKey).Val(); n != 0 {
			t.Error("a stopped sweeper keeps the lease")
		}
		// Another goes on from there.
		drop()
		heard := hasty(New(c))
		stop = start(heard)
		w.until(func() bool { return w.redis.Exists(ctx, leaseKey).Val() == 1 })
		must(t, heard.Hint(ctx))
		w.until(func() bool { return w.redis.Exists(ctx, hintKey).Val() == 0 })
		stop()
		if restored() {
			t.Error("a worker that takes over begins anew")
		}
	})
}

func TestOneSweepsAtATime(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var inside, most, passes atomic.Int32
		c := w.config()
		c.Queues = func(context.Context) ([]string, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			passes.Add(1)
			inside.Add(-1)
			return []string{queue}, nil
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 20 {
					if _, err := New(c).Pass(ctx); err != nil && !errors.Is(err, ErrBusy) {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if most.Load() != 1 || passes.Load() == 0 {
			t.Errorf("%d at a time in %d passes", most.Load(), passes.Load())
		}
	})
}

func TestALostLeaseEndsThePass(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.submit("r", "helper")
		must(t, w.inspector.DeleteTask(queue, id("p0", "helper")))
		c := w.config()
		c.Settle = time.Hour
		s := New(c)
		s.leaseTTL = 300 * time.Millisecond
		gone := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := s.Pass(ctx)
			gone <- err
		}()
		w.until(func() bool { return w.redis.Exists(ctx, leaseKey).Val() == 1 })
		must(t, w.redis.Set(ctx, leaseKey, "another's", 0).Err())
		if err := <-gone; !errors.Is(err, errLost) {
			t.Errorf("%v", err)
		}
		if got := w.redis.Get(ctx, leaseKey).Val(); got != "another's" {
			t.Errorf("the other's lease is now %q", got)
		}
		if w.counts("r").Waiting != 1 {
			t.Error("mended without a lease")
		}
	})
}

// A worker that was frozen for longer than its lease finds out before it acts.
func TestAnEndedLeaseIsNoticedBeforeActing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		l, err := w.sweeper.take(t.Context())
		must(t, err)
		l.began = l.began.Add(-l.ttl)
		if _, err := w.sweeper.pass(t.Context(), l, everything); !errors.Is(err, errLost) {
			t.Errorf("%v", err)
		}
	})
}

func TestALeaseIsRenewed(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.sweeper.leaseTTL = 300 * time.Millisecond
		l, err := w.sweeper.take(ctx)
		must(t, err)
		kept, stop := l.keep(ctx)
		began := time.Now()
		w.until(func() bool { return time.Since(began) > 900*time.Millisecond })
		if kept.Err() != nil || !l.valid() {
			t.Error("the lease was lost")
		}
		stop()
		if w.redis.Exists(ctx, leaseKey).Val() != 0 {
			t.Error("the lease was not given back")
		}
	})
}

func TestOneLogLineAPassThatDidSomething(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var out bytes.Buffer
		c := w.config()
		c.Log = slog.New(slog.NewTextHandler(&out, nil))
		w.sweeper = New(c)
		w.submit("r", "a", "b", "c")
		w.pass(nil)
		if out.Len() != 0 {
			t.Errorf("logged: %s", out.String())
		}
		must(t, w.inspector.DeleteTask(queue, id("p0", "a")))
		must(t, w.inspector.DeleteTask(queue, id("p0", "b")))
		must(t, w.inspector.ArchiveTask(queue, id("p0", "c")))
		w.pass(map[string]int{Restored: 2, Archived: 1})
		if got := out.String(); strings.Count(got, "msg=mended") != 1 || strings.Count(got, "msg=outcome") != 1 || !strings.Contains(got, "archived=1 restored=2") {
			t.Errorf("logged: %s", got)
		}
		totals, err := Totals(t.Context(), w.redis)
		if err != nil || fmt.Sprint(totals) != "map[archived:1 restored:2]" {
			t.Errorf("%v, %v", totals, err)
		}
	})
}

// Thousands of tasks in every state, workers that finish, put off, fail, and
// stop, producers that submit the same bots again: nothing needs mending.
func TestAHealthyQueueIsLeftAlone(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.do = flighty
		c := w.config()
		c.Settle, c.Age = 50*time.Millisecond, 5*time.Second
		w.sweeper = New(c)
		stopWorker := w.work()
		passes, stopPasses := w.sweepAlways()
		const each = 200
		submissions := 15
		if testing.Short() || strings.HasSuffix(t.Name(), "in_memory") {
			submissions = 8
		}
		for n := range submissions {
			run := fmt.Sprintf("r%d", n)
			regs := make([]tasks.Registration, each)
			for i := range regs { // a third of the bots were submitted before
				regs[i] = reg(fmt.Sprintf("p%d", i%7), fmt.Sprintf("bot%d", n*each*2/3+i))
			}
			_, err := w.Submit(ctx, run, regs...)
			must(t, err)
			if n%5 == 4 { // hands back what it has fetched
				stopWorker()
				stopWorker = w.work()
			}
		}
		for n := range submissions {
			w.until(func() bool { return w.counts(fmt.Sprintf("r%d", n)).Waiting == 0 })
		}
		stopWorker()
		stopPasses()
		t.Logf("%d passes", passes.Load())
		if passes.Load() < 10 {
			t.Errorf("only %d passes", passes.Load())
		}
		w.pass(nil)
		if len(w.meter.mended) != 0 {
			t.Errorf("mended: %v", w.meter.mended)
		}
	})
}

// flighty is a portal for which calls end in every way.
func flighty(job dispatch.Job, nth int) dispatch.Result {
	var n int
	_, _ = fmt.Sscanf(job.Bot.Code, "bot%d", &n)
	switch {
	case n%10 == 0:
		return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "CODE_ERROR"}}
	case n%10 < 3 && nth < 3:
		return dispatch.Result{Deferred: &dispatch.Deferral{Until: time.Now().Add(time.Duration(n%3) * time.Second), Reason: "rate"}}
	case n%10 == 3 && nth < 2:
		return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Transient, Code: "INTERNAL_SERVER_ERROR"}}
	}
	return dispatch.Result{Registered: &dispatch.Registered{BotID: int64(n + 1)}}
}

// sweepAlways passes over and over until stop is called.
func (w *world) sweepAlways() (passes *atomic.Int32, stop func()) {
	passes = new(atomic.Int32)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := w.sweeper.Pass(ctx); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
			passes.Add(1)
		}
	}()
	return passes, func() {
		cancel()
		<-done
	}
}

var (
	_ Requeuer = (*tasks.Client)(nil)
	_ Portals  = (*portals.Registry)(nil)
)
