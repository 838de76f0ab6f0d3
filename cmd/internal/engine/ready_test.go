// What a worker says of a Redis that does not do what it should.

package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
)

func TestReadyTurnsRedAndGreenAgain(t *testing.T) {
	b, cfg := opened(t, key())
	w := started(t, b, cfg, sandbox.Start(t))
	for _, c := range []struct{ name, want string }{
		{"full", "Redis is full"}, {"replica", "Redis takes no writes"}, {"away", "Redis does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := w.Ready(t.Context()); err != nil {
				t.Fatalf("before: %v", err)
			}
			admin := redistest.Client(t, cfg.RedisURL)
			fail := &failing{command: "set"}
			var err error
			switch c.name {
			case "full":
				err = admin.ConfigSet(t.Context(), "maxmemory", "1").Err()
			case "replica":
				err = admin.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err()
			default:
				b.Redis.AddHook(fail)
				fail.left.Store(1000)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %s", err, c.want)
			}
			fail.left.Store(0)
			_ = admin.ConfigSet(t.Context(), "maxmemory", "0").Err()
			if err := admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			if err := w.Ready(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	if got := b.Warnings(t.Context()); len(got) != 0 {
		t.Fatal(got)
	}
	admin := redistest.Client(t, cfg.RedisURL)
	if err := admin.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(b.Warnings(t.Context()), "\n"); !strings.Contains(got, "of its maxmemory") {
		t.Errorf("%q", got)
	}
	if err := b.Room(t.Context()); !errors.Is(err, tasks.ErrFull) || !strings.Contains(err.Error(), "no new run is begun") {
		t.Error(err)
	}
	if err := admin.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	p, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	pipe := admin.Pipeline()
	for i := range archiveNear {
		pipe.ZAdd(t.Context(), "asynq:{"+p.Queue+"}:archived", z(i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(b.Warnings(t.Context()), "\n"); !strings.Contains(got, p.Queue+" has 7200 archived tasks") {
		t.Errorf("%q", got)
	}
}

func TestARedisThatEvictsIsRefusedUnlessAllowed(t *testing.T) {
	server := redistest.Start(t, redistest.MaxMemory("50mb"), redistest.Set("maxmemory-policy", "volatile-lru"))
	for _, allow := range []string{"false", "true"} {
		cfg, err := config.Load([]string{"REDIS_URL=" + server.URL, "ALLOW_EVICTION=" + allow}, config.Flags{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), cfg, cfg.RedisURL)
		if (err == nil) != (allow == "true") || err != nil && !(errors.Is(err, ErrEvicts) && strings.Contains(err.Error(), "volatile-lru")) {
			t.Errorf("ALLOW_EVICTION=%s: %v", allow, err)
		}
		if b != nil && b.Close() != nil {
			t.Error("close")
		}
	}
}

func z(i int) redis.Z { return redis.Z{Score: float64(i), Member: i} }
