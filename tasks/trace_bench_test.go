// What rows cost a producer and a handler, with and without a tracer.

package tasks_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

func BenchmarkRow(b *testing.B) {
	for _, tracer := range []struct {
		name string
		tasks.Tracer
	}{{"no tracer", nil}, {"recorder", &recorder{}}} {
		b.Run("submit/"+tracer.name, func(b *testing.B) {
			f := newBenched(b, tracer.Tracer)
			n := 0
			for b.Loop() {
				if _, err := f.Submit(b.Context(), "r1", reg(fmt.Sprint("bot", n))); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
		b.Run("handle/"+tracer.name, func(b *testing.B) {
			f := newBenched(b, tracer.Tracer)
			if _, err := f.Submit(b.Context(), "r1", reg("a")); err != nil {
				b.Fatal(err)
			}
			body, err := tasks.Payload{Run: "r1", Row: 1, PortalID: "p1", Portal: portal, Code: "a"}.Encode()
			if err != nil {
				b.Fatal(err)
			}
			task := asynq.NewTask(tasks.TypeName, body) // the first time it is registered, and then there is nothing left to do
			for b.Loop() {
				if err := f.handler.ProcessTask(b.Context(), task); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func newBenched(b *testing.B, tracer tasks.Tracer) *fleet {
	b.Helper()
	rdb := redistest.Client(b, redistest.Start(b).URL)
	dir := directory{portal: {ID: "p1", Name: portal, Queue: queue, Kind: portals.Webhook, ClientID: "app"}}
	f := &fleet{runs: runs.New(rdb, runs.Options{TTL: time.Hour}), redis: rdb}
	f.Client = tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: asynq.NewInspectorFromRedisClient(rdb),
		Portals: dir, Runs: f.runs, Retention: time.Hour, Tracer: tracer,
	})
	f.handler = &tasks.Handler{
		Runs: f.runs, Portals: dir, Do: f, Log: slog.New(slog.DiscardHandler), Now: time.Now, Tracer: tracer,
		Policy: tasks.Policy{MaxAttempts: 3, HoldTTL: time.Hour},
	}
	return f
}
