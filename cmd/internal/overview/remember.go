// A gate that is asked for each portal once in a look.

package overview

import (
	"context"
	"sync"

	"botfleet/ratelimit"
)

// remembering is a gate that is asked for each portal once.
type remembering struct {
	ratelimit.Gate

	mu     sync.Mutex
	states map[string]state
	places map[placeKey][]ratelimit.Place
}

type state struct {
	snapshot ratelimit.Snapshot
	known    bool
}

// placeKey is what tells the questions of one look for a portal's place apart.
type placeKey struct {
	portal string
	ahead  int
}

// State implements [ratelimit.Gate].
func (g *remembering) State(ctx context.Context, portal string) (ratelimit.Snapshot, bool, error) {
	g.mu.Lock()
	s, ok := g.states[portal]
	g.mu.Unlock()
	if ok {
		return s.snapshot, s.known, nil
	}
	snapshot, known, err := g.Gate.State(ctx, portal)
	if err != nil {
		return snapshot, known, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.states == nil {
		g.states = map[string]state{}
	}
	g.states[portal] = state{snapshot, known}
	return snapshot, known, nil
}

// Place implements [ratelimit.Gate].
func (g *remembering) Place(ctx context.Context, r ratelimit.LineRequest) ([]ratelimit.Place, error) {
	k := placeKey{r.Portal, r.Ahead}
	g.mu.Lock()
	places, ok := g.places[k]
	g.mu.Unlock()
	if ok {
		return places, nil
	}
	places, err := g.Gate.Place(ctx, r)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.places == nil {
		g.places = map[placeKey][]ratelimit.Place{}
	}
	g.places[k] = places
	return places, nil
}
