// What a portal's state learns from a request's end.

package ratelimit

import "time"

// observe takes in the end of a request on its way.
func (p *portal) observe(now time.Time, i int, key budgetKey, a Answer) {
	silenceProbe := p.silence.probe == p.flights[i].id
	b := p.flights[i].budget
	workProbe := b != nil && b.closed.probe == p.flights[i].id
	f := p.land(i)
	if a.Outcome == NotSent {
		p.bucket.giveBack()
		return
	}
	if p.plan.single {
		p.bucket.drain(now)
	}
	p.lasted(now.Sub(f.at))
	if a.Outcome == NoAnswer {
		if b != nil {
			b.add(now, f.reserved, p.plan) // it may have been done all the same
		}
		if f.releases == p.releases {
			p.silence.miss(now, silenceProbe)
		}
		return
	}
	p.silence = silence{} // any answer ends it
	p.tell(now, f, key, a)
	switch a.Outcome {
	case RateRefused:
		p.rateRefused(now, f)
	case WorkRefused:
		p.workRefused(now, f, key, workProbe)
	case BlockedByBX:
		if f.releases == p.releases && p.hold == nil {
			p.hold = &Hold{Reason: holdReason(a.Code, a.Text), Since: now}
		}
	default:
		if f.refusals == p.refusal.count {
			p.refusal.failures = 0
		}
		if workProbe {
			b.closed = closure{}
		}
	}
}

// tookWeight is the weight of what was known of requests' durations against a
// new one: 7/8.
const tookWeight = 8

// lasted takes in how long a request took.
func (p *portal) lasted(took time.Duration) {
	if p.took == 0 {
		p.took = took
		return
	}
	p.took += (took - p.took) / tookWeight
}

// tell hands what an answer says of operating time to the budget.
func (p *portal) tell(now time.Time, f flight, key budgetKey, a Answer) {
	if p.plan.work <= 0 {
		return
	}
	b := f.budget
	if b == nil {
		b = p.newBudget(now, key)
	}
	b.used = now
	if a.believed() {
		b.told(now, a.ResetAt, p.plan)
		b.absent = 0
		ran := max(0, min(a.Ran, f.rows))
		if !f.known {
			// Of requests that were on their way together before the first
			// answer, each may tell of the others' work: nothing is learned of
			// what a row costs, neither too little nor too much.
			ran = 0
		}
		b.tell(now, a.Operating.Truncate(tick), ran, f.grown, p.plan)
		return
	}
	if a.Outcome == Answered && !b.known {
		b.absent++
	}
}

// rateRefused closes the portal for a while and lowers its rate. Refusals of
// requests that were sent before the last refusal are part of the same incident.
func (p *portal) rateRefused(now time.Time, f flight) {
	if f.refusals != p.refusal.count || f.releases != p.releases {
		return
	}
	if p.pace.share >= wholeShare {
		p.refusal.failures = 0
	}
	p.refusal.next(now)
	p.bucket.drain(now) // the portal's bucket is full, so ours is empty
	p.setPace(now, pace{share: lowerShare(p.pace.share), riseAt: now.Add(shareRiseIn)})
}

// workRefused closes the request's budget. While it is closed only its probe
// tells something new.
func (p *portal) workRefused(now time.Time, f flight, key budgetKey, probe bool) {
	if f.releases != p.releases {
		return
	}
	b := f.budget
	if b == nil {
		b = p.newBudget(now, key)
	}
	b.used = now
	if !b.closed.shut() || probe {
		b.refused(now, f.sum, p.plan)
	}
}

// release ends what closes the portal.
func (p *portal) release() {
	p.hold, p.silence = nil, silence{}
	p.refusal.until, p.refusal.failures = time.Time{}, 0
	for _, b := range p.budgets {
		b.closed = closure{}
	}
	p.releases++
}
