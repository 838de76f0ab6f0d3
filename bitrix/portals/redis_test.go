// The two kinds of Redis that the registry is tested on. The programs' own
// test helper is internal to them.

package portals_test

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onBoth runs a subtest on a real redis-server and on an in-memory one.
func onBoth(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) { f(t, connect(t, startRedis(t))) })
	t.Run("in memory", func(t *testing.T) {
		f(t, connect(t, miniredis.RunT(t).Addr()))
	})
}

// onAll is onBoth and a Cluster, which takes seconds to come up: for tests
// that between them use every script and pipeline.
func onAll(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	onBoth(t, f)
	t.Run("cluster", func(t *testing.T) {
		addr := startRedis(t, "--cluster-enabled", "yes")
		makeCluster(t, addr)
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}})
		t.Cleanup(func() { _ = client.Close() })
		f(t, client)
	})
}

func connect(tb testing.TB, addr string) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: addr})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// startRedis starts a redis-server that ends with the test.
func startRedis(tb testing.TB, args ...string) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = l.Close()
	cmd := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1",
		"--dir", tb.TempDir(), "--save", "", "--appendonly", "no"}, args...)...)
	if err := cmd.Start(); err != nil {
		tb.Fatalf("these tests need redis-server in PATH: %v", err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := connect(tb, addr)
	eventually(tb, "redis-server answers", func(ctx context.Context) bool { return client.Ping(ctx).Err() == nil })
	return addr
}

func makeCluster(t *testing.T, addr string) {
	t.Helper()
	client := connect(t, addr)
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
	for ticker := time.NewTicker(10 * time.Millisecond); !so(ctx); {
		select {
		case <-ctx.Done():
			tb.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}
