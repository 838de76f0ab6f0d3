// The portals that rows wait for.

package outlook

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"botfleet/bitrix/portals"
)

// Finder finds a portal by its permanent id, or returns an error for which
// errors.Is(err, portals.ErrUnknown) holds; [portals.Registry] is one.
type Finder interface {
	Get(ctx context.Context, id string) (portals.Portal, error)
}

// Find returns the portals of these ids, in their order. One that has been removed
// has no ID: its rows end as soon as a worker takes them.
func Find(ctx context.Context, from Finder, ids []string) ([]portals.Portal, error) {
	found := make([]portals.Portal, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askedAtOnce)
	for i, id := range ids {
		g.Go(func() error {
			p, err := from.Get(ctx, id)
			if err != nil && !errors.Is(err, portals.ErrUnknown) {
				return err
			}
			found[i] = p
			return nil
		})
	}
	return found, g.Wait()
}
