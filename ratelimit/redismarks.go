// Sending marks in Redis: they outlive the process that set them.

package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisMarks keeps one key per mark, botfleet:{PORTAL}:sending:CODE, whose
// value is the owner. A portal's keys share a cluster's slot.
type redisMarks struct {
	client redis.UniversalClient
}

// NewRedisMarks returns marks kept in Redis 6.2 or later, a cluster, or what
// speaks its protocol. Each question is one round trip. Their ends are measured by
// Redis' own clock.
func NewRedisMarks(client redis.UniversalClient) Marks { return redisMarks{client: client} }

// setMarks answers for each key 0 when it is now the owner's, and otherwise for
// how many milliseconds another's mark still stands.
var setMarks = redis.NewScript(`
local left = {}
for i, key in ipairs(KEYS) do
  if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', key) == ARGV[1] then
    left[i] = 0
  else
    left[i] = redis.call('PTTL', key)
    if left[i] == -1 then -- not one of ours, but it must end as well
      redis.call('PEXPIRE', key, ARGV[2])
      left[i] = tonumber(ARGV[2])
    end
    if left[i] < 1 then left[i] = 1 end
  end
end
return left
`)

// clearMarks removes the keys that are the owner's, or all for the empty owner.
var clearMarks = redis.NewScript(`
for _, key in ipairs(KEYS) do
  if ARGV[1] == '' or redis.call('GET', key) == ARGV[1] then
    redis.call('DEL', key)
  end
end
return 0
`)

func (m redisMarks) Set(ctx context.Context, portal string, codes []string, owner string, ttl time.Duration) (map[int]time.Time, error) {
	taken := make(map[int]time.Time)
	if len(codes) == 0 {
		return taken, nil
	}
	ms := max(1, ttl.Milliseconds())
	left, err := setMarks.Run(ctx, m.client, markKeys(portal, codes), owner, ms).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("set sending marks of portal %q: %w", portal, err)
	}
	if len(left) != len(codes) {
		return nil, fmt.Errorf("set sending marks of portal %q: %d answers for %d codes", portal, len(left), len(codes))
	}
	now := time.Now()
	for i, ms := range left {
		if ms <= 0 {
			continue
		}
		taken[i] = now.Add(time.Duration(ms) * time.Millisecond)
	}
	return taken, nil
}

func (m redisMarks) Clear(ctx context.Context, portal string, codes []string, owner string) error {
	if len(codes) == 0 {
		return nil
	}
	if err := clearMarks.Run(ctx, m.client, markKeys(portal, codes), owner).Err(); err != nil {
		return fmt.Errorf("clear sending marks of portal %q: %w", portal, err)
	}
	return nil
}
