// A Redis Cluster: over TLS, with a user of the least rights, every command on it,
// its nodes killed and its slots moved under load.

//go:build !race

package e2e

import (
	"fmt"
	neturl "net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/built"
)

// cluster is three masters, each with a replica.
type cluster struct {
	t     *testing.T
	by    *authority
	nodes []*member
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, by: newAuthority(t)}
	lines := append(slices.Clone(redisLines), "cluster-enabled yes", "tls-cluster yes", "cluster-node-timeout 2000")
	addrs := freeAddrs(t, 6)
	for _, addr := range addrs {
		c.nodes = append(c.nodes, newMember(t, c.by, addr, lines))
	}
	redisCLI(t, c.by, append(append([]string{"--cluster", "create"}, addrs...), "--cluster-replicas", "1", "--cluster-yes")...)
	await(t, 30*time.Second, "every master to have its replica", func() bool {
		n := 0
		for _, m := range c.nodes {
			info := m.client.Info(t.Context(), "replication").Val()
			if strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up") {
				n++
			}
		}
		return n == 3
	})
	return c
}

// url is the cluster as the fleet's user reaches it.
func (c *cluster) url() string {
	return fmt.Sprintf("rediss-cluster://fleet:%s@%s,%s?%s", neturl.PathEscape(fleetPassword), c.nodes[0].addr, c.nodes[1].addr, c.by.parameters().Encode())
}

// client is the operator's.
func (c *cluster) client() *redis.ClusterClient {
	c.t.Helper()
	o := &redis.ClusterOptions{
		TLSConfig: c.by.trust, Username: "operator", Password: operatorPassword,
		DialerRetries: 1, ClusterStateReloadInterval: 100 * time.Millisecond,
	}
	for _, m := range c.nodes {
		o.Addrs = append(o.Addrs, m.addr)
	}
	client := redis.NewClusterClient(o)
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestCluster(t *testing.T) {
	turn(t)
	c := startCluster(t)
	env := busySettings(c.url())
	t.Run("commands", func(t *testing.T) { everyCommand(t, env, c.nodes...) })
	t.Run("trouble", func(t *testing.T) { clusterInTrouble(t, c, env) })
	noneDenied(t, c.nodes...)
}

// pagesWork wants a worker's pages to be whole.
func pagesWork(t *testing.T, w *process) {
	t.Helper()
	awaitReady(t, w, true, 10*time.Second)
	for path, want := range map[string]string{"/": "</html>", "/dashboard/api/queues": portals.QueueName(0), "/dashboard/api/redis_info": `"info":{`} {
		if got := page(t, w, path); !strings.Contains(got, want) {
			t.Errorf("%s has no %q: %s", path, want, built.Tail(got))
		}
	}
	metrics := page(t, w, "/metrics")
	for _, want := range []string{`botfleet_rows_registered_total{how="created"}`, "botfleet_redis_memory_used_bytes ", "botfleet_portals{"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "botfleet_scrape_errors_total") && !strings.HasSuffix(line, " 0\n") {
			t.Errorf("metrics: %s", line)
		}
	}
}

// clusterInTrouble: under the load of two workers a master is killed, its replica
// takes over, the killed one comes back, and slots move. No row is lost, and none
// has two bots.
func clusterInTrouble(t *testing.T, c *cluster, env []string) {
	f, first := busyFleet(t)
	second := goodRows(f.names, 30)
	for _, r := range second {
		r["CODE"] = "second_" + r["CODE"]
	}
	runs := []string{submitted(t, env, "--portals", f.file(), writeJSONL(t, first))}
	workers := []*process{startWorker(t, env...), startWorker(t, env...)}
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })

	client, queue := c.client(), "asynq:{"+portals.QueueName(0)+"}:"
	master := c.masterOf(queue)
	gap := failingOver(t, f, client, queue, func() {
		noneDenied(t, master)
		master.kill()
	})
	runs = append(runs, submitted(t, env, writeJSONL(t, second)))
	await(t, time.Minute, "bots to be made again", func() bool { return f.created() >= 900 })
	c.restart()
	c.move(queue)
	c.move("botfleet:{run:" + runs[1] + "}:")
	c.reshard(300)
	t.Logf("%v; %d of %d bots were made when the last slot had moved", gap, f.created(), len(first)+len(second))
	for i, run := range runs {
		results := resultsOf(t, env, run, []int{len(first), len(second)}[i], 3*time.Minute)
		allRegistered(t, f, results)
		tellOf(t, results)
	}
	onceEach(t, f, len(first)+len(second))
	for _, w := range workers {
		pagesWork(t, w)
		w.stop(20 * time.Second)
	}
}
