// What the registry tells.

package metrics

import "context"

// Portals counts the portals that are known; [portals.Registry] does.
//
// [portals.Registry]: https://pkg.go.dev/botfleet/bitrix/portals#Registry
type Portals interface {
	Count(ctx context.Context) (int, error)
	CountHeld(ctx context.Context) (int, error)
}

func askPortals(from Portals) question {
	return func(ctx context.Context, emit emit) error {
		held, err := from.CountHeld(ctx)
		if err != nil {
			return err
		}
		all, err := from.Count(ctx)
		if err != nil {
			return err
		}
		emit(knownPortals, float64(held), "held")
		emit(knownPortals, float64(max(0, all-held)), "open") // between the questions one may go
		return nil
	}
}
