// What traces cost: rows from submission to their end, on a real Redis with
// portals that answer at once.

package tracing_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/traced/tracing"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
)

// nowhere takes spans as a collector would, and forgets them.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

func BenchmarkRows(b *testing.B) {
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
	}{{"none", nil}, {"all", sdktrace.AlwaysSample()}, {"1%", sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))}} {
		b.Run("traces="+c.name, func(b *testing.B) {
			var tracer engine.Tracer
			if c.sampler != nil {
				p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}), sdktrace.WithSampler(tracing.Sampler(c.sampler)))
				defer func() { _ = p.Shutdown(context.Background()) }()
				tracer = tracing.New(p, tracing.Options{})
			}
			benchRows(b, tracer)
		})
	}
}

// benchRows times b.N rows over 50 portals, and tells what a waiting row takes of Redis.
func benchRows(b *testing.B, tracer engine.Tracer) {
	cfg, err := config.Load([]string{"REDIS_URL=" + redistest.Start(b).URL, "SECRETS_KEY=" + portals.NewKey()}, config.Flags{})
	if err != nil {
		b.Fatal(err)
	}
	base, err := engine.Open(b.Context(), cfg, cfg.RedisURL)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = base.Close() }()
	base.Tracer = tracer
	transport := inBox(b)
	rows := make([]tasks.Registration, b.N)
	var entries []portals.Entry
	for i := range 50 {
		name := fmt.Sprintf("portal%02d.bitrix24.ru", i)
		access, err := bitrix.ParseWebhook("https://" + name + "/rest/1/s3cr3t/")
		if err != nil {
			b.Fatal(err)
		}
		limits := ratelimit.Limits{Rate: 10_000, Burst: 100_000, OperatingWindow: time.Minute}
		entries = append(entries, portals.Entry{
			Name: name, ClientID: "app", Plan: portals.Enterprise, Limits: limits, ServerTimeout: time.Minute, Access: access,
		})
	}
	if _, err := base.Registry.Import(b.Context(), entries); err != nil {
		b.Fatal(err)
	}
	for i := range rows {
		rows[i] = tasks.Registration{Portal: entries[i%50].Name, Bot: bitrix.Bot{
			Code: fmt.Sprint("bot", i), EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"},
		}}
	}
	client := base.Client(cfg, time.Hour, nil)
	before := usedMemory(b, base.Redis)
	b.ResetTimer()
	if _, err := client.Submit(b.Context(), "r1", rows...); err != nil {
		b.Fatal(err)
	}
	submitted := b.Elapsed()
	b.StopTimer()
	memory := usedMemory(b, base.Redis) - before
	b.StartTimer()
	if err := base.Runs.Seal(b.Context(), "r1"); err != nil {
		b.Fatal(err)
	}
	w, err := base.StartWorker(b.Context(), cfg, engine.WorkerOptions{Transport: transport, Log: slog.New(slog.DiscardHandler), Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	for done := false; !done; {
		<-time.After(10 * time.Millisecond)
		info, err := base.Runs.Get(b.Context(), "r1")
		if err != nil {
			b.Fatal(err)
		}
		done = info.Finished() && info.Counts.Registered == b.N
	}
	b.StopTimer()
	w.Stop()
	b.ReportMetric(float64(b.N)/submitted.Seconds(), "submitted/s")
	b.ReportMetric(float64(b.N)/(b.Elapsed()-submitted).Seconds(), "registered/s")
	b.ReportMetric(float64(memory)/float64(b.N), "redisB/row")
}

// inBox is a transport to portals without limits.
func inBox(b *testing.B) http.RoundTripper {
	b.Helper()
	like := sandbox.Cloud("")
	like.Plan, like.Rate, like.Burst, like.OperatingLimit, like.MaxBotsPerApp = "none", 0, 0, 0, 0
	box := sandbox.New(sandbox.WithUnknownHosts(like))
	if err := box.Open(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(box.Close)
	return box.Transport()
}

func usedMemory(b *testing.B, rdb redis.UniversalClient) (n int) {
	b.Helper()
	text, err := rdb.InfoMap(b.Context(), "memory").Result()
	if err == nil {
		_, err = fmt.Sscan(text["Memory"]["used_memory"], &n)
	}
	if err != nil {
		b.Fatal(err)
	}
	return n
}
