// Clients of a Redis Cluster.

package redisconn

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// mapEvery is how old a client's map of the cluster may become. A master that
	// has died tells nobody who has its slots now, so that this, after the cluster's
	// own time for it, is what a failover costs. Its answer is some hundred bytes.
	mapEvery = time.Second
	// storeTries is how often a command of [Store] is sent in all: with go-redis'
	// pauses, from 10 ms doubling to 1 s, for 2 s or so. That is longer than a slot
	// takes to move to another node, which stops scripts of several keys.
	storeTries = 10
	// clusterTrips is how many shared trips may be under way, each for its part of
	// the slots. One that meets a dead node waits, so that a few would stop what is
	// for the other nodes too.
	clusterTrips = 16
)

// open opens a client.
func (c Config) open(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode {
		return redis.NewUniversalClient(o)
	}
	// A command is repeated by the cluster's client, which looks each time who has
	// its slot, and not by that of a node, which would ask a dead one again and again.
	switch {
	case o.MaxRetries == 0:
		o.MaxRedirects = storeTries
	case o.MaxRetries > 0:
		o.MaxRedirects = o.MaxRetries
	}
	// Who wants no repeats still follows a slot to its node, go-redis' three times.
	o.MaxRetries = -1
	// Dialling is repeated with the command, too.
	o.DialerRetries = 1
	co := o.Cluster()
	co.ClusterStateReloadInterval = mapEvery
	return redis.NewClusterClient(co)
}

// sortedShared is [Shared] for a cluster. Trips have to be sorted by node, or one
// node that is down would stop them all: go-redis' own do that, at some more cost.
type sortedShared struct {
	redis.UniversalClient
	sorted *redis.AutoPipeliner
}

func sharedCluster(c *redis.ClusterClient) redis.UniversalClient {
	o := *redis.DefaultBlockingAutoPipelineOptions()
	o.NumShards = clusterTrips
	sorted, err := c.AutoPipelineWithOptions(&o)
	if err != nil {
		return c
	}
	return &sortedShared{c, sorted}
}

// EvalSha implements [redis.Scripter].
func (s *sortedShared) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if looksForTask(keys) {
		return s.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	cmd := s.sorted.EvalSha(ctx, sha, keys, args...)
	if refusedByNode(cmd.Err()) {
		return s.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	return cmd
}

// HGet implements [redis.Cmdable].
func (s *sortedShared) HGet(ctx context.Context, key, field string) *redis.StringCmd {
	cmd := s.sorted.HGet(ctx, key, field)
	if refusedByNode(cmd.Err()) {
		return s.UniversalClient.HGet(ctx, key, field)
	}
	return cmd
}

// HSet implements [redis.Cmdable].
func (s *sortedShared) HSet(ctx context.Context, key string, values ...any) *redis.IntCmd {
	cmd := s.sorted.HSet(ctx, key, values...)
	if refusedByNode(cmd.Err()) {
		return s.UniversalClient.HSet(ctx, key, values...)
	}
	return cmd
}

// refusedByNode reports whether a node has not run a command, for a reason that
// passes: go-redis repeats such a command when it travels alone, but of those on
// a shared trip only the first.
func refusedByNode(err error) bool {
	if err == nil {
		return false
	}
	word, _, _ := strings.Cut(err.Error(), " ")
	switch word {
	case "CLUSTERDOWN", "TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "MOVED", "ASK":
		return true
	}
	return false
}
