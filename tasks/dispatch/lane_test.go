// What a lane does when its gate, its callers or its marks behave badly.

package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

func (f *fakePortal) setLatency(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency = d
}

// A lane that has a slow request on its way must not keep a job that met a mark
// until that request ends.
func TestAJobThatMeetsAMarkIsLookedForAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(code string, nth int) error {
			if code == "a" && nth == 1 {
				return ambiguous()
			}
			return nil
		}}
		b := newBench(t, fake, nil)
		b.one(t.Context(), "a")
		fake.setLatency(9 * time.Second)
		var slow sync.WaitGroup
		slow.Go(func() { registered(t, b.one(t.Context(), "slow")) })
		<-time.After(time.Second)
		fake.setLatency(0)
		began := time.Now()
		r := b.one(t.Context(), "a")
		if r.Deferred == nil || r.Deferred.Reason != ratelimit.Marked {
			t.Fatalf("%+v", r)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it stayed in its lane for %s", took)
		}
		slow.Wait()
	})
}

// oddGate is a gate that answers as a test wants.
type oddGate struct {
	ratelimit.Gate
	asked   atomic.Int64
	acquire func(ctx context.Context, r ratelimit.Request, nth int64) (ratelimit.Decision, error)
}

func (g *oddGate) Acquire(ctx context.Context, r ratelimit.Request) (ratelimit.Decision, error) {
	return g.acquire(ctx, r, g.asked.Add(1))
}

// A gate that is asked in vain, each time for as long as Redis takes to time
// out, must not keep a lane from handing its jobs back when the worker stops.
func TestALaneWhoseGateHangsIsDrained(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := &oddGate{Gate: ratelimit.NewLocal(ratelimit.Config{})}
		gate.acquire = func(ctx context.Context, _ ratelimit.Request, _ int64) (ratelimit.Decision, error) {
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
			return ratelimit.Decision{}, errors.New("no answer")
		}
		b := newBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Gate = gate })
		result := make(chan dispatch.Result, 1)
		go func() { result <- b.one(t.Context(), "a") }()
		<-time.After(time.Second)
		b.Drain()
		began := time.Now()
		if r := <-result; r.Deferred == nil || r.Deferred.Reason != dispatch.ShuttingDown {
			t.Errorf("%+v", r)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("handed back only after %s", took)
		}
	})
}

// A gate on another machine may have another clock.
func TestAGateWhoseClockIsBehindIsNotAskedWithoutEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		local := ratelimit.NewLocal(ratelimit.Config{})
		gate := &oddGate{Gate: local}
		gate.acquire = func(ctx context.Context, r ratelimit.Request, nth int64) (ratelimit.Decision, error) {
			if nth < 100 {
				return ratelimit.Decision{Until: time.Now().Add(-time.Second), Reason: ratelimit.Rate}, nil
			}
			return local.Acquire(ctx, r)
		}
		b := newBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Gate = gate })
		began := time.Now()
		registered(t, b.one(t.Context(), "a"))
		if took := time.Since(began); took < 99*time.Millisecond {
			t.Errorf("asked 99 times in %s", took)
		}
	})
}

// With BATCH=always a full batch that stands ready at once leaves as one.
func TestAlwaysBatchingSendsAFullBatchWhole(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{}
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) {
			c.Batching, c.BatchSize = dispatch.Always, 5
		})
		registered(t, b.all(t.Context(), 5)...)
		if n := fake.count("batch"); n != 1 || fake.count("register") != 0 {
			t.Errorf("%v", fake.calls)
		}
	})
}

// A job whose caller was told that it was not sent must not be sent.
func TestAJobGivenUpBeforeItIsSentIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		local := ratelimit.NewLocal(ratelimit.Config{})
		gate := &oddGate{Gate: local}
		gate.acquire = func(ctx context.Context, r ratelimit.Request, _ int64) (ratelimit.Decision, error) {
			<-time.After(time.Second) // meanwhile the caller leaves
			return local.Acquire(ctx, r)
		}
		fake := &fakePortal{}
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) { c.Gate = gate })
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		r := b.one(ctx, "a")
		if r.Err == nil || r.Err.Class != bitrix.Transient || r.Err.Code != bitrix.CodeNotSent {
			t.Fatalf("%+v", r)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if n := fake.count("register"); n != 0 {
			t.Errorf("sent all the same: %v", fake.calls)
		}
		registered(t, b.one(t.Context(), "a")) // and no mark of it is left
	})
}

// While one portal's line is asked for a place, others must not wait.
func TestAPlaceInLineIsAskedForWithoutHoldingOthersUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := &slowPlaces{Gate: ratelimit.NewLocal(ratelimit.Config{Parallel: 4})}
		fake := &fakePortal{latency: time.Second}
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) { c.Gate, c.Slots = gate, 8 })
		var crowd sync.WaitGroup
		for i := range 20 {
			crowd.Go(func() { b.one(t.Context(), fmt.Sprintf("crowd%d", i)) })
		}
		synctest.Wait()
		began := time.Now()
		other := *b.portal
		other.ID = "p2"
		registered(t, b.Do(t.Context(), dispatch.Job{Portal: &other, Bot: &bitrix.Bot{Code: "x"}}))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("another portal waited %s", took)
		}
		crowd.Wait()
		if !strings.HasPrefix(fake.calls[0], "register") {
			t.Error(fake.calls)
		}
	})
}

// slowPlaces is a gate that takes long to give a place in line.
type slowPlaces struct{ ratelimit.Gate }

func (g *slowPlaces) Place(ctx context.Context, r ratelimit.LineRequest) ([]ratelimit.Place, error) {
	<-time.After(3 * time.Second)
	return g.Gate.Place(ctx, r)
}
