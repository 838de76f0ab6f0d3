package export

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"botfleet/cmd/internal/built"
	"botfleet/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsWrongWithTheVariablesIsSaidWithoutTheirValues(t *testing.T) {
	for _, c := range []struct{ environ, says string }{
		{"OTEL_TRACES_EXPORTER=zipkin", "otlp or none"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "grpc is not built in"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=hunter2", "needed is http/protobuf"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "needed is a URL"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:hunter2@collector:4318", "have no effect"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://[hunter2", "needed is a URL"},
		{"OTEL_EXPORTER_OTLP_HEADERS=authorization=hunter2%2", "needed are pairs"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS=hunter2", "needed are pairs"},
		{"OTEL_TRACES_SAMPLER=hunter2", "needed is always_on"},
		{"OTEL_TRACES_SAMPLER=traceidratio,OTEL_TRACES_SAMPLER_ARG=2", "a share from 0 to 1"},
		{"OTEL_TRACES_SAMPLER=traceidratio,OTEL_TRACES_SAMPLER_ARG=NaN", "a share from 0 to 1"},
	} {
		_, err := read(strings.Split(c.environ, ","))
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.environ, err)
		}
	}
}

func TestSamplersHaveTheNamesOfTheStandard(t *testing.T) {
	for name, want := range map[string]sdktrace.Sampler{
		"":                         sdktrace.ParentBased(sdktrace.AlwaysSample()),
		"always_on":                sdktrace.AlwaysSample(),
		"always_off":               sdktrace.NeverSample(),
		"traceidratio":             sdktrace.TraceIDRatioBased(0.25),
		"parentbased_always_on":    sdktrace.ParentBased(sdktrace.AlwaysSample()),
		"parentbased_always_off":   sdktrace.ParentBased(sdktrace.NeverSample()),
		"parentbased_traceidratio": sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.25)),
	} {
		got, err := sampler(name, "0.25")
		if err != nil || got.Description() != want.Description() {
			t.Errorf("%q is %v, %v", name, got, err)
		}
	}
}

func TestTracesCanBeTurnedOff(t *testing.T) {
	for _, v := range []string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none"} {
		tracer, end, err := As("x")(t.Context(), []string{v}, slog.New(slog.DiscardHandler))
		if tracer != nil || end != nil || err != nil {
			t.Errorf("%s: %v, %v", v, tracer, err)
		}
	}
}

const credential = "s3cr3t-t0ken"

// start makes a tracer that sends to a URL, with a log that is returned.
func start(t *testing.T, to string) (log *built.Output, span func(), end func(context.Context) error) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+credential)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	log = &built.Output{}
	tracer, end, err := As("botfleet-test")(t.Context(), []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + to}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	span = func() {
		_, done := tracer.Queueing(t.Context(), tasks.TracedRow{Run: "r", Row: 1, Portal: "p", Code: "c"})
		done(tasks.ReceiptQueued, nil)
	}
	return log, span, end
}

func TestTracesReachTheCollector(t *testing.T) {
	c := newCollector(t)
	log, span, end := start(t, c.URL+"/base")
	span()
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.named()["queue row"] != 1 || c.service != "botfleet-test" || c.path != "/base/v1/traces" || c.header.Get("Authorization") != "Bearer "+credential {
		t.Errorf("%v of %q on %s with %v", c.named(), c.service, c.path, c.header)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log.String())
	}
}

// A collector that refuses, with an answer that quotes the request, is told of once.
func TestARefusingCollectorIsToldOfOnceAndSaysNothing(t *testing.T) {
	c := newCollector(t)
	c.answer(http.StatusUnauthorized)
	log, span, end := start(t, c.URL)
	for range 3 {
		span()
		span()
	}
	err := end(t.Context())
	if err == nil || !strings.Contains(err.Error(), "6 spans could not be sent") {
		t.Errorf("%v", err)
	}
	if n := strings.Count(log.String(), "traces are lost"); n != 1 || !strings.Contains(log.String(), "the collector answers 401 Unauthorized") {
		t.Errorf("told %d times: %s", n, log.String())
	}
	if strings.Contains(log.String()+err.Error(), credential) {
		t.Errorf("a credential is in %s, %v", log.String(), err)
	}
}

// Nobody listens: spans cost no wait, and the end keeps to its time.
func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	c := newCollector(t)
	c.Close()
	log, span, end := start(t, c.URL)
	began := time.Now()
	for range 10_000 { // more than the queue takes
		span()
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("10,000 spans took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began = time.Now()
	if end(ctx) == nil {
		t.Error("lost spans are not told of")
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("ended after %s", took)
	}
	if strings.Contains(log.String(), credential) || strings.Count(log.String(), "traces are lost") > 1 {
		t.Errorf("logged: %s", log.String())
	}
}

// flaky is an exporter that fails as long as it is told.
type flaky struct{ err error }

func (f *flaky) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }
func (f *flaky) Shutdown(context.Context) error                             { return nil }

func TestThatTracesAreSentAgainIsTold(t *testing.T) {
	var log built.Output
	to := &flaky{err: context.DeadlineExceeded}
	e := &exporter{next: to, log: slog.New(slog.NewTextHandler(&log, nil))}
	spans := make([]sdktrace.ReadOnlySpan, 3)
	for _, err := range []error{context.DeadlineExceeded, context.DeadlineExceeded, nil, nil, context.DeadlineExceeded} {
		to.err = err
		if got := e.ExportSpans(t.Context(), spans); got != nil {
			t.Error(got)
		}
	}
	if strings.Count(log.String(), "traces are lost") != 2 || strings.Count(log.String(), "lost_spans=6") != 1 {
		t.Errorf("logged: %s", log.String())
	}
}
