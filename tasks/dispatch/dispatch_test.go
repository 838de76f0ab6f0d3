// The dispatcher in virtual time, with the real gate and a portal of our own.

package dispatch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

func TestAJobOnAQuietPortalGoesAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{}, nil)
		for _, code := range []string{"a", "b", "c"} {
			began := time.Now()
			registered(t, b.one(t.Context(), code))
			if took := time.Since(began); took != 0 {
				t.Fatalf("%s took %s", code, took)
			}
			<-time.After(100 * time.Millisecond)
		}
		if b.fake.count("register") != 3 {
			t.Fatalf("calls %v", b.fake.calls)
		}
	})
}

func TestBatchesFormWhileRequestsAreOnTheirWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 100 * time.Millisecond}, nil)
		registered(t, b.all(t.Context(), 100)...)
		if n := len(b.fake.calls); n > 20 {
			t.Errorf("%d requests for 100 jobs: %v", n, b.fake.calls)
		}
		if b.fake.most > 4 {
			t.Errorf("%d requests on their way at once", b.fake.most)
		}
		if len(b.fake.bots) != 100 {
			t.Errorf("%d bots", len(b.fake.bots))
		}
	})
}

func TestWithoutBatching(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 10 * time.Millisecond}, func(c *dispatch.Config, _ *portals.Portal) {
			c.Batching = dispatch.Off
		})
		registered(t, b.all(t.Context(), 40)...)
		if b.fake.count("batch") != 0 || b.fake.count("register") != 40 {
			t.Fatalf("calls %v", b.fake.calls)
		}
	})
}

func TestAlwaysBatchingGathersFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Batching = dispatch.Always })
		registered(t, b.all(t.Context(), 5)...)
		if b.fake.count("batch") != 1 || len(b.fake.calls) != 1 {
			t.Fatalf("calls %v", b.fake.calls)
		}
	})
}

func TestWhatABatchLeavesOutGoesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var mu sync.Mutex
		left := map[string]bool{}
		fake := &fakePortal{latency: 50 * time.Millisecond}
		fake.skip = func(code string) bool { // half of the CODEs are left out once
			mu.Lock()
			defer mu.Unlock()
			first := !left[code]
			left[code] = true
			return first && code[len(code)-1]%2 == 0
		}
		b := newBench(t, fake, nil)
		registered(t, b.all(t.Context(), 60)...)
		for code, n := range fake.seen {
			if n != 1 {
				t.Errorf("%s ran %d times", code, n)
			}
		}
	})
}

func TestALongWaitIsHandedBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(string, int) error {
			return &bitrix.Error{Class: bitrix.Limit, Code: "OPERATION_TIME_LIMIT", Status: 429}
		}}
		b := newBench(t, fake, func(_ *dispatch.Config, p *portals.Portal) { p.Limits.Operating = 480 * time.Second })
		began := time.Now()
		for i, r := range b.all(t.Context(), 10) {
			if r.Deferred == nil || !r.Deferred.Until.After(began.Add(2*time.Second)) {
				t.Fatalf("job %d: %+v, %v", i, r.Deferred, r.Err)
			}
		}
		if time.Since(began) > 3*time.Second {
			t.Errorf("held the jobs for %s", time.Since(began))
		}
	})
}

func TestAfterARefusalTheProbesAnswerOpensTheLane(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{latency: 100 * time.Millisecond}
		fake.fail = func(_ string, nth int) error {
			if nth == 1 && len(fake.seen) == 1 {
				return &bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503}
			}
			return nil
		}
		b := newBench(t, fake, nil)
		began := time.Now()
		registered(t, b.all(t.Context(), 60)...)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func ambiguous() error {
	return &bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeNotJSON, Status: 502}
}

func TestALostAnswerIsFoundInTheList(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{lost: true, fail: func(_ string, nth int) error {
			if nth == 1 {
				return ambiguous()
			}
			return nil
		}}
		b := newBench(t, fake, nil)
		if r := b.one(t.Context(), "Bot"); r.Err == nil || r.Err.Class != bitrix.Ambiguous {
			t.Fatalf("%+v", r)
		}
		r := b.one(t.Context(), "bOT")
		if r.Registered == nil || !r.Registered.Recovered || r.Registered.BotID != 1 {
			t.Fatalf("%+v %v", r, r.Err)
		}
		if n := b.fake.count("register"); n != 1 {
			t.Fatalf("%d registrations", n)
		}
	})
}

func TestAnUnfoundBotWaitsForTheEndOfItsMark(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(_ string, nth int) error {
			if nth == 1 {
				return ambiguous()
			}
			return nil
		}}
		b := newBench(t, fake, nil)
		began := time.Now()
		b.one(t.Context(), "a")
		r := b.one(t.Context(), "a")
		markEnd := began.Add(10*time.Second + time.Minute + 5*time.Second)
		if r.Deferred == nil || r.Deferred.Reason != ratelimit.Marked || r.Deferred.Until.Before(markEnd) {
			t.Fatalf("%+v", r.Deferred)
		}
		if n := b.fake.count("register"); n != 1 {
			t.Fatalf("the CODE was sent again while its first call may still be at work: %v", b.fake.calls)
		}
		<-time.After(time.Until(r.Deferred.Until))
		registered(t, b.one(t.Context(), "a"))
	})
}

func TestOneLookServesAllJobsOfALane(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{lost: true, latency: time.Millisecond, fail: func(_ string, nth int) error {
			if nth == 1 {
				return ambiguous()
			}
			return nil
		}}
		b := newBench(t, fake, nil)
		b.all(t.Context(), 30)
		registered(t, b.all(t.Context(), 30)...)
		if n := b.fake.count("list"); n > 6 {
			t.Errorf("%d looks for 30 jobs", n)
		}
		for code, n := range fake.seen {
			if n != 1 {
				t.Errorf("%s was sent %d times", code, n)
			}
		}
	})
}

// A portal all of whose registrations lose their answers is silent to the gate;
// the rows sent before must be looked for, not sent or waited for until they die.
func TestRetriedJobsOfASilentPortalAreFound(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{lost: true, latency: time.Millisecond, fail: func(string, int) error { return ambiguous() }}
		b := newBench(t, fake, func(c *dispatch.Config, p *portals.Portal) {
			c.RequestTimeout, p.ServerTimeout = 100*time.Millisecond, 100*time.Millisecond
		})
		b.all(t.Context(), 3)
		<-time.After(10 * time.Second) // marks and the first silence have ended
		for i := range 3 {
			job := dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: fmt.Sprintf("bot%d", i)}, Retried: true}
			if r := b.Do(t.Context(), job); r.Registered == nil || !r.Registered.Recovered {
				t.Fatalf("%+v %v", r, r.Err)
			}
		}
		if n := fake.count("register"); n != 3 {
			t.Errorf("%d registrations for 3 bots", n)
		}
	})
}

func TestAJobWithNoCallLeftIsOnlyLookedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{}
		b := newBench(t, fake, nil)
		last := func(code string) dispatch.Result {
			return b.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: code}, Retried: true, Last: true})
		}
		if r := last("a"); r.Err == nil || r.Err.Code != dispatch.CodeAnswerLost || r.Err.Class != bitrix.Ambiguous {
			t.Errorf("%+v", r)
		}
		registered(t, b.one(t.Context(), "a"))
		if r := last("A"); r.Registered == nil || !r.Registered.Recovered {
			t.Errorf("%+v", r)
		}
		if n := b.fake.count("register"); n != 1 {
			t.Errorf("%d registrations", n)
		}
	})
}

func TestARetriedJobThatIsNotThereIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{}
		b := newBench(t, fake, nil)
		r := b.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: "a"}, Retried: true})
		if r.Registered == nil || r.Registered.Recovered || fake.count("list") != 1 || fake.count("register") != 1 {
			t.Fatalf("%+v %v after %v", r, r.Err, fake.calls)
		}
	})
}

func TestABlockedPortalIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(string, int) error {
			return &bitrix.Error{Class: bitrix.Blocked, Code: "OVERLOAD_LIMIT", Description: "blocked by hand", Status: 401}
		}}
		b := newBench(t, fake, nil)
		if r := b.one(t.Context(), "a"); r.Err == nil || r.Err.Class != bitrix.Blocked {
			t.Fatalf("%+v", r)
		}
		r := b.one(t.Context(), "b")
		if r.Deferred == nil || r.Deferred.Reason != ratelimit.Held || r.Deferred.Hold == nil {
			t.Fatalf("%+v", r)
		}
		if b.holds.held["p1"] != "OVERLOAD_LIMIT: blocked by hand" || len(b.fake.calls) != 1 {
			t.Fatalf("holds %v, calls %v", b.holds.held, b.fake.calls)
		}
	})
}

func TestOnePortalDoesNotTakeAllSlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Hour}, func(c *dispatch.Config, _ *portals.Portal) { c.Slots = 64 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		deferred := 0
		for _, r := range b.all(ctx, 64) {
			if r.Deferred != nil {
				deferred++
			}
		}
		if deferred < 64-64/8 {
			t.Errorf("only %d of 64 jobs were handed back at once", deferred)
		}
	})
}

func TestASilentPortalDoesNotKeepJobs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 10 * time.Second}, func(c *dispatch.Config, _ *portals.Portal) { c.RequestTimeout = time.Minute })
		began := time.Now()
		var wg sync.WaitGroup
		var mu sync.Mutex
		held := 0
		for i := range 20 {
			wg.Go(func() {
				if r := b.one(t.Context(), fmt.Sprintf("bot%d", i)); r.Deferred != nil && time.Since(began) <= 3*time.Second {
					mu.Lock()
					held++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if held != 16 {
			t.Errorf("%d of 16 jobs behind 4 slow requests were handed back within 3 s", held)
		}
	})
}

// With 1.2 s a call and 4 at once a portal does 3.3 rows/s singly: 40 rows take
// 12 s when it never idles.
func TestASlowPortalIsKeptBusy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 1200 * time.Millisecond}, func(c *dispatch.Config, _ *portals.Portal) { c.Batching = dispatch.Off })
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for {
					r := b.one(t.Context(), fmt.Sprintf("bot%d", i))
					if r.Deferred == nil {
						registered(t, r)
						return
					}
					// asynq brings a task back on a whole second, and a little later.
					<-time.After(time.Until(r.Deferred.Until).Truncate(time.Second) + 1500*time.Millisecond)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestDrainHandsBackWhatWaitsAndFinishesWhatIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Second}, nil)
		var wg sync.WaitGroup
		results := make([]dispatch.Result, 11)
		for i := range 10 {
			wg.Go(func() { results[i] = b.one(t.Context(), fmt.Sprintf("bot%d", i)) })
		}
		synctest.Wait()
		if !b.Busy() {
			t.Error("with jobs in it, it is not busy")
		}
		b.Drain()
		results[10] = b.one(t.Context(), "late")
		wg.Wait()
		if b.Busy() {
			t.Error("without jobs it is busy")
		}
		done, back := 0, 0
		for _, r := range results {
			switch {
			case r.Registered != nil:
				done++
			case r.Deferred != nil && r.Deferred.Reason == dispatch.ShuttingDown:
				back++
			}
		}
		if done != 4 || back != 7 {
			t.Errorf("%d registered, %d handed back", done, back)
		}
	})
}

func TestCloseBreaksOffWhatTakesTooLong(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Hour, fail: func(string, int) error { return context.Canceled }}, nil)
		var r dispatch.Result
		var wg sync.WaitGroup
		wg.Go(func() { r = b.one(t.Context(), "a") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.Close(ctx)
		wg.Wait()
		if r.Err == nil || r.Err.Class != bitrix.Ambiguous {
			t.Errorf("%+v", r)
		}
	})
}

func TestACallerThatLeavesEndsItsWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Second}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		sent, waiting := 0, 0
		for _, r := range b.all(ctx, 10) {
			switch {
			case r.Err != nil && r.Err.Class == bitrix.Ambiguous:
				sent++
			case r.Err != nil && r.Err.Class == bitrix.Transient:
				waiting++
			}
		}
		if sent != 4 || waiting != 6 {
			t.Errorf("%d sent, %d waiting", sent, waiting)
		}
	})
}
