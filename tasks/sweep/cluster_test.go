// A Cluster of two masters: tasks are found on both, and scripts keep to one slot.

package sweep

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
)

func TestOnACluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	b := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	one, other := redistest.Client(t, a.URL), redistest.Client(t, b.URL)
	// Each has one of the queues.
	last := min(one.ClusterKeySlot(ctx, prefix(queue)).Val(), one.ClusterKeySlot(ctx, prefix("portals-1")).Val())
	must(t, one.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, last).Err())
	must(t, other.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", last+1, 16383).Err())
	host, port, err := net.SplitHostPort(b.Addr)
	must(t, err)
	must(t, one.Do(ctx, "CLUSTER", "MEET", host, port).Err())
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{a.Addr, b.Addr}})
	t.Cleanup(func() { _ = client.Close() })
	w := newWorld(t, client)
	w.until(func() bool {
		return strings.Contains(one.ClusterInfo(ctx).Val(), "cluster_state:ok") && strings.Contains(other.ClusterInfo(ctx).Val(), "cluster_state:ok")
	})

	const n = 400
	regs := make([]tasks.Registration, n)
	for i := range regs {
		regs[i] = reg(fmt.Sprintf("p%d", i%40), fmt.Sprintf("bot%d", i/40))
	}
	_, err = w.Submit(ctx, "r", regs...)
	must(t, err)
	r, err := w.sweeper.Pass(ctx)
	if err != nil || r.Tasks != n || r.Rows != n || r.Total() != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.vandalise(rand.New(rand.NewPCG(1, 0)), n)
	for range 5 {
		if _, err := w.sweeper.Pass(ctx); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(nil)
	w.everyWaitingRowHasATask("r", n)
	w.finish("r")
}
