package sweep

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

func TestZZMeasure(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		return
	}
	b := testing.TB(t)
	rdb := redistest.Client(b, redistest.Start(b).URL)
	dir := &directory{removed: map[string]bool{}}
	store := runs.New(rdb, runs.Options{})
	client := tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: asynq.NewInspectorFromRedisClient(rdb), Portals: dir, Runs: store,
	})
	const rows = 100_000
	for from := 0; from < rows; from += 1000 {
		regs := make([]tasks.Registration, 1000)
		for i := range regs {
			regs[i] = reg(fmt.Sprintf("p%d", (from+i)%1000), fmt.Sprintf("bot%d", from+i))
		}
		if _, err := client.Submit(context.Background(), "r", regs...); err != nil {
			b.Fatal(err)
		}
	}
	w := &world{redis: rdb, runs: store, portals: dir, Client: client, meter: &counter{mended: map[string]int{}}}
	calls := 0
	rdb.AddHook(counting{&calls})
	one := func(what string, c Config) {
		bb := &testing.B{}
		_ = bb
		i0, _ := rdb.InfoMap(context.Background(), "cpu", "stats").Result()
		calls = 0
		began := time.Now()
		r, err := New(c).Pass(context.Background())
		i1, _ := rdb.InfoMap(context.Background(), "cpu", "stats").Result()
		t.Logf("%s: %v err=%v took=%v sent=%d", what, r, err, time.Since(began), calls)
		for _, k := range []string{"used_cpu_user", "used_cpu_sys"} {
			t.Logf("   %s %s -> %s", k, i0["CPU"][k], i1["CPU"][k])
		}
		t.Logf("   commands %s -> %s", i0["Stats"]["total_commands_processed"], i1["Stats"]["total_commands_processed"])
	}
	fast := w.config()
	fast.Age = time.Nanosecond
	one("healthy, unlimited", fast)
	c := fast
	c.Rate = 0
	one("healthy, 2000/s", c)
	keys, _ := rdb.Keys(context.Background(), "asynq:*").Result()
	for len(keys) > 0 {
		n := min(len(keys), 1000)
		rdb.Del(context.Background(), keys[:n]...)
		keys = keys[n:]
	}
	c = fast
	c.Settle = 5 * time.Second
	one("all tasks lost, unlimited", c)
	one("again", c)
}
