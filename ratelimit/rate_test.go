package ratelimit

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// leaky is a portal's bucket: every request that arrives adds one.
type leaky struct {
	rate, size, level float64
	at                time.Time
}

func (l *leaky) arrives(at time.Time) bool {
	l.level = max(0, l.level-l.rate*at.Sub(l.at).Seconds())
	l.at = at
	const rounding = 1e-6
	if l.level+1 > l.size+rounding {
		return false
	}
	l.level++
	return true
}

// onWay is a request of the simulation.
type onWay struct {
	ticket           Ticket
	arrives, returns time.Time
	arrived          bool
}

// rateWorld drives a gate with random arrivals and delays.
type rateWorld struct {
	*bench
	t      *rapid.T
	req    Request
	portal leaky
	way    []onWay
	cancel bool        // some requests are given up before they are sent
	sends  []time.Time // of requests that were sent
}

func newRateWorld(t *rapid.T, cancel bool, leastBurst int) *rateWorld {
	l := Limits{
		Rate:     rapid.Float64Range(0.2, 50).Draw(t, "rate"),
		Burst:    rapid.IntRange(leastBurst, 60).Draw(t, "burst"),
		Headroom: rapid.SampledFrom([]float64{0, 0, 0.1, 0.5, 0.9}).Draw(t, "headroom"),
	}
	parallel := rapid.IntRange(1, 8).Draw(t, "parallel")
	size := max(1, math.Floor(float64(l.Burst)*(1-l.Headroom)+1e-9))
	return &rateWorld{
		bench: newBench(t, Config{Parallel: parallel, TicketTTL: time.Hour}), t: t, cancel: cancel,
		req:    rows(l, 1),
		portal: leaky{rate: l.Rate * (1 - l.Headroom), size: size, at: epoch},
	}
}

// next is the earliest event on the way before limit.
func (w *rateWorld) next(limit time.Time) (i int, at time.Time) {
	i, at = -1, limit
	for j, r := range w.way {
		when := r.returns
		if !r.arrived {
			when = r.arrives
		}
		if !when.After(at) {
			i, at = j, when
		}
	}
	return i, at
}

// until runs the world to a time.
func (w *rateWorld) until(limit time.Time) {
	for {
		i, at := w.next(limit)
		if i < 0 {
			w.now = later(w.now, limit)
			return
		}
		w.now = later(w.now, at)
		r := &w.way[i]
		if !r.arrived {
			r.arrived = true
			if !w.portal.arrives(at) {
				w.t.Fatalf("request refused at +%s: level %.3f of %.0f", at.Sub(epoch), w.portal.level, w.portal.size)
			}
			continue
		}
		w.tell(r.ticket, answered)
		w.way = slices.Delete(w.way, i, i+1)
	}
}

// send asks once, and sends if it may.
func (w *rateWorld) send() Decision {
	d := w.ask(w.req)
	if len(d.Go) == 0 {
		return d
	}
	if w.cancel && rapid.IntRange(0, 4).Draw(w.t, "given up") == 0 {
		w.pass(delay(w.t, "given up after"))
		w.tell(d.Ticket, Answer{Outcome: NotSent})
		return d
	}
	w.sends = append(w.sends, w.now)
	arrives := w.now.Add(delay(w.t, "way there"))
	w.way = append(w.way, onWay{ticket: d.Ticket, arrives: arrives, returns: arrives.Add(delay(w.t, "way back"))})
	return d
}

func delay(t *rapid.T, what string) time.Duration {
	most := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 20 * time.Second}).Draw(t, what+" at most")
	return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, what))
}

// However requests come and however long each is on its way, the portal never
// sees more than it allows.
func TestRateIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRateWorld(t, true, 1)
		for range rapid.IntRange(1, 150).Draw(t, "requests") {
			d := w.send()
			if len(d.Go) == 0 && rapid.Bool().Draw(t, "wait for it") && d.Reason == Rate {
				w.until(d.Until)
				continue
			}
			w.until(w.now.Add(delay(t, "pause")))
		}
		w.until(w.now.Add(time.Hour))
	})
}

// The gate is shut for its rate only when one more request would be too many
// in some time that ends now, and opens at the instant it names.
func TestRateIsNeverShutWithoutNeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRateWorld(t, false, 25)
		p := newPlan(w.req.Limits, w.cfg.Parallel)
		for range rapid.IntRange(1, 120).Draw(t, "requests") {
			d := w.send()
			if len(d.Go) == 0 && d.Reason == Rate {
				if !tooMany(w.sends, w.now, p) {
					t.Fatalf("shut at +%s without need", w.now.Sub(epoch))
				}
				w.until(d.Until.Add(-time.Microsecond))
				if again := w.ask(w.req); again.Reason != Rate || again.Until.Sub(d.Until).Abs() > 2 {
					t.Fatalf("before Until: %+v", again)
				}
				w.until(d.Until)
				if again := w.send(); again.Reason == Rate {
					t.Fatalf("still shut at Until, now until +%s", again.Until.Sub(w.now))
				}
				continue
			}
			if len(d.Go) == 0 && d.Reason != InFlight {
				t.Fatalf("shut: %+v", d)
			}
			w.until(w.now.Add(delay(t, "pause")))
		}
	})
}

// tooMany says whether one more request now would be more than burst + rate·t
// in some time t that ends now.
func tooMany(sends []time.Time, now time.Time, p plan) bool {
	for i, from := range sends {
		most := float64(p.burst) + p.rate*now.Sub(from).Seconds()
		if float64(len(sends)-i+1) > most-1e-6 {
			return true
		}
	}
	return p.burst < 1
}

func TestAbsurdLimitsBecomeDefaults(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	standard := newPlan(Limits{Rate: 2, Burst: 50}, 4)
	for name, l := range map[string]Limits{
		"zero": {}, "negative": {Rate: -1, Burst: -1, Headroom: -1}, "no number": {Rate: nan, Headroom: nan},
		"infinite": {Rate: inf, Burst: math.MaxInt, Headroom: inf}, "all headroom": {Headroom: 1},
		"next to nothing": {Rate: 1e-300}, "window": {OperatingWindow: -1}, "endless": {OperatingWindow: math.MaxInt64},
	} {
		if got := newPlan(l, 4); got != standard {
			t.Errorf("%s: %+v, want %+v", name, got, standard)
		}
	}
	if got := newPlan(Limits{Operating: -1}, 4).full; got != 480*time.Second {
		t.Errorf("negative operating limit: %s", got)
	}
	for _, burst := range []int{1, 2, 3, 5, 50} {
		p := newPlan(Limits{Rate: 1, Burst: burst}, 4)
		if p.burst < 1 || p.parallel < 1 || burst > 1 && p.burst+p.parallel > burst {
			t.Errorf("burst %d: %+v", burst, p)
		}
	}
}

func TestChangedLimitsAreHonoured(t *testing.T) {
	b := newBench(t, Config{Parallel: 4})
	send := func(l Limits) (n int) {
		for {
			d := b.ask(rows(l, 1))
			if len(d.Go) == 0 {
				return n
			}
			b.tell(d.Ticket, answered)
			n++
		}
	}
	small, big := Limits{Rate: 1, Burst: 10}, Limits{Rate: 5, Burst: 54}
	if n := send(small); n != 6 {
		t.Fatalf("burst 10 less 4 let %d go", n)
	}
	if n := send(big); n != 0 {
		t.Fatalf("an empty bucket let %d go when it grew", n)
	}
	b.pass(10 * time.Second)
	if n := send(big); n != 50 {
		t.Fatalf("burst 54 less 4 let %d go", n)
	}
	if wait := b.refused(rows(small, 1), Rate); wait != time.Second {
		t.Fatalf("opens in %s, want 1s at the lower rate", wait)
	}
	if wait := b.refused(rows(big, 1), Rate); wait != 200*time.Millisecond {
		t.Fatalf("opens in %s, want 200ms at the higher rate", wait)
	}
}

func TestHeldPortalStartsWithItsOwnBurst(t *testing.T) {
	b := newBench(t, Config{})
	if err := b.Hold(t.Context(), "p", Hold{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	b.refused(rows(Limits{Rate: 5, Burst: 250}, 1), Held)
	if got := b.state().Tokens; got != 246 {
		t.Fatalf("%v tokens, want 246", got)
	}
}

func TestEgress(t *testing.T) {
	b := newBench(t, Config{MaxRPS: 20})
	first := b.granted(rows(wide, 1))
	b.granted(rows(wide, 1))
	other := rows(wide, 1)
	other.Portal = "q"
	if wait := b.refused(other, Egress); wait != 50*time.Millisecond {
		t.Fatalf("opens in %s, want 50ms", wait)
	}
	b.tell(first, Answer{Outcome: NotSent})
	b.granted(other)
	b.pass(50 * time.Millisecond)
	b.granted(other)
	for _, rps := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		free := newBench(t, Config{MaxRPS: rps, Parallel: 100})
		for range 50 {
			free.granted(rows(wide, 1))
		}
	}
}
