// What befalls a cluster: a node comes back, slots move to another one.

//go:build !race

package e2e

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// masterOf is the node that has a key's slot.
func (c *cluster) masterOf(key string) *member {
	c.t.Helper()
	ctx := c.t.Context()
	for _, m := range c.nodes {
		slots, err := m.client.ClusterSlots(ctx).Result() //nolint:staticcheck // what is to be used instead is of Redis 7.0
		if err != nil {
			continue // the one that was killed
		}
		slot := m.client.ClusterKeySlot(ctx, key).Val()
		for _, s := range slots {
			if int64(s.Start) <= slot && slot <= int64(s.End) {
				return c.nodes[slices.IndexFunc(c.nodes, func(m *member) bool { return m.addr == s.Nodes[0].Addr })]
			}
		}
	}
	c.t.Fatalf("nobody has the slot of %s", key)
	return nil
}

// otherThan is another master.
func (c *cluster) otherThan(from *member) *member {
	c.t.Helper()
	for n := range 100 {
		if m := c.masterOf(strconv.Itoa(n)); m != from {
			return m
		}
	}
	c.t.Fatal("there is but one master")
	return nil
}

// do sends a node a command.
func (c *cluster) do(m *member, args ...any) any {
	c.t.Helper()
	answer, err := m.client.Do(c.t.Context(), args...).Result()
	if err != nil {
		c.t.Fatalf("%v at %s: %v", args, m.addr, err)
	}
	return answer
}

// restart starts the node that was killed, and waits until all know that it is there.
func (c *cluster) restart() {
	c.t.Helper()
	for _, m := range c.nodes {
		if m.cmd == nil {
			m.start()
		}
	}
	await(c.t, 30*time.Second, "the cluster to be whole", func() bool {
		for _, m := range c.nodes {
			if nodes := m.client.ClusterNodes(c.t.Context()).Val(); nodes == "" || strings.Contains(nodes, "fail") {
				return false
			}
		}
		return true
	})
}

// move moves a key's slot to another master a few keys at a time, as redis-cli
// does, but any slot.
func (c *cluster) move(key string) {
	c.t.Helper()
	from := c.masterOf(key)
	to := c.otherThan(from)
	slot := c.do(from, "cluster", "keyslot", key).(int64)
	c.do(to, "cluster", "setslot", slot, "importing", c.do(from, "cluster", "myid"))
	c.do(from, "cluster", "setslot", slot, "migrating", c.do(to, "cluster", "myid"))
	host, port, _ := strings.Cut(to.addr, ":")
	began, moved := time.Now(), 0
	for {
		keys := c.do(from, "cluster", "getkeysinslot", slot, 20).([]any)
		if len(keys) == 0 {
			break
		}
		c.do(from, append([]any{"migrate", host, port, "", 0, 5000, "auth2", "operator", operatorPassword, "keys"}, keys...)...)
		moved += len(keys)
	}
	c.do(to, "cluster", "setslot", slot, "node", c.do(to, "cluster", "myid"))
	c.do(from, "cluster", "setslot", slot, "node", c.do(to, "cluster", "myid"))
	c.t.Logf("slot %d of %s moved, with %d keys, within %v", slot, key, moved, time.Since(began).Round(time.Millisecond))
}

// reshard moves slots from one master to another as an operator does.
func (c *cluster) reshard(slots int) {
	c.t.Helper()
	from := c.masterOf("any")
	to := c.otherThan(from)
	began := time.Now()
	redisCLI(c.t, c.by, "--cluster", "reshard", from.addr,
		"--cluster-from", c.do(from, "cluster", "myid").(string), "--cluster-to", c.do(to, "cluster", "myid").(string),
		"--cluster-slots", strconv.Itoa(slots), "--cluster-yes")
	c.t.Logf("%d slots moved within %v", slots, time.Since(began).Round(time.Millisecond))
}
