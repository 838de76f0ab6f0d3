// Redis behind Sentinels fails over.

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
)

// sentinels watch a master and its replica, all over TLS and with users.
type sentinels struct {
	by    *authority
	redis []*member // the first one is the master
	watch []*member
}

// startSentinels starts three, of which two have to agree. They put the replica in
// the master's place a second after it has gone.
func startSentinels(t *testing.T) *sentinels {
	t.Helper()
	s := &sentinels{by: newAuthority(t)}
	addrs := freeAddrs(t, 5)
	host, port, _ := strings.Cut(addrs[0], ":")
	s.redis = append(s.redis, newMember(t, s.by, addrs[0], redisLines),
		newMember(t, s.by, addrs[1], append([]string{"replicaof " + host + " " + port}, redisLines...)))
	for _, addr := range addrs[2:] {
		s.watch = append(s.watch, newMember(t, s.by, addr, []string{
			watchUser,
			"sentinel sentinel-user operator", "sentinel sentinel-pass " + operatorPassword,
			fmt.Sprintf("sentinel monitor fleet %s %s 2", host, port),
			"sentinel auth-user fleet operator", "sentinel auth-pass fleet " + operatorPassword,
			"sentinel down-after-milliseconds fleet 1000", "sentinel failover-timeout fleet 5000",
		}, "--sentinel"))
	}
	for _, m := range s.watch {
		client := redis.NewSentinelClient(m.client.Options())
		t.Cleanup(func() { _ = client.Close() })
		await(t, 30*time.Second, "the sentinels to know the replica and each other", func() bool {
			replicas, err := client.Replicas(t.Context(), "fleet").Result()
			others, err2 := client.Sentinels(t.Context(), "fleet").Result()
			return err == nil && err2 == nil && len(others) == 2 &&
				len(replicas) == 1 && replicas[0]["master-link-status"] == "ok" && replicas[0]["flags"] == "slave"
		})
	}
	return s
}

// url is the master as the fleet's user reaches it.
func (s *sentinels) url() string {
	parameters := s.by.parameters()
	parameters.Set("sentinel_username", "watch")
	parameters.Set("sentinel_password", watchPassword)
	return fmt.Sprintf("rediss-sentinel://fleet:%s@%s,%s/fleet?%s", neturl.PathEscape(fleetPassword), s.watch[0].addr, s.watch[1].addr, parameters.Encode())
}

// The master is killed under the load of two workers, and its replica takes over:
// the workers go on with it. What the replica had not heard of may be done again;
// no row is lost, and no bot is there twice.
func TestFailoverOfRedis(t *testing.T) {
	turn(t)
	s := startSentinels(t)
	env := busySettings(s.url())
	everyCommand(t, env, append(slices.Clone(s.watch), s.redis...)...)
	f, rows := busyFleet(t)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	workers := []*process{startWorker(t, env...), startWorker(t, env...)}
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "fleet", SentinelAddrs: []string{s.watch[2].addr}, TLSConfig: s.by.trust,
		Username: "operator", Password: operatorPassword, SentinelUsername: "operator", SentinelPassword: operatorPassword,
	})
	t.Cleanup(func() { _ = client.Close() })
	t.Log(failingOver(t, f, client, "", func() {
		noneDenied(t, s.redis[0])
		s.redis[0].kill()
	}))
	results := resultsOf(t, env, run, len(rows), 3*time.Minute)
	allRegistered(t, f, results)
	tellOf(t, results)
	onceEach(t, f, len(rows))
	for _, w := range workers {
		pagesWork(t, w)
		w.stop(20 * time.Second)
	}
	noneDenied(t, append(slices.Clone(s.watch), s.redis[1])...)
}
