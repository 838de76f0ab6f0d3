// What Redis tells of itself: memory, eviction, persistence, role.

package redisconn

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Server is one Redis that keeps data: the only one, or a master of a cluster.
// An embedded one tells nothing; then Version is empty.
type Server struct {
	Version string
	// Used and Max are bytes; Max is 0 when there is no bound.
	Used, Max int64
	// Policy is maxmemory-policy: what happens when Max is reached.
	Policy string
	AOF    bool // every change is written to disk
	// ReadOnly: it is a replica that takes no writes.
	ReadOnly bool
}

// Asker is the part of a client that [Servers] needs; every client has it.
type Asker interface {
	Info(ctx context.Context, sections ...string) *redis.StringCmd
}

// Servers asks a Redis, or every master of a cluster, of itself.
func Servers(ctx context.Context, from Asker) ([]Server, error) {
	cluster, ok := from.(*redis.ClusterClient)
	if !ok {
		one, err := ask(ctx, from)
		return []Server{one}, err
	}
	var mu sync.Mutex
	var all []Server
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		one, err := ask(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, one)
		return err
	})
	return all, err
}

// ask asks for everything, as an embedded Redis refuses to be asked for a part.
func ask(ctx context.Context, from Asker) (Server, error) {
	text, err := from.Info(ctx).Result()
	if err != nil {
		return Server{}, fmt.Errorf("ask redis of itself: %w", err)
	}
	info := readInfo(text)
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64) // 0: not told
		return n
	}
	role := info["role"]
	return Server{
		Version: info["redis_version"], Used: number("used_memory"), Max: number("maxmemory"), Policy: info["maxmemory_policy"],
		AOF:      info["aof_enabled"] == "1",
		ReadOnly: (role == "slave" || role == "replica") && info["slave_read_only"] != "0",
	}, nil
}

// Share is how much of its memory a Redis uses, from 0 to about 1; 0 when there
// is no bound.
func (s Server) Share() float64 {
	if s.Max <= 0 {
		return 0
	}
	return float64(s.Used) / float64(s.Max)
}

// Loses reports whether a full Redis deletes keys to make room.
func (s Server) Loses() bool { return s.Max > 0 && s.Policy != "" && s.Policy != "noeviction" }

// Fullest is the one of several with the smallest share of its memory left.
func Fullest(all []Server) Server {
	var worst Server
	for i, s := range all {
		if i == 0 || s.Share() > worst.Share() || s.Share() == worst.Share() && s.Used > worst.Used {
			worst = s
		}
	}
	return worst
}
