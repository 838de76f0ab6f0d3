// What the tests share: a fleet in one process, on an in-memory Redis and portals
// in a box, whose spans are kept.

package tracing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/traced/tracing"
	"botfleet/ratelimit"
	"botfleet/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	acme   = "acme.bitrix24.ru"
	secret = "w3bh00k-s3cr3t"
	csv    = "portal,webhook,client_id\n" + acme + ",https://" + acme + "/rest/1/" + secret + "/,my-app\n"
)

type stand struct {
	t      *testing.T
	base   *engine.Base
	cfg    config.Config
	box    *sandbox.Sandbox
	kept   *tracetest.InMemoryExporter
	client *tasks.Client
	key    string
}

// newStand is a stand without a worker.
func newStand(t *testing.T, sampler sdktrace.Sampler, together int, list string, opts ...sandbox.Option) *stand {
	t.Helper()
	mem, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mem.Close)
	s := &stand{t: t, key: portals.NewKey(), kept: tracetest.NewInMemoryExporter()}
	s.box = sandbox.New(append([]sandbox.Option{sandbox.WithUnknownHosts(sandbox.Cloud(""))}, opts...)...)
	if err := s.box.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.box.Close)
	if s.cfg, err = config.Load([]string{"REDIS_URL=" + mem.URL(), "SECRETS_KEY=" + s.key}, config.Flags{}); err != nil {
		t.Fatal(err)
	}
	if s.base, err = engine.Open(t.Context(), s.cfg, s.cfg.RedisURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.base.Close() })
	entries, err := portals.Read(strings.NewReader(list), portals.CSV, "portals", bitrix.Endpoints{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.base.Registry.Import(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.kept), sdktrace.WithSampler(tracing.Sampler(sampler)))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	s.base.Tracer = tracing.New(p, tracing.Options{Together: together})
	s.client = s.base.Client(s.cfg, time.Hour, ratelimit.NewLocal(ratelimit.Config{}))
	return s
}

func bots(portal string, n int) []tasks.Registration {
	all := make([]tasks.Registration, n)
	for i := range all {
		all[i] = tasks.Registration{Portal: portal, Bot: bitrix.Bot{
			Code: fmt.Sprintf("bot%03d", i), EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"},
		}}
	}
	return all
}

// submit queues rows.
func (s *stand) submit(ctx context.Context, run string, rows ...tasks.Registration) {
	s.t.Helper()
	got, err := s.client.Submit(ctx, run, rows...)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range got {
		if r.Status != tasks.ReceiptQueued {
			s.t.Fatalf("%+v", r)
		}
	}
}

// work runs a worker until a condition holds, nil: until the run has ended.
func (s *stand) work(run string, until func() bool) {
	s.t.Helper()
	w, err := s.base.StartWorker(s.t.Context(), s.cfg, engine.WorkerOptions{
		Transport: s.box.Transport(), Private: true, Log: slog.New(slog.DiscardHandler), Version: "test",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Stop()
	if until == nil {
		if err := s.base.Runs.Seal(s.t.Context(), run); err != nil {
			s.t.Fatal(err)
		}
		until = func() bool {
			info, err := s.base.Runs.Get(s.t.Context(), run)
			return err == nil && info.Finished()
		}
	}
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !until() {
		select {
		case <-deadline:
			s.t.Fatal("it did not happen in 30 s")
		case <-tick.C:
		}
	}
}

// named are the ended spans of a name.
func (s *stand) named(name string) (all []tracetest.SpanStub) {
	for _, span := range s.kept.GetSpans() {
		if span.Name == name {
			all = append(all, span)
		}
	}
	return all
}

// one is the only span of a name.
func (s *stand) one(name string) tracetest.SpanStub {
	s.t.Helper()
	all := s.named(name)
	if len(all) != 1 {
		s.t.Fatalf("%d spans are called %q", len(all), name)
	}
	return all[0]
}

// attr is an attribute as text; "" where there is none.
func attr(span tracetest.SpanStub, key string) string {
	for _, a := range span.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

// childOf fails unless child is parent's, in its trace.
func (s *stand) childOf(child, parent tracetest.SpanStub) {
	s.t.Helper()
	if child.Parent.SpanID() != parent.SpanContext.SpanID() || child.SpanContext.TraceID() != parent.SpanContext.TraceID() {
		s.t.Errorf("%q is no child of %q", child.Name, parent.Name)
	}
}

func linked(from tracetest.SpanStub, to trace.SpanContext) bool {
	for _, l := range from.Links {
		if l.SpanContext.TraceID() == to.TraceID() && l.SpanContext.SpanID() == to.SpanID() {
			return true
		}
	}
	return false
}

// text is all that is exported of all spans.
func (s *stand) text() string {
	s.t.Helper()
	var b strings.Builder
	for _, span := range s.kept.GetSpans() {
		raw, err := json.Marshal(span)
		if err != nil {
			s.t.Fatal(err)
		}
		b.Write(raw)
		fmt.Fprintf(&b, " %+v\n", span.Attributes)
	}
	return b.String()
}
