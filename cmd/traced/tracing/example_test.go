package tracing_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/traced/tracing"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// A service that has OpenTelemetry already gives its provider to the client. What
// it submits while it serves a request is part of that request's trace, and goes
// on in the workers, if they are those of this module.
func Example() {
	ctx := context.Background()
	kept := tracetest.NewInMemoryExporter() // a service has an exporter of its own here
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
	defer func() { _ = provider.Shutdown(ctx) }()

	mem := miniredis.NewMiniRedis()
	if err := mem.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer mem.Close()
	rdb := redis.NewClient(&redis.Options{Addr: mem.Addr()})
	defer func() { _ = rdb.Close() }()
	registry, err := withAcme(ctx, rdb)
	if err != nil {
		fmt.Println(err)
		return
	}
	client := tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: asynq.NewInspectorFromRedisClient(rdb),
		Portals: registry, Runs: runs.New(rdb, runs.Options{}), Retention: time.Hour,
		Tracer: tracing.New(provider, tracing.Options{}),
	})

	ctx, span := provider.Tracer("shop").Start(ctx, "POST /connect")
	receipts, err := client.Submit(ctx, "onboarding", tasks.Registration{Portal: acme, Bot: bitrix.Bot{
		Code: "helper", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"},
	}})
	span.End()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receipts[0].Status)
	for _, s := range kept.GetSpans() {
		fmt.Println(s.Name, s.SpanContext.TraceID() == span.SpanContext().TraceID())
	}
	// Output:
	// queued
	// queue row true
	// submit true
	// POST /connect true
}

// withAcme returns a registry that knows one portal.
func withAcme(ctx context.Context, rdb redis.UniversalClient) (*portals.Registry, error) {
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		return nil, err
	}
	entries, err := portals.Read(strings.NewReader(csv), portals.CSV, "portals", bitrix.Endpoints{})
	if err != nil {
		return nil, err
	}
	registry := portals.New(rdb, keys, portals.Options{})
	_, err = registry.Import(ctx, entries)
	return registry, err
}
