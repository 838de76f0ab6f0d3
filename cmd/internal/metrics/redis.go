// What Redis tells of its memory.

package metrics

import (
	"context"

	"botfleet/cmd/internal/redisconn"
)

// Redis tells of itself; every client of go-redis does.
type Redis = redisconn.Asker

func askRedis(from Redis) question {
	return func(ctx context.Context, emit emit) error {
		all, err := redisconn.Servers(ctx, from)
		if err != nil {
			return err
		}
		m := redisconn.Fullest(all)
		if m.Used == 0 {
			return nil // an embedded one, which does not tell
		}
		emit(redisUsed, float64(m.Used))
		emit(redisMax, float64(m.Max))
		return nil
	}
}
