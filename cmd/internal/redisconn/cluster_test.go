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

// tagsNear are two hash tags whose slots, not the same, are served by one trip.
func tagsNear(t *testing.T, client *redis.Client) (a, b string, slotA int) {
	t.Helper()
	for n := range 10_000 {
		tag := "{" + strconv.Itoa(n) + "}"
		slot := int(client.ClusterKeySlot(t.Context(), tag).Val())
		switch {
		case slot >= 1024: // another trip's
		case a == "":
			a, slotA = tag, slot
		case slot != slotA:
			return a, tag, slotA
		}
	}
	t.Fatal("no such tags")
	return "", "", 0
}

// A slot that nobody serves for a while, as those of a master that has died:
// commands on shared trips wait for it, each of them and none is answered with the
// trouble.
func TestSharedOnAClusterWaits(t *testing.T) {
	ctx := t.Context()
	node := redistest.Start(t, redistest.Set("cluster-enabled", "yes"), redistest.Set("cluster-require-full-coverage", "no"))
	operator := redistest.Client(t, node.URL).(*redis.Client)
	if err := operator.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return strings.Contains(operator.ClusterInfo(ctx).Val(), "cluster_state:ok") })
	c, err := redisconn.Parse("redis-cluster://" + node.Addr)
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(redisconn.Engine)
	t.Cleanup(func() { _ = client.Close() })
	shared := redisconn.Shared(client)
	lost, kept, slot := tagsNear(t, operator)
	if err := shared.HSet(ctx, lost, "f", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := operator.ClusterDelSlots(ctx, slot).Err(); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for n := range 100 {
		for _, tag := range []string{kept, lost} {
			waiting.Go(func() { useShared(t, shared, tag+strconv.Itoa(n), n) })
		}
	}
	await(t, func() bool { return strings.Contains(operator.Info(ctx, "errorstats").Val(), "errorstat_CLUSTERDOWN") })
	if err := operator.ClusterAddSlots(ctx, slot).Err(); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
}

// useShared sends one of each command that is shared.
func useShared(t *testing.T, shared redis.UniversalClient, key string, n int) {
	ctx := t.Context()
	if err := shared.HSet(ctx, key, "f", n).Err(); err != nil {
		t.Error(err)
	}
	if err := shared.EvalSha(ctx, strings.Repeat("0", 40), []string{key}).Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Error(err)
	}
	if got, err := shared.HGet(ctx, key, "f").Int(); err != nil || got != n {
		t.Errorf("%s: %d, %v", key, got, err)
	}
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
