// Who goes first, and how many may wait.

package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// ordered does a job that was queued as the nth.
func (b *bench) ordered(ctx context.Context, n int) dispatch.Result {
	return b.Do(ctx, dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: fmt.Sprintf("bot%03d", n)}, Order: int64(n)})
}

func TestJobsGoInTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Second}, func(c *dispatch.Config, _ *portals.Portal) {
			c.Parallel, c.BatchSize = 1, 5
		})
		var wg sync.WaitGroup
		for n := range 31 { // the first one goes at once, and the others wait
			wg.Go(func() { registered(t, b.ordered(t.Context(), (31-n)%31)) })
			synctest.Wait()
		}
		wg.Wait()
		var sent []string
		for _, call := range b.fake.calls[1:] {
			_, codes, _ := strings.Cut(call, " ")
			sent = append(sent, strings.Split(codes, ",")...)
		}
		for i, code := range sent {
			if want := fmt.Sprintf("bot%03d", i+1); code != want {
				t.Fatalf("job %d was %s: %v", i, code, b.fake.calls)
			}
		}
	})
}

// Where there is no room, an older job takes the place of a younger one.
func TestAnOlderJobTakesTheRoomOfAYoungerOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 1500 * time.Millisecond}, func(c *dispatch.Config, _ *portals.Portal) {
			c.Slots, c.Parallel = 64, 1 // room for 8
		})
		results := make([]dispatch.Result, 101)
		var wg sync.WaitGroup
		do := func(n int) {
			wg.Go(func() { results[n] = b.ordered(t.Context(), n) })
			synctest.Wait()
		}
		for n := range 8 {
			do(50 + n)
		}
		do(100) // nobody is younger
		if results[100].Deferred == nil {
			t.Fatal("the ninth job found room")
		}
		for n := range 5 {
			do(1 + n)
			if r := results[57-n]; r.Deferred == nil || r.Deferred.Reason != ratelimit.InFlight || !r.Deferred.Early {
				t.Fatalf("the youngest one in the lane: %+v", r)
			}
		}
		wg.Wait() // all others end: none of them is forgotten
		registered(t, results[1], results[5], results[50], results[52])
	})
}

func TestNoMoreJobsAtOnceThanSlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{latency: time.Second}
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) { c.Slots = 5 })
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			p := *b.portal
			p.ID = fmt.Sprint("p", i)
			wg.Go(func() {
				registered(t, b.Do(t.Context(), dispatch.Job{Portal: &p, Bot: &bitrix.Bot{Code: "a"}}))
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 4*time.Second || fake.most != 5 {
			t.Errorf("20 calls of 1 s in 5 slots took %s, %d at once", took, fake.most)
		}
	})
}

func TestJobsOutsideAreHandedBackByDrain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: time.Second}, func(c *dispatch.Config, _ *portals.Portal) { c.Slots = 1 })
		var first, outside dispatch.Result
		var wg sync.WaitGroup
		wg.Go(func() { first = b.one(t.Context(), "a") })
		synctest.Wait()
		wg.Go(func() { outside = b.one(t.Context(), "b") })
		synctest.Wait()
		b.Drain()
		wg.Wait()
		if outside.Deferred == nil || outside.Deferred.Reason != dispatch.ShuttingDown {
			t.Errorf("%+v", outside)
		}
		registered(t, first)
	})
}

// Portals may count batches apart, and the gate reckons with what it was asked
// for: a batch of which one row may go is a batch.
func TestABatchOfOneRowIsABatch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{latency: 100 * time.Millisecond}
		b := newBench(t, fake, func(c *dispatch.Config, p *portals.Portal) {
			// Nobody knows what a row costs, so five may go in one request; then
			// there is room for one more at a time.
			c.Parallel, c.Slots = 1, 1024
			p.Limits.Operating = 100 * time.Second
		})
		gate := &kinds{Gate: b.gate}
		d := dispatch.New(dispatch.Config{
			Gate: gate, Caller: fake, Parallel: 1, BatchSize: 50, Batching: dispatch.Auto, RequestTimeout: 10 * time.Second, Slots: 1024,
		})
		defer d.Close(context.Background())
		var wg sync.WaitGroup
		for i := range 23 {
			wg.Go(func() {
				registered(t, d.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: fmt.Sprint("a", i)}, Order: int64(i)}))
			})
			synctest.Wait()
		}
		wg.Wait()
		batched := 0
		for _, t := range gate.tickets {
			if t.Batched {
				batched++
			}
		}
		if n := fake.count("batch"); n != batched || n == 0 {
			t.Errorf("%d batches for %d tickets that say so: %v", n, batched, fake.calls)
		}
	})
}

// kinds is a gate that lets one row of a batch go at a time, and remembers the tickets.
type kinds struct {
	ratelimit.Gate
	mu      sync.Mutex
	tickets []ratelimit.Ticket
}

func (g *kinds) Acquire(ctx context.Context, r ratelimit.Request) (ratelimit.Decision, error) {
	whole := r.Rows
	r.Rows, r.Codes, r.Order = 1, r.Codes[:1], r.Order[:1]
	d, err := g.Gate.Acquire(ctx, r)
	if err == nil && len(d.Go) > 0 {
		g.mu.Lock()
		g.tickets = append(g.tickets, d.Ticket)
		g.mu.Unlock()
		if whole > 1 {
			d.Reason, d.Until = ratelimit.Budget, time.Now()
		}
	}
	return d, err
}

// One row of a silent portal is its next probe, and the others come later.
func TestOneJobOfASilentPortalComesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{fail: func(string, int) error {
			return &bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeCancelled}
		}}, nil)
		for i := range 3 {
			b.one(t.Context(), fmt.Sprint("lost", i))
		}
		began := time.Now()
		probes, others := 0, 0
		for i, r := range b.all(t.Context(), 10) {
			switch {
			case r.Deferred == nil || r.Deferred.Reason != ratelimit.Silent:
				t.Fatalf("job %d: %+v", i, r)
			case r.Deferred.Until.Sub(began) <= 5*time.Second:
				probes++
			default:
				others++
			}
		}
		if probes != 1 || others != 9 {
			t.Errorf("%d come for the next probe, %d later", probes, others)
		}
	})
}

// spaced does jobs that come one after the other, and returns how long each took.
func (b *bench) spaced(t *testing.T, n int, apart time.Duration) []time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			registered(t, b.ordered(t.Context(), i))
			took[i] = time.Since(began)
		})
		<-time.After(apart)
	}
	wg.Wait()
	return took
}

func TestRowsOfAQuickPortalGather(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 5 * time.Millisecond}, nil)
		took := b.spaced(t, 100, 5*time.Millisecond)
		if n := len(b.fake.calls); n > 30 {
			t.Errorf("%d requests for 100 rows", n)
		}
		if longest := slices.Max(took); longest > 50*time.Millisecond {
			t.Errorf("a row took %s", longest)
		}
	})
}

func TestRowsOfAnOrdinaryPortalGoAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, &fakePortal{latency: 100 * time.Millisecond}, nil)
		took := b.spaced(t, 20, 30*time.Millisecond)
		if longest := slices.Max(took); longest != 100*time.Millisecond || b.fake.count("register") != 20 {
			t.Errorf("a row took %s; %v", longest, b.fake.calls)
		}
	})
}

func TestAlwaysBatchingGathersForItsTimeOnly(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		slow := &oddGate{Gate: ratelimit.NewLocal(ratelimit.Config{})}
		slow.acquire = func(ctx context.Context, r ratelimit.Request, _ int64) (ratelimit.Decision, error) {
			<-time.After(30 * time.Millisecond)
			return slow.Gate.Acquire(ctx, r)
		}
		b := newBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Batching, c.Gate = dispatch.Always, slow })
		// The second one comes while the gate is asked for the first, and has
		// waited for long enough when its turn comes.
		if took := b.spaced(t, 2, 21*time.Millisecond); took[0] != 50*time.Millisecond || took[1] != 59*time.Millisecond {
			t.Errorf("they took %s", took)
		}
	})
}

// A gate that was shut for long is asked again all the same: limits change.
func TestALaneAsksAgainAfterALongClosure(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := &oddGate{Gate: ratelimit.NewLocal(ratelimit.Config{})}
		gate.acquire = func(ctx context.Context, r ratelimit.Request, nth int64) (ratelimit.Decision, error) {
			if nth == 1 {
				return ratelimit.Decision{Reason: ratelimit.Budget, Until: time.Now().Add(time.Hour)}, nil
			}
			return gate.Gate.Acquire(ctx, r)
		}
		b := newBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Gate = gate })
		if r := b.ordered(t.Context(), 1); r.Deferred == nil || r.Deferred.Reason != ratelimit.Budget {
			t.Fatalf("%+v", r)
		}
		if r := b.ordered(t.Context(), 2); r.Deferred == nil || gate.asked.Load() != 1 {
			t.Fatalf("%+v, asked %d times", r, gate.asked.Load())
		}
		<-time.After(6 * time.Second)
		registered(t, b.ordered(t.Context(), 3))
	})
}
