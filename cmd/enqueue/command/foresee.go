// When the waiting rows of a run will be done, and what keeps them.

package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/tasks/runs"
)

// foresight finds out about the rows of runs.
type foresight struct {
	waits    *waits // what rows wait for; nil: nothing is known of it
	runs     *runs.Store
	registry *portals.Registry
	outlook  outlook.Outlook
}

// prospect is what is found out about one run.
type prospect struct {
	outlook.Total
	portals int // that rows wait for
	rows    int // that wait for portals looked at
	// more is how many portals beyond those looked at there are, with fewer rows.
	more int
	// Rows that wait for new tokens of so many portals, and why: rows by reason.
	tokenRows, tokenPortals int
	tokens                  map[string]int
	// Rows that wait for a worker with another key, and why: rows by reason.
	keyRows, keyPortals int
	keys                map[string]int
	// Rows that wait in paused queues.
	pausedRows, pausedPortals int
	paused                    map[string]bool
}

// stands takes rows into account whose end does not depend on their portal's
// limits, and reports whether these are such rows.
func (p *prospect) stands(w *waits, l outlook.Load) bool {
	if w.stands(l.Portal) {
		p.pausedRows, p.pausedPortals = p.pausedRows+l.Rows, p.pausedPortals+1
		p.paused[l.Portal.Queue] = true
		return true
	}
	if why, ok := w.key(l.Portal); ok {
		p.keyRows, p.keyPortals = p.keyRows+l.Rows, p.keyPortals+1
		p.keys[why] += l.Rows
		return true
	}
	why, ok := w.token(l.Portal)
	if ok {
		p.tokenRows, p.tokenPortals = p.tokenRows+l.Rows, p.tokenPortals+1
		p.tokens[why] += l.Rows
	}
	return ok
}

// run returns the prospect of a run of which so many rows a second were done
// lately.
func (f *foresight) run(ctx context.Context, id string, perSecond float64) (prospect, error) {
	waiting, all, err := f.waiting(ctx, id)
	if err != nil {
		return prospect{}, err
	}
	loads, err := f.loads(ctx, waiting)
	if err != nil {
		return prospect{}, err
	}
	p := prospect{portals: all, more: all - len(waiting), tokens: map[string]int{}, keys: map[string]int{}, paused: map[string]bool{}}
	loads = slices.DeleteFunc(loads, func(l outlook.Load) bool { return p.stands(f.waits, l) })
	for _, l := range loads {
		p.rows += l.Rows
	}
	if p.Total, err = f.outlook.All(ctx, loads); err != nil {
		return prospect{}, err
	}
	p.Lately(perSecond)
	return p, nil
}

// portalRows is how many rows wait for a portal.
type portalRows struct {
	id   string
	rows int
}

// waiting returns the portals with most waiting rows of a run, at most
// outlook.MostAsked, and how many portals there are.
func (f *foresight) waiting(ctx context.Context, id string) (most []portalRows, all int, err error) {
	err = f.runs.Waiting(ctx, id, func(portal string, rows int) error {
		all++
		if most = append(most, portalRows{portal, rows}); len(most) >= 4*outlook.MostAsked {
			most, all = keepMost(most, all)
		}
		return nil
	})
	most, all = keepMost(most, all)
	return most, all, err
}

// keepMost sorts out portals told of twice, and keeps those with most rows.
func keepMost(list []portalRows, all int) (most []portalRows, portals int) {
	slices.SortFunc(list, func(a, b portalRows) int { return cmp.Or(cmp.Compare(b.rows, a.rows), cmp.Compare(a.id, b.id)) })
	once := slices.Compact(list)
	all -= len(list) - len(once)
	return once[:min(len(once), outlook.MostAsked)], all
}

// loads finds the portals. One that has been removed since is left out: its
// rows end as soon as a worker takes them.
func (f *foresight) loads(ctx context.Context, waiting []portalRows) ([]outlook.Load, error) {
	ids := make([]string, len(waiting))
	for i, w := range waiting {
		ids[i] = w.id
	}
	found, err := outlook.Find(ctx, f.registry, ids)
	if err != nil {
		return nil, err
	}
	loads := make([]outlook.Load, 0, len(waiting))
	for i, w := range waiting {
		if found[i].ID != "" {
			loads = append(loads, outlook.Load{Portal: &found[i], Rows: w.rows})
		}
	}
	return loads, nil
}

// clockOf is the clock of a Redis, by which its gate tells times.
func clockOf(ctx context.Context, rdb redis.UniversalClient) (func() time.Time, error) {
	at, err := rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for the time: %w", err)
	}
	ahead := time.Until(at)
	return func() time.Time { return time.Now().Add(ahead) }, nil
}
