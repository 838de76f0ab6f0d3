package ratelimit

import (
	"context"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"botfleet/ratelimit/redistest"
)

// fleet is a portal, and up to four workers that send to it.
type fleet struct {
	t      *rapid.T
	ctx    context.Context
	now    time.Time
	gates  []*Shared
	req    Request
	plan   plan
	portal leaky
	way    []sent
	sends  []time.Time
}

// sent is a request of a worker on its way.
type sent struct {
	gate             *Shared
	ticket           Ticket
	arrives, returns time.Time
	arrived          bool
}

func newFleet(t *rapid.T, client redis.UniversalClient, portal string, leastBurst int) *fleet {
	l := Limits{
		Rate:     rapid.Float64Range(0.2, 50).Draw(t, "rate"),
		Burst:    rapid.IntRange(leastBurst, 60).Draw(t, "burst"),
		Headroom: rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 0.9}).Draw(t, "headroom"),
	}
	parallel := rapid.IntRange(1, 8).Draw(t, "parallel")
	f := &fleet{t: t, ctx: context.Background(), now: epoch, req: rows(l, 1), plan: newPlan(l, parallel)}
	f.req.Portal = portal
	f.portal = leaky{
		rate: l.Rate * (1 - l.Headroom), at: epoch,
		size: max(1, math.Floor(float64(l.Burst)*(1-l.Headroom)+1e-9)),
	}
	for range rapid.IntRange(1, 4).Draw(t, "workers") {
		f.gates = append(f.gates, NewShared(SharedConfig{
			Redis: client, Parallel: parallel, TicketTTL: time.Hour, Now: func() time.Time { return f.now },
		}))
	}
	return f
}

// until runs the world to a time: requests arrive and return.
func (f *fleet) until(limit time.Time) {
	for {
		next, at := -1, limit
		for i, r := range f.way {
			when := r.returns
			if !r.arrived {
				when = r.arrives
			}
			if !when.After(at) {
				next, at = i, when
			}
		}
		f.now = later(f.now, at)
		if next < 0 {
			return
		}
		r := &f.way[next]
		if !r.arrived {
			r.arrived = true
			if !f.portal.arrives(at) {
				f.t.Fatalf("refused at +%s: level %.3f of %.0f", at.Sub(epoch), f.portal.level, f.portal.size)
			}
			continue
		}
		f.giveBack(*r, answered)
		f.way = append(f.way[:next], f.way[next+1:]...)
	}
}

func (f *fleet) giveBack(r sent, a Answer) {
	if err := r.gate.Observe(f.ctx, r.ticket, a); err != nil {
		f.t.Fatalf("Observe: %v", err)
	}
}

// send lets one of the workers ask, and send if it may.
func (f *fleet) send() Decision {
	gate := f.gates[rapid.IntRange(0, len(f.gates)-1).Draw(f.t, "worker")]
	d, err := gate.Acquire(f.ctx, f.req)
	if err != nil {
		f.t.Fatalf("Acquire: %v", err)
	}
	if len(d.Go) == 0 {
		return d
	}
	r := sent{gate: gate, ticket: d.Ticket, arrives: f.now.Add(f.delay("way there"))}
	r.returns = r.arrives.Add(f.delay("way back"))
	f.way, f.sends = append(f.way, r), append(f.sends, f.now)
	return d
}

func (f *fleet) delay(what string) time.Duration {
	most := rapid.SampledFrom([]int64{0, 1000, 1_000_000, 20_000_000}).Draw(f.t, what+" at most")
	return time.Duration(rapid.Int64Range(0, most).Draw(f.t, what)) * time.Microsecond
}

// However many workers send, whenever, and however long each request is on its
// way, the portal never sees more than it allows; and the gate is shut only when
// one more would be too many, and opens at the instant that it names.
func TestFleetKeepsTheRate(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			leastBurst := rapid.SampledFrom([]int{1, 25}).Draw(t, "least burst")
			f := newFleet(t, client, strconv.Itoa(n), leastBurst)
			for range rapid.IntRange(1, 60).Draw(t, "requests") {
				d := f.send()
				switch {
				case len(d.Go) > 0 || d.Reason == InFlight:
					f.until(f.now.Add(f.delay("pause")))
				case d.Reason != Rate:
					t.Fatalf("shut: %+v", d)
				default:
					f.waitFor(d)
				}
			}
			f.until(f.now.Add(time.Hour))
		})
	})
}

// waitFor waits until the rate allows a request, and wants it to.
func (f *fleet) waitFor(d Decision) {
	if !f.plan.single && !tooMany(f.sends, f.now, f.plan) {
		f.t.Fatalf("shut at +%s without need", f.now.Sub(epoch))
	}
	returned := len(f.way)
	f.until(d.Until)
	again := f.send()
	if again.Reason == Rate && (!f.plan.single || returned == len(f.way)) {
		f.t.Fatalf("shut at Until, +%s, now until +%s", f.now.Sub(epoch), again.Until.Sub(epoch))
	}
}
