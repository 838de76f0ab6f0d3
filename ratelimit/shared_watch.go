// Looking at the state of portals, without changing it.

package ratelimit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// State implements [Gate].
func (s *Shared) State(ctx context.Context, portal string) (Snapshot, bool, error) {
	all, err := s.states(ctx, []string{portal})
	if err != nil {
		return Snapshot{}, false, fmt.Errorf("look at the state of portal %q: %w", portal, err)
	}
	if len(all) == 0 {
		return Snapshot{}, false, nil
	}
	return all[0], true, nil
}

// Recent implements [Gate]. It reads the portals in a few round trips.
func (s *Shared) Recent(ctx context.Context) ([]Snapshot, error) {
	all, err := s.states(ctx, s.recent.portals(s.now()))
	if err != nil {
		return nil, fmt.Errorf("look at the state of portals: %w", err)
	}
	open := 0
	all = slices.DeleteFunc(all, func(p Snapshot) bool {
		if p.Closed == None {
			open++
		}
		return p.Closed == None && open > MostRecent
	})
	slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Compare(a.Portal, b.Portal) })
	return all, nil
}

// statesAtOnce is how many portals are read in one round trip.
const statesAtOnce = 200

// states reads the states of portals; those of which nothing is known are left out.
func (s *Shared) states(ctx context.Context, portals []string) ([]Snapshot, error) {
	var all []Snapshot
	for some := range slices.Chunk(portals, statesAtOnce) {
		snaps, err := s.someStates(ctx, some)
		if err != nil {
			return nil, err
		}
		all = append(all, snaps...)
	}
	return all, nil
}

// someStates takes two round trips: the lines are looked at when it is known what
// time it is.
func (s *Shared) someStates(ctx context.Context, portals []string) ([]Snapshot, error) {
	states, err := s.readPortals(ctx, portals)
	if err != nil {
		return nil, err
	}
	waiting := make([]*redis.IntCmd, len(portals))
	_, err = s.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, portal := range portals {
			late := states[i].now.Add(-seatKept).UnixMicro()
			waiting[i] = p.ZCount(ctx, keysOf(portal).asks, micros(late), "+inf")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for i, p := range states {
		n := int(waiting[i].Val())
		if p.idle(p.now) && n == 0 {
			continue
		}
		snap := p.snapshot(p.now, s.cfg.TicketTTL)
		snap.Waiting = n
		snap.shift(-p.ahead)
		all = append(all, snap)
	}
	return all, nil
}

// readPortals reads what is known of portals but for their lines.
func (s *Shared) readPortals(ctx context.Context, portals []string) ([]stored, error) {
	var clock *redis.TimeCmd
	hashes := make([]*redis.MapStringStringCmd, len(portals))
	_, err := s.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		clock = p.Time(ctx)
		for i, portal := range portals {
			hashes[i] = p.HGetAll(ctx, keysOf(portal).gate)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	now := clock.Val()
	if s.cfg.Now != nil {
		now = s.cfg.Now()
	}
	states := make([]stored, len(portals))
	for i, portal := range portals {
		states[i] = s.readPortal(portal, hashes[i].Val(), now)
	}
	return states, nil
}

// shift moves all times of a snapshot.
func (s *Snapshot) shift(d time.Duration) {
	move := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
	move(&s.ClosedUntil)
	if s.Hold != nil {
		move(&s.Hold.Since)
	}
	for i := range s.Budgets {
		move(&s.Budgets[i].ResetAt)
		move(&s.Budgets[i].ClosedUntil)
	}
}
