// What is known of one portal, and the decisions that follow from it alone.
// Nothing here locks or waits.

package ratelimit

import "time"

// flight is a request on its way.
type flight struct {
	id       uint64
	at       time.Time
	budget   *budget // nil where the portal counts no operating time
	reserved time.Duration
	grown    time.Duration // of the budget, when the request was sent
	known    bool          // of the budget, when the request was sent
	sum      time.Duration // of the budget, when the request was sent
	rows     int
	refusals uint64 // of the portal, when the request was sent
	releases uint64 // of the portal, when the request was sent
}

// portal is the state of one portal.
type portal struct {
	id       string
	given    Limits
	plan     plan
	bucket   bucket
	pace     pace
	flights  []flight // oldest first, at most plan.parallel
	budgets  map[budgetKey]*budget
	silence  silence
	refusal  refusal
	hold     *Hold
	releases uint64 // numbers the releases: what was sent before one closes nothing after it
	line     line
	took     time.Duration // mean of what requests take; 0 = not known
}

func newPortal(id string, l Limits, parallel int) *portal {
	p := &portal{id: id, given: l, plan: newPlan(l, parallel), pace: pace{share: wholeShare}}
	p.bucket = newBucket(p.plan.rate, p.plan.burst)
	return p
}

// advance brings the state to now and to the limits given.
func (p *portal) advance(now time.Time, ttl time.Duration) {
	for p.pace.share < wholeShare && !p.pace.riseAt.After(now) {
		at := p.pace.riseAt
		p.setPace(at, p.pace.risen())
	}
	for len(p.flights) > 0 && !p.flights[0].at.Add(ttl).After(now) {
		f := p.land(0)
		if f.budget != nil {
			f.budget.add(f.at.Add(ttl), f.reserved, p.plan) // the portal may have done the work
		}
	}
	p.silence.refresh(now)
}

func (p *portal) setLimits(now time.Time, l Limits, parallel int) {
	if l == p.given {
		return
	}
	p.given, p.plan = l, newPlan(l, parallel)
	p.bucket.setBurst(now, p.plan.burst)
	p.setPace(now, p.pace)
}

// setPace changes the rate from now on.
func (p *portal) setPace(now time.Time, c pace) {
	p.pace = c
	p.bucket.setRate(now, c.rate(p.plan.rate))
}

// budget returns a request's budget, nil if there is none yet. One that is no
// longer remembered begins anew.
func (p *portal) budget(now time.Time, key budgetKey) *budget {
	b := p.budgets[key]
	if b != nil && b.expired(now, p.plan.window) {
		delete(p.budgets, key)
		return nil
	}
	return b
}

// newBudget returns a request's budget, made if need be.
func (p *portal) newBudget(now time.Time, key budgetKey) *budget {
	if b := p.budget(now, key); b != nil {
		return b
	}
	if p.budgets == nil {
		p.budgets = make(map[budgetKey]*budget)
	}
	b := &budget{used: now}
	p.budgets[key] = b
	return b
}

// verdict is what a portal's state says of a request.
type verdict struct {
	rows   int       // how many may go
	reason Reason    // why not all
	until  time.Time // when to ask again, if rows is 0
	probe  bool      // the request is a probe, of one row
}

func shut(reason Reason, until time.Time) verdict { return verdict{reason: reason, until: until} }

// look says how many of rows may go at now, and takes nothing. The order is:
// hold, silence and refusals, rate, requests in flight, operating budget; where
// rate and budget are both shut, the one that is shut for longer.
func (p *portal) look(now time.Time, b *budget, rows int, ttl time.Duration) verdict {
	v, open := p.closed(now, b, ttl)
	if !open {
		return v
	}
	probe := v
	if probe.probe {
		rows = 1
	}
	v = verdict{rows: rows}
	if b != nil && p.plan.work > 0 {
		v = p.budgeted(now, b, rows, ttl)
	} else if p.plan.work > 0 {
		v = verdict{rows: min(rows, unknownRows), reason: Budget}
	}
	spent := v.rows == 0 && v.reason == Budget
	if at := p.opensAt(now); at.After(now) {
		if spent && v.until.After(at) {
			return v
		}
		return shut(Rate, at)
	}
	if len(p.flights) >= p.plan.parallel && !spent {
		return shut(InFlight, p.landsAt(now, 0, soonest, ttl))
	}
	if probe.probe && v.rows > 0 {
		v.probe, v.reason = true, probe.reason
	}
	return v
}

// closed says whether hold, silence or refusals shut the portal for a request.
// If not, the verdict says whether the request would be a probe.
func (p *portal) closed(now time.Time, b *budget, ttl time.Duration) (v verdict, open bool) {
	if p.hold != nil {
		return shut(Held, now.Add(heldFor(now.Sub(p.hold.Since)))), false
	}
	if s := &p.silence; s.active() {
		if s.probe != 0 {
			return shut(Silent, s.parked(now)), false
		}
		if s.until.After(now) {
			return shut(Silent, s.until), false
		}
		v = verdict{probe: true, reason: Silent}
	}
	if p.refusal.until.After(now) {
		return shut(Refused, p.refusal.until), false
	}
	if b != nil && b.closed.shut() {
		if b.closed.probe != 0 {
			return shut(Refused, p.probeLands(now, b.closed.probe, ttl)), false
		}
		if b.closed.until.After(now) {
			return shut(Refused, b.closed.until), false
		}
		if !v.probe {
			v = verdict{probe: true, reason: Refused}
		}
	}
	return v, true
}

// A request that is late is asked for again after a quarter of what it has
// taken, but not sooner than soonest, and a probe not sooner than probeSoonest,
// as tasks wait for it in the queue.
const (
	soonest      = 10 * time.Millisecond
	probeSoonest = time.Second
	latest       = time.Second
)

// landsAt is when a request on its way is expected to return. One that takes
// longer than others is expected again and again, at last when it expires.
func (p *portal) landsAt(now time.Time, i int, least, ttl time.Duration) time.Time {
	f := p.flights[i]
	wait := max(least, min(now.Sub(f.at)/4, max(least, latest)))
	at := later(f.at.Add(p.took), now.Add(wait))
	return earlier(at, later(f.at.Add(ttl), now))
}

// probeLands is when a probe is expected to return. Nobody knows when a portal
// answers again, so the wait grows with what has passed.
func (p *portal) probeLands(now time.Time, id uint64, ttl time.Duration) time.Time {
	i := p.find(id)
	if i < 0 {
		return now // cannot be: landing clears a probe
	}
	f := p.flights[i]
	return earlier(now.Add(max(probeSoonest, now.Sub(f.at))), later(f.at.Add(ttl), now))
}

// budgeted asks the operating budget.
func (p *portal) budgeted(now time.Time, b *budget, rows int, ttl time.Duration) verdict {
	r := b.room(now, rows, p.plan)
	switch {
	case r.rows == rows:
		return verdict{rows: rows}
	case r.rows > 0:
		return verdict{rows: r.rows, reason: Budget}
	case !r.flights:
		return shut(Budget, r.until)
	}
	for i := range p.flights {
		if p.flights[i].budget == b {
			end := p.landsAt(now, i, soonest, ttl)
			if r.until.IsZero() || end.Before(r.until) {
				r.until = end
			}
			break
		}
	}
	return shut(InFlight, r.until)
}

// opensAt is when the request rate allows the next request.
func (p *portal) opensAt(now time.Time) time.Time {
	if p.pace.share >= wholeShare {
		return p.bucket.opensAt(now)
	}
	return p.pace.opensAt(now, p.bucket.tokens(now), p.plan.rate)
}

// start takes what a request of v.rows rows needs. The token is taken already.
func (p *portal) start(now time.Time, id uint64, key budgetKey, v verdict) {
	f := flight{id: id, at: now, rows: v.rows, refusals: p.refusal.count, releases: p.releases}
	b := p.budget(now, key)
	if p.plan.work > 0 && b == nil {
		b = p.newBudget(now, key)
	}
	if b != nil {
		b.used = now
		b.flying++
		perRow, _ := b.cost.perRow()
		f.budget, f.grown, f.known, f.sum = b, b.grown, b.known, b.sum
		f.reserved = time.Duration(v.rows) * perRow
		b.reserved += f.reserved
		if v.probe && b.closed.shut() {
			b.closed.probe = id
		}
	}
	if v.probe && p.silence.active() {
		p.silence.probe = id
	}
	p.flights = append(p.flights, f)
}

// trim lowers a request to fewer rows.
func (p *portal) trim(id uint64, rows int) {
	i := p.find(id)
	if i < 0 || rows >= p.flights[i].rows {
		return
	}
	f := &p.flights[i]
	if f.budget != nil {
		less := f.reserved / time.Duration(f.rows) * time.Duration(f.rows-rows)
		f.reserved -= less
		f.budget.reserved -= less
	}
	f.rows = rows
}

// find returns the index of a request on its way, or -1.
func (p *portal) find(id uint64) int {
	for i := range p.flights {
		if p.flights[i].id == id {
			return i
		}
	}
	return -1
}

// land takes a request off its way.
func (p *portal) land(i int) flight {
	f := p.flights[i]
	p.flights = append(p.flights[:i], p.flights[i+1:]...)
	p.flights[:len(p.flights)+1][len(p.flights)] = flight{} // let its budget go
	if p.silence.probe == f.id {
		p.silence.probe = 0
	}
	if f.budget != nil {
		f.budget.flying--
		f.budget.reserved -= f.reserved
		if f.budget.closed.probe == f.id {
			f.budget.closed.probe = 0
		}
	}
	return f
}

// leastCost is what a row costs at least under a budget, or, unknown there, as a
// call of the other kind; 0 when that is unknown too.
func (p *portal) leastCost(now time.Time, key budgetKey) time.Duration {
	for range 2 {
		if b := p.budget(now, key); b != nil && b.cost.least() > 0 {
			return b.cost.least()
		}
		key.batched = !key.batched
	}
	return 0
}

// idle says that the state can no longer matter: a portal seen for the first
// time would be treated the same.
func (p *portal) idle(now time.Time) bool {
	for key, b := range p.budgets {
		if b.expired(now, p.plan.window) {
			delete(p.budgets, key)
		}
	}
	p.line.tidy(now)
	return p.hold == nil && len(p.flights) == 0 && len(p.budgets) == 0 &&
		p.silence.misses == 0 && !p.refusal.until.After(now) && p.pace.share >= wholeShare &&
		p.bucket.full(now) && len(p.line.seats) == 0
}
