// What a gate shows of its state, for metrics and for a person.

package ratelimit

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Snapshot is one portal's state at one instant.
type Snapshot struct {
	Portal   string
	InFlight int     // requests on their way
	Parallel int     // at most
	Tokens   float64 // requests that the rate lets go at once
	Rate     float64 // requests a second, as used now
	Planned  float64 // requests a second, as the limits allow
	Budgets  []BudgetSnapshot
	// ClosedUntil and Closed: until when the portal is closed to all requests,
	// and why: Held, Silent or Refused. None while it is open. A held portal is
	// closed until somebody acts; ClosedUntil is when its rows look again.
	ClosedUntil time.Time
	Closed      Reason
	Hold        *Hold
	Waiting     int // rows in the portal's line
}

// BudgetSnapshot is one operating budget.
type BudgetSnapshot struct {
	Credential, Method string
	Batched            bool

	Operating time.Duration // done in the window, as far as known
	Reserved  time.Duration // by requests on their way
	Limit     time.Duration // without the margin; lower than configured where that was learned
	Cost      time.Duration // of a row; 0 while unknown
	ResetAt   time.Time     // operating_reset_at as last told; zero when never
	// ClosedUntil is set after the portal refused for this budget: until then,
	// or longer, until one request has been answered.
	ClosedUntil time.Time
}

// State implements [Gate].
func (l *Local) State(_ context.Context, portal string) (Snapshot, bool, error) {
	s := l.shard(portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.portals[portal]
	if p == nil {
		return Snapshot{}, false, nil
	}
	now := l.cfg.Now()
	p.advance(now, l.cfg.TicketTTL)
	if p.idle(now) {
		return Snapshot{}, false, nil
	}
	return p.snapshot(now, l.cfg.TicketTTL), true, nil
}

// Recent implements [Gate].
func (l *Local) Recent(context.Context) ([]Snapshot, error) {
	open := 0
	return l.snapshots(func(s Snapshot) bool {
		if s.Closed != None {
			return true
		}
		open++
		return open <= MostRecent
	}), nil
}

func (l *Local) snapshots(keep func(Snapshot) bool) []Snapshot {
	var all []Snapshot
	for i := range l.shards {
		all = l.shards[i].snapshots(all, keep, l.cfg.Now, l.cfg.TicketTTL)
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Compare(a.Portal, b.Portal) })
	return all
}

func (s *shard) snapshots(all []Snapshot, keep func(Snapshot) bool, clock func() time.Time, ttl time.Duration) []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock()
	s.sweep(now, ttl)
	for _, p := range s.portals {
		if snap := p.snapshot(now, ttl); keep(snap) {
			all = append(all, snap)
		}
	}
	return all
}

func (p *portal) snapshot(now time.Time, ttl time.Duration) Snapshot {
	s := Snapshot{
		Portal: p.id, InFlight: len(p.flights), Parallel: p.plan.parallel,
		Tokens: max(0, p.bucket.tokens(now)), Rate: p.pace.rate(p.plan.rate), Planned: p.plan.rate,
		Waiting: len(p.line.seats),
	}
	if v, open := p.closed(now, nil, ttl); !open {
		d := p.refuse(v)
		s.ClosedUntil, s.Closed, s.Hold = v.until, v.reason, d.Hold
	} else if p.silence.active() { // about to be probed
		s.ClosedUntil, s.Closed, s.Hold = p.silence.until, Silent, p.silence.hold()
	}
	for key, b := range p.budgets {
		s.Budgets = append(s.Budgets, b.snapshot(now, key, p.plan))
	}
	slices.SortFunc(s.Budgets, func(a, b BudgetSnapshot) int {
		return cmp.Or(cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Method, b.Method),
			cmp.Compare(kind(a.Batched), kind(b.Batched)))
	})
	return s
}

func kind(batched bool) int {
	if batched {
		return 1
	}
	return 0
}

func (b *budget) snapshot(now time.Time, key budgetKey, p plan) BudgetSnapshot {
	b.settle(now, p.window)
	perRow, _ := b.cost.perRow()
	return BudgetSnapshot{
		Credential: key.credential, Method: key.method, Batched: key.batched,
		Operating: b.sum, Reserved: b.reserved, Limit: b.limit(now, p), Cost: perRow,
		ResetAt: b.resetAt, ClosedUntil: b.closed.until,
	}
}
