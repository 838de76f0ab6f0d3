// Which portals were changed: so that a cache forgets those and no others.

package portals

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// listedChanges is of how many portals the last change is listed: 2.6 MB of
// Redis, and more portals than a [Cache] of [DefaultCacheSize] keeps.
const listedChanges = 20_000

//go:embed announce.lua
var announceSource string

//go:embed changes.lua
var changesSource string

var changesScript = redis.NewScript(changesSource)

// changing is a script that announces changes.
func changing(source string) *redis.Script { return redis.NewScript(announceSource + source) }

// announcing are the arguments that such a script begins with.
func (r *Registry) announcing() []any { return []any{randomVersion(), r.listed} }

// Version changes whenever a portal or a hold does. It begins at a random
// number, so that a Redis that lost its data does not repeat old versions; 0
// means that nothing was ever stored.
func (r *Registry) Version(ctx context.Context) (int64, error) {
	v, err := r.redis.Get(ctx, keyVersion).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("read the portals' version: %w", err)
	}
	return v, nil
}

// changes is what became of the registry since a version.
type changes struct {
	version int64    // the present one
	loud    bool     // more than pairs of tokens is new
	whole   bool     // ids are all that were changed; otherwise any may be
	ids     []string // of changed and removed portals
}

func (r *Registry) changes(ctx context.Context, since int64) (changes, error) {
	got, err := changesScript.Run(ctx, r.redis, []string{keyVersion, keyChanges, keyMarks}, since).StringSlice()
	if err != nil {
		return changes{}, fmt.Errorf("read which portals changed: %w", err)
	}
	version, err := strconv.ParseInt(got[0], 10, 64)
	if err != nil {
		return changes{}, fmt.Errorf("read the portals' version: %w", err)
	}
	return changes{version: version, loud: got[1] == "1", whole: got[2] == "1", ids: got[3:]}, nil
}
