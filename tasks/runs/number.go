// Row numbers for producers that have none of their own.

package runs

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var numberScript = redis.NewScript(`
local used = redis.call('HMGET', KEYS[1], 'max_row', 'given')
local last = math.max(tonumber(used[1]) or 0, tonumber(used[2]) or 0)
redis.call('HSET', KEYS[1], 'given', string.format('%.0f', last + tonumber(ARGV[1])))
return last + 1`)

// Number reserves n row numbers at the end of a run, and returns the first.
func (s *Store) Number(ctx context.Context, run string, n int) (int, error) {
	first, err := numberScript.Run(ctx, s.rdb, []string{key(run, "meta")}, n).Int()
	if err != nil {
		return 0, fmt.Errorf("number rows of run %s: %w", run, err)
	}
	return first, nil
}
