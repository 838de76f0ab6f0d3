// Redis behind a Sentinel fails over.

//go:build !race

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// startSentinel watches a master, and puts its replica in its place a second after
// it has gone. It returns the sentinel's address, and a client of it.
func startSentinel(t *testing.T, master string) (string, *redis.SentinelClient) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	host, port, _ := net.SplitHostPort(master)
	_, own, _ := net.SplitHostPort(addr)
	path := filepath.Join(t.TempDir(), "sentinel.conf") // which it rewrites
	conf := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor fleet %s %s 1\nsentinel down-after-milliseconds fleet 1000\nsentinel failover-timeout fleet 5000\n",
		own, t.TempDir(), host, port)
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", path, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := redis.NewSentinelClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	await(t, 30*time.Second, "the sentinel to know the replica", func() bool {
		replicas, err := client.Replicas(t.Context(), "fleet").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok" && replicas[0]["flags"] == "slave"
	})
	return addr, client
}

// The master is killed under load, and its replica takes over: the worker goes on
// with it. What the replica had not heard of may be done again; no row is lost, and
// no bot is there twice.
func TestFailoverOfRedis(t *testing.T) {
	t.Parallel()
	f, rows := busyFleet(t)
	master := redistest.Start(t, redistest.AOF())
	replica := redistest.Start(t, redistest.AOF(), redistest.Set("replicaof", strings.Replace(master.Addr, ":", " ", 1)))
	addr, sentinel := startSentinel(t, master.Addr)
	env := busySettings("redis-sentinel://" + addr + "/fleet")
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w := startWorker(t, env...)
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
	master.Kill()
	await(t, 30*time.Second, "the replica to take over", func() bool {
		now, err := sentinel.GetMasterAddrByName(t.Context(), "fleet").Result()
		return err == nil && strings.Join(now, ":") == replica.Addr
	})
	for _, r := range resultsOf(t, env, run, len(rows), 3*time.Minute) {
		if r.Status != "registered" {
			t.Errorf("%+v", r)
		}
	}
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	awaitReady(t, w, true, 10*time.Second)
	w.stop(20 * time.Second)
}
