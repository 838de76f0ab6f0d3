// What Redis tells of its memory.

package metrics

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Redis tells of itself; every client of go-redis does.
type Redis interface {
	Info(ctx context.Context, sections ...string) *redis.StringCmd
}

// memory is what one Redis uses, and may use, in bytes; most is 0 when there is no bound.
type memory struct{ used, most float64 }

func askRedis(from Redis) question {
	return func(ctx context.Context, emit emit) error {
		all, err := memories(ctx, from)
		if err != nil {
			return fmt.Errorf("ask redis for its memory: %w", err)
		}
		if len(all) == 0 {
			return nil // an embedded one, which does not tell
		}
		m := fullest(all)
		emit(redisUsed, m.used)
		emit(redisMax, m.most)
		return nil
	}
}

// memories asks a Redis, or every master of a cluster.
func memories(ctx context.Context, from Redis) ([]memory, error) {
	cluster, ok := from.(*redis.ClusterClient)
	if !ok {
		return memoryOf(ctx, from)
	}
	var mu sync.Mutex
	var all []memory
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		one, err := memoryOf(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, one...)
		return err
	})
	return all, err
}

// memoryOf asks one Redis. It asks for everything, as an embedded one refuses
// to be asked for its memory.
func memoryOf(ctx context.Context, from Redis) ([]memory, error) {
	text, err := from.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	var m memory
	told := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_memory":
			m.used, err = strconv.ParseFloat(value, 64)
			told = err == nil
		case "maxmemory":
			m.most, _ = strconv.ParseFloat(value, 64)
		}
	}
	if !told {
		return nil, nil
	}
	return []memory{m}, nil
}

// fullest is the one that has the smallest share of its memory left.
func fullest(all []memory) memory {
	worst := all[0]
	for _, m := range all[1:] {
		if m.share() > worst.share() || m.share() == worst.share() && m.used > worst.used {
			worst = m
		}
	}
	return worst
}

func (m memory) share() float64 {
	if m.most <= 0 {
		return 0
	}
	return m.used / m.most
}
