// Whether the worker's keys open the credentials of the portals.

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/tasks"
)

const (
	// keysSample is at how many portals a look is: a key that opens nothing shows
	// in any of them, one that some need in the tasks that meet it.
	keysSample = 100
	// keysMet bounds the portals that tasks have met and that do not open.
	keysMet = 1000
	// keysOpen bounds the portals that are known to open. While one of them does, a
	// sample without any says nothing.
	keysOpen = 100
	// keysEvery and keysSoon are how often to look: always, and while some do not open.
	keysEvery, keysSoon = time.Minute, 10 * time.Second
	// keysAll is how often to look at all portals while none is known to open.
	keysAll = time.Minute
)

// openings knows how many credentials do not open under the worker's keys.
type openings struct {
	registry *portals.Registry
	portals  tasks.PortalByID
	keys     portals.Keyring
	log      *slog.Logger

	mu       sync.Mutex
	met      map[string]bool // portals that did not open when last seen
	open     map[string]bool // some that did
	fresh    bool            // one that does not was met since the last look
	last     portals.Opening
	looked   time.Time
	searched time.Time // when all were looked at, and none opened; look's own
}

func newOpenings(r *portals.Registry, p tasks.PortalByID, keys portals.Keyring, log *slog.Logger) *openings {
	return &openings{registry: r, portals: p, keys: keys, log: log, met: map[string]bool{}, open: map[string]bool{}}
}

// Get implements [tasks.PortalByID], and notes what opens and what does not.
func (o *openings) Get(ctx context.Context, id string) (portals.Portal, error) {
	p, err := o.portals.Get(ctx, id)
	switch {
	case err == nil:
		o.meetOpen(id)
	case errors.Is(err, portals.ErrSealed):
		o.meet(id)
	}
	return p, err
}

func (o *openings) meet(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.met[id] && len(o.met) < keysMet {
		o.met[id], o.fresh = true, true
	}
}

func (o *openings) meetOpen(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.open) < keysOpen {
		o.open[id] = true
	}
}

// due reports whether it is time to look.
func (o *openings) due(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	every := keysEvery
	if o.fresh || len(o.last.Closed) > 0 {
		every = keysSoon
	}
	return now.Sub(o.looked) >= every
}

// look looks at a sample of the portals, at all that did not open before and at
// some that did, and logs a change from all open to some or none, and back.
func (o *openings) look(ctx context.Context) error {
	o.mu.Lock()
	known := slices.Concat(slices.Collect(maps.Keys(o.met)), slices.Collect(maps.Keys(o.open)))
	o.fresh, o.looked = false, time.Now()
	o.mu.Unlock()
	now, err := o.registry.Opens(ctx, known, keysSample)
	if err != nil {
		return err
	}
	if err := o.search(ctx, &now); err != nil {
		return err
	}
	o.mu.Lock()
	before := o.last
	o.last = now
	for _, id := range known {
		delete(o.met, id)
		delete(o.open, id)
	}
	keep(o.met, now.Closed, keysMet)
	keep(o.open, now.Open, keysOpen)
	o.mu.Unlock()
	o.tell(&before, &now)
	return nil
}

// keep adds ids to a set that is bounded.
func keep(set map[string]bool, ids []string, most int) {
	for _, id := range ids {
		if len(set) >= most {
			return
		}
		set[id] = true
	}
}

// search looks at all portals when none of those looked at opens: of ten thousand
// of which fifty open, most samples have none.
func (o *openings) search(ctx context.Context, now *portals.Opening) error {
	if !now.None() || time.Since(o.searched) < keysAll {
		return nil
	}
	id, err := o.registry.FindOpen(ctx)
	if err != nil {
		return err
	}
	if id == "" {
		o.searched = time.Now()
		return nil
	}
	now.Looked, now.Open = now.Looked+1, append(now.Open, id)
	return nil
}

func (o *openings) tell(before, now *portals.Opening) {
	switch {
	case now.None() && !before.None():
		o.log.Warn("no portal's credentials open", "looked_at", now.Looked, "keys", o.keys.IDs(), "example", now.Example,
			"do", "give this worker the other workers' SECRETS_KEY; until then it takes no tasks")
	case len(now.Closed) > 0 && (len(before.Closed) == 0 || before.None() && !now.None()):
		o.log.Warn("credentials of portals do not open", "portals", len(now.Closed), "looked_at", now.Looked, "keys", o.keys.IDs(), "example", now.Example)
	case len(now.Closed) == 0 && len(before.Closed) > 0:
		o.log.Info("all credentials open again", "looked_at", now.Looked)
	}
}

// none returns what is wrong when no credentials open at all, nil otherwise.
func (o *openings) none() error {
	now := o.known()
	if !now.None() {
		return nil
	}
	return fmt.Errorf("no portal's credentials open under this worker's SECRETS_KEY (%s), so that it takes no tasks; for example, %w", o.keys, now.Example)
}

// warning says how many credentials do not open; "" when all do, or none.
func (o *openings) warning() string {
	now := o.known()
	if len(now.Closed) == 0 || now.None() {
		return ""
	}
	return fmt.Sprintf("the credentials of %d of %d portals looked at do not open under this worker's SECRETS_KEY (%s): %v", len(now.Closed), now.Looked, o.keys, now.Example)
}

func (o *openings) known() portals.Opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
