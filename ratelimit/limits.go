// What a portal's limits come to: defaults for what is missing or absurd,
// headroom and jitter taken off.

package ratelimit

import (
	"math"
	"time"
)

// What stands in for limits that are missing or absurd: a standard plan
// (public REST limits page).
const (
	defaultRate      = 2.0
	defaultBurst     = 50
	defaultOperating = 480 * time.Second
	defaultWindow    = 10 * time.Minute
)

// Beyond these a limit is taken for a mistake and the default stands in. The
// lowest rate keeps every wait under two minutes.
const (
	lowestRate    = 0.01
	highestRate   = 100_000.0
	highestBurst  = 1_000_000
	lowestWindow  = 10 * time.Millisecond
	highestWindow = 24 * time.Hour
	highestWork   = 24 * time.Hour
)

// steps is how many parts a portal's operating window has: ten buckets of one
// minute (public REST limits page).
const steps = 10

// plan is Limits made usable.
type plan struct {
	rate     float64 // requests a second, headroom taken off
	burst    int     // requests that may be sent at once
	parallel int     // requests on their way at once
	// single: the portal's bucket holds one request. Then only the answer says
	// that the request has arrived, and the bucket drains from there.
	single bool
	work   time.Duration // operating time per window, margin taken off; 0 = not counted
	full   time.Duration // the same with the margin
	window time.Duration
}

// newPlan makes limits usable.
//
// What the portal counts are arrivals, and a request may be on its way for any
// time. Of the requests that arrive within some time t, all but those on their
// way at its beginning were sent within t: so sends in any t of at most
// burst + rate·t, with at most parallel on their way, arrive as at most
// burst + parallel + rate·t. That is why burst is the portal's less parallel.
func newPlan(l Limits, parallel int) plan {
	headroom := l.Headroom
	if !(headroom >= 0 && headroom < 1) { // also NaN
		headroom = 0
	}
	rate := l.Rate
	if !(rate >= lowestRate && rate <= highestRate) {
		rate = defaultRate
	}
	burst := l.Burst
	if burst <= 0 || burst > highestBurst {
		burst = defaultBurst
	}
	holds := max(1, int(math.Floor(float64(burst)*(1-headroom)+1e-9)))
	parallel = min(parallel, max(1, holds-1))
	p := plan{
		rate:     max(lowestRate, math.Floor(rate*(1-headroom)*1e6+1e-6)/1e6), // what the scripts reckon with
		burst:    max(1, holds-parallel),
		parallel: parallel,
		single:   holds == 1,
		full:     l.Operating,
		window:   l.OperatingWindow,
	}
	if p.full < 0 || p.full > highestWork {
		p.full = defaultOperating
	}
	if p.window < lowestWindow || p.window > highestWindow {
		p.window = defaultWindow
	}
	p.full, p.window = p.full.Truncate(tick), p.window.Truncate(tick)
	p.work = lessMargin(p.full)
	return p
}

// lessMargin takes 2 % off an operating limit: 9.6 s of 480 s. A portal refuses
// only when the sum exceeds the limit, so the margin need only cover what the
// mean cost is off by on the last calls of a window, and portals round what they
// report.
func lessMargin(limit time.Duration) time.Duration { return limit - part(limit, 50) }

// step is the length of one of the window's buckets.
func (p plan) step() time.Duration { return part(p.window, steps) }

// tick is what time is reckoned in, as in the scripts of [Shared].
const tick = time.Microsecond

// part is one of n parts of a duration, in whole ticks.
func part(d time.Duration, n int64) time.Duration { return (d / time.Duration(n)).Truncate(tick) }
