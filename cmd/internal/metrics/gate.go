// What the gate tells: summed over its portals, none of them by name.

package metrics

import (
	"context"
	"fmt"
	"time"

	"botfleet/ratelimit"
)

// Gate tells of the portals that the worker has lately asked for;
// [ratelimit.Gate] does.
type Gate interface {
	Recent(ctx context.Context) ([]ratelimit.Snapshot, error)
}

// states are what a portal can be, for the gate.
var states = labels[ratelimit.Reason]{
	ratelimit.None: "open", ratelimit.Held: "held", ratelimit.Silent: "silent", ratelimit.Refused: "refused",
}

func askGate(g Gate) question {
	return func(ctx context.Context, emit emit) error {
		recent, err := g.Recent(ctx)
		if err != nil {
			return fmt.Errorf("ask the gate for its portals: %w", err)
		}
		s := newGateSums()
		now := time.Now()
		for i := range recent {
			s.add(&recent[i], now)
		}
		s.emit(emit)
		return nil
	}
}

// gateSums is what the portals' states come to.
type gateSums struct {
	states, budgets                 map[string]int
	slowed, empty, flights, waiting int
	tokens, lowest                  float64
}

func newGateSums() *gateSums {
	s := &gateSums{states: map[string]int{}, budgets: map[string]int{}, lowest: 1}
	for _, state := range states {
		s.states[state] = 0
	}
	for _, b := range bands {
		s.budgets[b.label] = 0
	}
	return s
}

func (s *gateSums) add(p *ratelimit.Snapshot, now time.Time) {
	s.states[states.of(p.Closed)]++
	s.flights += p.InFlight
	s.waiting += p.Waiting
	s.tokens += p.Tokens
	if p.Closed == ratelimit.None && p.Tokens < 1 {
		s.empty++
	}
	if p.Rate < p.Planned {
		s.slowed++
		s.lowest = min(s.lowest, p.Rate/p.Planned)
	}
	for i := range p.Budgets {
		if b := &p.Budgets[i]; b.Limit > 0 { // otherwise the portal counts none
			s.budgets[band(b, now)]++
		}
	}
}

func (s *gateSums) emit(emit emit) {
	for state, n := range s.states {
		emit(gatePortals, float64(n), state)
	}
	for left, n := range s.budgets {
		emit(gateBudgets, float64(n), left)
	}
	emit(gateSlowed, float64(s.slowed))
	emit(gateLowest, s.lowest)
	emit(gateEmpty, float64(s.empty))
	emit(gateTokens, s.tokens)
	emit(gateInFlight, float64(s.flights))
	emit(gateInLine, float64(s.waiting))
}

// bands are shares of a budget, in percent. The gate keeps 2 of them untouched:
// a budget with no more than that is spent.
var bands = []struct {
	upTo  int64
	label string
}{{2, "spent"}, {10, "10"}, {25, "25"}, {50, "50"}, {75, "75"}, {100, "100"}}

// band is the label of the share that is left of a budget, less what is
// reserved for requests on their way.
func band(b *ratelimit.BudgetSnapshot, now time.Time) string {
	left, limit := max(0, b.Limit-b.Operating-b.Reserved).Milliseconds(), b.Limit.Milliseconds()
	for _, band := range bands {
		if left*100 <= limit*band.upTo || b.ClosedUntil.After(now) {
			return band.label
		}
	}
	return bands[len(bands)-1].label
}
