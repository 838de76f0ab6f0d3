// When a row that waits is expected to go: from the limits, and from what is
// known of the portal at this moment.

package ratelimit

import (
	"math"
	"time"
)

// forecast says when the rows of a line go, all of them as soon as the limits
// let them.
type forecast struct {
	now    time.Time
	opens  time.Time // nothing goes before
	shut   Reason    // why it opens later than now
	batch  int       // rows a request carries
	rate   float64   // requests a second
	tokens float64   // requests that the bucket lets go now; under 0 where it owes some
	burst  float64
	pace   float64 // rows a second that the portal gets done; 0 = not known
	// The operating budget: work that a row costs (0: none is counted, or it is
	// not known), what is free now, what becomes free when, and how much that
	// is in every window.
	cost   time.Duration
	steps  []step
	whole  time.Duration
	window time.Duration
}

// step is operating time that becomes free at one instant.
type step struct {
	at   time.Time
	work time.Duration
}

// forecast makes a forecast for rows that travel batch a request.
func (p *portal) forecast(now time.Time, key budgetKey, batch int, perSecond float64, ttl time.Duration) forecast {
	f := forecast{
		now: now, opens: now, batch: max(1, min(batch, mostRows)), rate: p.pace.rate(p.plan.rate),
		tokens: p.bucket.tokens(now), burst: float64(p.plan.burst), pace: max(0, perSecond), window: p.plan.window,
	}
	b := p.budget(now, key)
	if v, open := p.closed(now, b, ttl); !open && v.reason == Refused {
		f.opens, f.shut = later(now, v.until), Refused
	} else if at := p.opensAt(now); at.After(now) {
		f.opens, f.shut = at, Rate
	}
	if p.plan.work > 0 {
		f.cost = p.leastCost(now, key)
	}
	if f.cost > 0 {
		f.budgeted(now, b, p.plan)
	}
	return f
}

// budgeted fills in what the operating budget has free, and when it will have more.
func (f *forecast) budgeted(now time.Time, b *budget, p plan) {
	f.whole = p.work
	if b == nil {
		f.steps = []step{{now, f.whole}}
		return
	}
	b.settle(now, p.window)
	f.whole = b.allowed(now, p)
	f.steps = append(f.steps, step{now, f.whole - b.sum - b.reserved})
	for _, c := range b.cells {
		f.steps = append(f.steps, step{c.leaves, c.work})
	}
	if b.reserved > 0 {
		f.steps = append(f.steps, step{now.Add(p.window), b.reserved})
	}
}

// at says when the row goes that has n rows before it, and what it waits for
// longest.
func (f *forecast) at(n int) (time.Time, Reason) {
	by, binds := f.after(f.opens, n)
	if binds == None {
		binds = f.shut
	}
	if f.cost <= 0 || f.whole <= 0 {
		return by, binds
	}
	if at := f.budgetAt(n); at.After(by) {
		return at, Budget
	}
	return by, binds
}

// after is when the row goes that has n rows before it from an instant on, as
// far as rate and pace decide, and which of the two does.
func (f *forecast) after(from time.Time, n int) (time.Time, Reason) {
	at, binds := from, None
	tokens := min(f.tokens+f.rate*from.Sub(f.now).Seconds(), f.burst)
	if tokens > -rounding { // a debt is waited for to its last part
		tokens = max(0, math.Floor(tokens+rounding))
	}
	if wanting := float64(n/f.batch+1) - tokens; wanting > 0 {
		at, binds = from.Add(seconds(wanting/f.rate)), Rate
	}
	if f.pace > 0 && n > 0 {
		if paced := from.Add(seconds(float64(n) / f.pace)); paced.After(at) {
			at, binds = paced, InFlight
		}
	}
	return at, binds
}

// budgetAt is when the operating budget has room for the row with n rows before
// it. What becomes free at one instant is used from then on at the portal's
// pace, and is free again a window later.
func (f *forecast) budgetAt(n int) time.Time {
	perRow := min(f.cost, f.whole)
	fits := int64(f.whole / perRow) // rows in a whole window
	windows := int64(n) / fits
	need := time.Duration(int64(n)%fits+1) * perRow
	at := f.now
	for _, s := range f.steps {
		at = s.at
		if need <= s.work {
			// So many rows go at the same instant before this one.
			at, _ = f.after(at, int((need-1)/perRow))
			break
		}
		need -= s.work
	}
	return f.windowsOn(at, windows)
}

// windowsOn is an instant so many windows later.
func (f *forecast) windowsOn(at time.Time, windows int64) time.Time {
	if windows > int64(farthest/f.window) {
		return f.now.Add(farthest)
	}
	return at.Add(time.Duration(windows) * f.window)
}

// seconds is a time, at most farthest.
func seconds(s float64) time.Duration {
	return time.Duration(min(s*float64(time.Second), float64(farthest)))
}

// askAt is when to ask again that expects to go at a time: a quarter of a wait
// early.
func askAt(now, expected time.Time) time.Time {
	wait := max(0, expected.Sub(now))
	return now.Add(wait - wait/4)
}

// place is the place of a row with so many rows before it, and ahead more that
// do not stand in the line.
func (f *forecast) place(notBefore time.Time, before, ahead int) Place {
	at, binds := f.at(before + max(0, ahead))
	at = later(at, notBefore)
	ask := askAt(f.now, at)
	if last := at.Add(-f.window); binds == Budget && last.After(f.now) {
		// Whole windows make a staircase of the forecast: a row that costs a little
		// less than thought would be asked for a window too late.
		ask = earlier(ask, last)
	}
	return Place{Ask: later(ask, notBefore), Expected: at, Before: before, Binds: binds}
}
