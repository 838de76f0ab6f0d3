// The kinds of Redis that the registry is tested on.

package portals_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/ratelimit/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onBoth runs a subtest on a real redis-server and on an in-memory one, beside
// other tests.
func onBoth(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Parallel()
	bothKinds(t, f)
}

// onAll is onBoth and a Cluster, which takes seconds to come up: for tests
// that between them use every script and pipeline.
func onAll(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Parallel()
	t.Run("cluster", func(t *testing.T) {
		t.Parallel() // most of it is waiting
		node := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
		makeCluster(t, redistest.Client(t, node.URL))
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{node.Addr}})
		t.Cleanup(func() { _ = client.Close() })
		f(t, client)
	})
	bothKinds(t, f)
}

func bothKinds(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) { f(t, client) })
}

// makeCluster makes a node a Cluster of its own.
func makeCluster(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	if err := client.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func(ctx context.Context) bool {
		return client.Set(ctx, "probe", 1, time.Second).Err() == nil
	})
}

// eventually asks until it is so, for at most 20 s.
func eventually(tb testing.TB, what string, so func(context.Context) bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !so(ctx) {
		select {
		case <-ctx.Done():
			tb.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}
