package ratelimit

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// BenchmarkShared asks before a request and tells after it, as BenchmarkLocal
// does. redis-µs/op is the CPU time that Redis spends on both together.
func BenchmarkShared(b *testing.B) {
	client := redistest.Client(b, redistest.Start(b).URL)
	for _, c := range []struct {
		name    string
		portals int
		rows    int
		work    time.Duration
	}{
		{"plain", 1, 1, 0}, {"plain,portals=10000", 10_000, 1, 0}, {"plain,batch=50", 1, 50, 0},
		{"budget", 1, 1, 20 * time.Hour}, {"budget,batch=50", 1, 50, 20 * time.Hour},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := NewShared(SharedConfig{Redis: client})
			limits := Limits{Rate: highestRate, Burst: highestBurst, Operating: c.work, OperatingWindow: 24 * time.Hour}
			ids := make([]string, c.portals)
			for i := range ids {
				ids[i] = c.name + strconv.Itoa(i)
			}
			codes := make([]string, c.rows)
			for i := range codes {
				codes[i] = "helper" + strconv.Itoa(i)
			}
			ctx := context.Background()
			done := time.Duration(0)
			before := redisCPU(b, client)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d, err := s.Acquire(ctx, Request{
					Portal: ids[i%c.portals], Limits: limits, Credential: "c", Method: "imbot.register",
					Rows: c.rows, Codes: codes, MarkFor: time.Minute,
				})
				if err != nil || len(d.Go) == 0 {
					b.Fatalf("%+v, %v", d, err)
				}
				done += time.Millisecond
				a := Answer{Outcome: Answered, Ran: len(d.Go), HasOperating: c.work > 0, Operating: done}
				if err := s.Observe(ctx, d.Ticket, a); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((redisCPU(b, client)-before)*1e6/float64(b.N), "redis-µs/op")
		})
	}
}

// redisCPU is the CPU time that the server has used, in seconds.
func redisCPU(b *testing.B, client redis.UniversalClient) (seconds float64) {
	b.Helper()
	info, err := client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			part, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += part
		}
	}
	return seconds
}
