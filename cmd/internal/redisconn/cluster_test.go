package redisconn_test

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

// freeAddr is an address whose port is free at this moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A cluster that is down for a while, as one is whose master has died: commands on
// shared trips wait for it, each of them, and none is answered with the trouble.
func TestSharedOnAClusterWaits(t *testing.T) {
	ctx := t.Context()
	node := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	operator := redistest.Client(t, node.URL).(*redis.Client)
	if err := operator.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	state := func(want string) {
		t.Helper()
		await(t, func() bool { return strings.Contains(operator.ClusterInfo(ctx).Val(), "cluster_state:"+want) })
	}
	state("ok")
	c, err := redisconn.Parse("redis-cluster://" + node.Addr)
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(redisconn.Engine)
	t.Cleanup(func() { _ = client.Close() })
	shared := redisconn.Shared(client)
	if err := shared.HSet(ctx, "{k}", "f", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := operator.ClusterDelSlots(ctx, 0).Err(); err != nil {
		t.Fatal(err)
	}
	state("fail")
	var all sync.WaitGroup
	for n := range 300 {
		all.Go(func() {
			// Of one slot, so that they share trips.
			if err := shared.HSet(ctx, "{k}"+strconv.Itoa(n), "f", n).Err(); err != nil {
				t.Error(err)
			}
			if err := shared.EvalSha(ctx, "0000000000000000000000000000000000000000", []string{"{k}"}).Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
				t.Error(err)
			}
			if got, err := shared.HGet(ctx, "{k}"+strconv.Itoa(n), "f").Int(); err != nil || got != n {
				t.Errorf("%d: %d, %v", n, got, err)
			}
		})
	}
	await(t, func() bool { return strings.Contains(operator.Info(ctx, "errorstats").Val(), "errorstat_CLUSTERDOWN") })
	if err := operator.ClusterAddSlots(ctx, 0).Err(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}

// await waits until cond holds.
func await(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	bound := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-bound:
			t.Fatal("waited for 20 s")
		case <-tick.C:
		}
	}
}
