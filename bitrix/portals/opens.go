// Whether stored credentials open, told of many portals at once.

package portals

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Opening is what a look at stored credentials came to.
type Opening struct {
	Looked int      // at how many portals
	Open   []string // ids of those whose credentials open
	Closed []string // and of those whose do not
	// Example is the [*SealedError] of one of them; nil when all open.
	Example error
}

// Opens looks whether the credentials of some portals open, and those of a random
// sample of all portals, at most so many. It is cheap enough for every few
// seconds: two questions to Redis for up to 500 portals.
func (r *Registry) Opens(ctx context.Context, ids []string, sample int) (Opening, error) {
	drawn, err := r.redis.HRandField(ctx, keyRecords, sample).Result()
	if err != nil {
		return Opening{}, fmt.Errorf("read portals: %w", err)
	}
	all, err := r.read(ctx, slices.Compact(sorted(slices.Concat(ids, drawn))))
	if err != nil {
		return Opening{}, err
	}
	var o Opening
	for _, s := range all {
		if s.raw == "" {
			continue // removed since
		}
		o.Looked++
		switch _, err := r.portal(s); {
		case err == nil:
			o.Open = append(o.Open, s.id)
		case errors.Is(err, ErrSealed):
			o.Closed, o.Example = append(o.Closed, s.id), err
		}
	}
	return o, nil
}

// None reports whether there are credentials, and none that open.
func (o *Opening) None() bool { return len(o.Closed) > 0 && len(o.Open) == 0 }

// errFound ends a search.
var errFound = errors.New("found")

// FindOpen returns a portal whose credentials open; "" when there is none. Where
// few open or none it reads all portals: for those whom a sample, which may miss
// the few, would tell the wrong thing.
func (r *Registry) FindOpen(ctx context.Context) (id string, err error) {
	err = r.pages(ctx, func(ids []string) error {
		all, err := r.read(ctx, ids)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.raw == "" {
				continue
			}
			if _, err := r.portal(s); err == nil {
				id = s.id
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return id, err
}
