// The outlook for one portal.

package outlook

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// Portal is the outlook for the rows of one portal.
type Portal struct {
	Load
	Requests int
	Duration time.Duration // until the last row is done; for an Endless portal from when it opens
	Binds    ratelimit.Reason
	Cost     time.Duration // that it was reckoned with; 0: not known
	// Shut is why the portal gets no requests now: Held, Silent or Refused; Why
	// says it in words, Since is when that began, and Until when it ends or is
	// looked into, as far as known.
	Shut         ratelimit.Reason
	Why          string
	Since, Until time.Time

	work time.Duration // of all rows
	busy bool
}

// Endless reports whether nobody knows when the portal takes rows again.
func (p *Portal) Endless() bool { return p.Shut == ratelimit.Held || p.Shut == ratelimit.Silent }

// One returns the outlook for the rows of one portal.
func (o *Outlook) One(ctx context.Context, l Load) (Portal, error) {
	if o.Gate == nil {
		return o.atRest(l, o.Cost), nil
	}
	s, known, err := o.Gate.State(ctx, l.Portal.ID)
	if err != nil {
		return Portal{}, fmt.Errorf("look at portal %s: %w", l.Portal.Name, err)
	}
	cost := o.Cost
	if cost == 0 {
		cost = o.learned(&s, l.Portal.Credential)
	}
	p := o.atRest(l, cost)
	if !known {
		return p, nil
	}
	p.busy = s.InFlight > s.Parallel/2 // one may just have returned
	if p.Shut == ratelimit.None {      // the registry knows of a hold before the gate does
		p.shut(&s)
	}
	if p.Endless() || p.Rows == 0 {
		return p, nil
	}
	return p, o.asThingsAre(ctx, &p, &s)
}

// shut notes why the portal gets no requests now.
func (p *Portal) shut(s *ratelimit.Snapshot) {
	p.Shut = s.Closed
	if s.Closed == ratelimit.None {
		return
	}
	p.Until = s.ClosedUntil
	if s.Hold != nil {
		p.Why, p.Since = s.Hold.Reason, s.Hold.Since
	}
}

// atRest is the outlook for a portal that has had nothing to do for a while.
func (o *Outlook) atRest(l Load, cost time.Duration) Portal {
	p := Portal{Load: l, Cost: cost}
	e := ratelimit.EstimateInput{
		Limits: l.Portal.Limits, Rows: l.Rows, Batch: o.batch(l, cost), Cost: cost, Latency: o.Latency, Parallel: o.Parallel,
	}.Estimate()
	p.Requests, p.Duration, p.Binds = e.Requests, e.Duration, e.Binds
	p.work = time.Duration(l.Rows) * (cost + o.Latency)
	if h := l.Portal.Held; h != nil {
		p.Shut, p.Why, p.Since = ratelimit.Held, h.Reason, h.Since
	}
	return p
}

// asThingsAre makes the outlook later by what the portal has done lately and has
// still to do.
func (o *Outlook) asThingsAre(ctx context.Context, p *Portal, s *ratelimit.Snapshot) error {
	ahead := max(p.Rows-flying(s), s.Waiting) - 1
	if o.New {
		ahead = p.Rows - 1 + s.Waiting
	}
	batch := o.batch(p.Load, p.Cost)
	r := ratelimit.LineRequest{
		Request: ratelimit.Request{
			Portal: p.Load.Portal.ID, Limits: p.Load.Portal.Limits, Credential: p.Load.Portal.Credential,
			Method: bitrix.MethodRegister, Batched: batch > 1, Rows: 1,
		},
		Batch: batch, Ahead: max(ahead, 0),
	}
	if work := o.Latency + time.Duration(batch)*p.Cost; work > 0 {
		r.PerSecond = float64(s.Parallel) * float64(batch) / work.Seconds()
	}
	places, err := o.Gate.Place(ctx, r)
	if err != nil {
		return fmt.Errorf("look ahead for portal %s: %w", p.Load.Portal.Name, err)
	}
	if len(places) == 0 {
		return nil
	}
	last := p.Cost + o.Latency // a row goes when it is expected to, and then takes this
	if d := places[0].Expected.Sub(o.now()) + last; d > p.Duration {
		p.Duration, p.Binds = d, places[0].Binds
	}
	return nil
}

// batchShare: a batch is meant to end within this share of the time after which
// the portal cuts it off, as the workers size it.
const batchShare = 3

// batch is how many rows each request will carry.
func (o *Outlook) batch(l Load, cost time.Duration) int {
	batch := max(o.Batch, 1)
	if cost > 0 && l.Portal.ServerTimeout > 0 {
		batch = max(min(batch, int(min(l.Portal.ServerTimeout/batchShare/cost, 1000))), 1)
	}
	return batch
}

// learned is what rows have cost on a portal, as the gate has learned: best in
// the way they will travel and under the present credentials.
func (o *Outlook) learned(s *ratelimit.Snapshot, credential string) time.Duration {
	best, cost := -1, time.Duration(0)
	for i := range s.Budgets {
		b := &s.Budgets[i]
		if b.Method != bitrix.MethodRegister || b.Cost <= 0 {
			continue
		}
		rank := 0
		if b.Credential == credential {
			rank += 2
		}
		if b.Batched == (o.Batch > 1) {
			rank++
		}
		if rank > best {
			best, cost = rank, b.Cost
		}
	}
	return cost
}

// flying is how many rows are on their way, as far as work is reserved for them:
// the budget counts it as done.
func flying(s *ratelimit.Snapshot) int {
	rows := 0
	for i := range s.Budgets {
		if b := &s.Budgets[i]; b.Method == bitrix.MethodRegister && b.Cost > 0 {
			rows += int(b.Reserved / b.Cost)
		}
	}
	return rows
}

func (o *Outlook) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}
