// Which portals get no requests, and what is left of the limits of the others.

package overview

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

const (
	// shownPortals is how many closed portals, and how many busy ones, are named.
	shownPortals = 20
	// mostHeld bounds how many holds are remembered from one look to the next.
	mostHeld = 20_000
)

// heldLook is the portals that the registry holds.
type heldLook struct {
	count  int
	holds  map[string]portals.Hold // at most mostHeld
	newest []heldPortal            // at most shownPortals
}

type heldPortal struct {
	name string
	hold portals.Hold
}

// askHeld has the portals that are kept at hand be as they are now, and reads the
// holds again when more has changed in the registry than tokens. Nobody else
// refreshes them, or what had changed would be missed here.
func (o *Overview) askHeld(ctx context.Context) (heldLook, error) {
	changed, err := o.names.Refresh(ctx)
	if err != nil {
		return heldLook{}, err
	}
	if last := o.held.previous(); last.err == nil && !changed && last.value.holds != nil {
		return last.value, nil
	}
	all, err := o.cfg.Registry.Held(ctx)
	if err != nil {
		return heldLook{}, err
	}
	look := heldLook{count: len(all), holds: all}
	ids := make([]string, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(all[b].Since.Compare(all[a].Since), cmp.Compare(a, b)) })
	for _, id := range ids[min(len(ids), mostHeld):] {
		delete(all, id)
	}
	for _, id := range ids[:min(len(ids), shownPortals)] {
		name, err := o.nameOf(ctx, id)
		if err != nil {
			return look, err
		}
		look.newest = append(look.newest, heldPortal{name: name, hold: all[id]})
	}
	return look, nil
}

// nameOf is the name of a portal; its id, if it has been removed since.
func (o *Overview) nameOf(ctx context.Context, id string) (string, error) {
	p, err := o.names.Get(ctx, id)
	if errors.Is(err, portals.ErrUnknown) {
		return id, nil
	}
	return p.Name, err
}

// gateLook is what the gate tells of the portals that this worker has lately
// asked for.
type gateLook struct {
	closed                          map[string]ratelimit.Snapshot
	held, silent, refusing          int
	known, slowed, inFlight, inLine int
	// shut are silent and refusing portals, those closed longest first; busy the
	// open ones with most to do. Each at most shownPortals.
	shut, busy []gatePortal
}

type gatePortal struct {
	name string
	ratelimit.Snapshot
}

func (o *Overview) askGate(ctx context.Context) (gateLook, error) {
	recent, err := o.cfg.Gate.Recent(ctx)
	if err != nil {
		return gateLook{}, err
	}
	look := gateLook{closed: map[string]ratelimit.Snapshot{}, known: len(recent)}
	var shut, busy []ratelimit.Snapshot
	for i := range recent {
		s := &recent[i]
		look.add(s)
		switch s.Closed {
		case ratelimit.Held: // the registry tells of these
		case ratelimit.None:
			busy = append(busy, *s)
		default:
			shut = append(shut, *s)
		}
	}
	slices.SortFunc(shut, func(a, b ratelimit.Snapshot) int {
		return cmp.Or(since(&a).Compare(since(&b)), cmp.Compare(a.Portal, b.Portal))
	})
	slices.SortFunc(busy, busier)
	if look.shut, err = o.named(ctx, shut); err != nil {
		return look, err
	}
	look.busy, err = o.named(ctx, busy)
	return look, err
}

func (l *gateLook) add(s *ratelimit.Snapshot) {
	switch s.Closed {
	case ratelimit.Held:
		l.held++
	case ratelimit.Silent:
		l.silent++
	case ratelimit.Refused:
		l.refusing++
	default:
	}
	if s.Closed != ratelimit.None {
		l.closed[s.Portal] = *s
	}
	if s.Rate < s.Planned {
		l.slowed++
	}
	l.inFlight += s.InFlight
	l.inLine += s.Waiting
}

// since is when a closed portal was closed; the end of time for one that does not say.
func since(s *ratelimit.Snapshot) time.Time {
	if s.Hold != nil {
		return s.Hold.Since
	}
	return s.ClosedUntil.Add(24 * time.Hour)
}

// busier orders portals by what waits for them, what is on its way to them, and
// what is left of their work.
func busier(a, b ratelimit.Snapshot) int {
	return cmp.Or(
		cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.InFlight, a.InFlight),
		cmp.Compare(leastLeft(&a), leastLeft(&b)), cmp.Compare(a.Tokens, b.Tokens), cmp.Compare(a.Portal, b.Portal),
	)
}

// tightest is the budget of which the least share is left; nil when there is none.
func tightest(s *ratelimit.Snapshot) *ratelimit.BudgetSnapshot {
	var least *ratelimit.BudgetSnapshot
	for i := range s.Budgets {
		if b := &s.Budgets[i]; b.Limit > 0 && (least == nil || left(b) < left(least)) {
			least = b
		}
	}
	return least
}

// left is the share of a budget that is not spent or reserved, from 0 to 1.
func left(b *ratelimit.BudgetSnapshot) float64 {
	return max(0, b.Limit-b.Operating-b.Reserved).Seconds() / b.Limit.Seconds()
}

func leastLeft(s *ratelimit.Snapshot) float64 {
	if b := tightest(s); b != nil {
		return left(b)
	}
	return 1
}

// named finds the names of the first portals.
func (o *Overview) named(ctx context.Context, all []ratelimit.Snapshot) ([]gatePortal, error) {
	var list []gatePortal
	for _, s := range all[:min(len(all), shownPortals)] {
		name, err := o.nameOf(ctx, s.Portal)
		if err != nil {
			return list, err
		}
		list = append(list, gatePortal{name: name, Snapshot: s})
	}
	return list, nil
}
