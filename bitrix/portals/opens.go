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
	Closed []string // ids of those whose credentials do not open
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
		if _, err := r.portal(s); errors.Is(err, ErrSealed) {
			o.Closed, o.Example = append(o.Closed, s.id), err
		}
	}
	return o, nil
}
