// What a pass costs a Redis, and how long one takes if it may.

package sweep

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// BenchmarkPass looks at waiting rows and their tasks, all well.
func BenchmarkPass(b *testing.B) {
	for _, rows := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			rdb := redistest.Client(b, redistest.Start(b).URL)
			dir := &directory{removed: map[string]bool{}}
			store := runs.New(rdb, runs.Options{})
			client := tasks.NewClient(tasks.ClientConfig{
				Queue: asynq.NewClientFromRedisClient(rdb), Inspector: asynq.NewInspectorFromRedisClient(rdb), Portals: dir, Runs: store,
			})
			for from := 0; from < rows; from += 1000 {
				regs := make([]tasks.Registration, 1000)
				for i := range regs {
					regs[i] = reg(fmt.Sprintf("p%d", (from+i)%200), fmt.Sprintf("bot%d", from+i))
				}
				if _, err := client.Submit(b.Context(), "r", regs...); err != nil {
					b.Fatal(err)
				}
			}
			w := &world{redis: rdb, runs: store, portals: dir, Client: client, meter: &counter{mended: map[string]int{}}}
			s := New(w.config())
			cpu, commands := spent(b, rdb)
			calls := 0
			rdb.AddHook(counting{&calls})
			for b.Loop() {
				r, err := s.Pass(b.Context())
				if err != nil || r.Rows != rows || r.Tasks != rows || r.Total() != 0 {
					b.Fatalf("%+v, %v", r, err)
				}
			}
			sent := calls
			cpuAfter, commandsAfter := spent(b, rdb)
			n := float64(b.N)
			b.ReportMetric(float64(sent)/n, "sent/op")
			b.ReportMetric((commandsAfter-commands)/n, "commands/op")
			b.ReportMetric((cpuAfter-cpu).Seconds()*1000/n, "redis-ms/op")
		})
	}
}

// spent is the CPU time and the commands of a Redis until now, scripts' own included.
func spent(b *testing.B, rdb redis.UniversalClient) (cpu time.Duration, commands float64) {
	b.Helper()
	info, err := rdb.InfoMap(b.Context(), "cpu", "stats").Result()
	if err != nil {
		b.Fatal(err)
	}
	number := func(section, name string) float64 {
		n, err := strconv.ParseFloat(strings.TrimSpace(info[section][name]), 64)
		if err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		return n
	}
	seconds := number("CPU", "used_cpu_user") + number("CPU", "used_cpu_sys")
	return time.Duration(seconds * float64(time.Second)), number("Stats", "total_commands_processed")
}

// counting counts what is sent.
type counting struct{ n *int }

func (c counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		*c.n++
		return next(ctx, cmd)
	}
}

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		*c.n += len(cmds)
		return next(ctx, cmds)
	}
}
