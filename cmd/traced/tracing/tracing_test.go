// From a submission through a worker to a portal, and what is exported of it.

package tracing_test

import (
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"botfleet/bitrix/sandbox"
	"botfleet/tasks"
)

func TestOneBotIsOneTrace(t *testing.T) {
	s := newStand(t, sdktrace.ParentBased(sdktrace.AlwaysSample()), 0, csv)
	s.submit(t.Context(), "r1", bots(acme, 1)...)
	s.work("r1", nil)
	submit, queued, turn, request := s.one("submit"), s.one("queue row"), s.one("register bot"), s.one("imbot.register")
	s.childOf(queued, submit)
	s.childOf(turn, queued)
	s.childOf(request, turn)
	for _, want := range []struct {
		span     tracetest.SpanStub
		key, has string
	}{
		{submit, "botfleet.run", "r1"},
		{submit, "botfleet.rows", "1"},
		{queued, "botfleet.row", "1"},
		{queued, "botfleet.portal", acme},
		{queued, "botfleet.code", "bot000"},
		{queued, "botfleet.receipt", "queued"},
		{turn, "botfleet.verdict", "registered"},
		{turn, "botfleet.how", "created"},
		{turn, "botfleet.attempts", "1"},
		{request, "server.address", acme},
		{request, "botfleet.outcome", "answered"},
		{request, "http.response.status_code", "200"},
		{request, "botfleet.rows", "1"},
	} {
		if got := attr(want.span, want.key); got != want.has {
			t.Errorf("%s of %q is %q, not %q", want.key, want.span.Name, got, want.has)
		}
	}
	if submit.Parent.IsValid() || queued.SpanKind != trace.SpanKindProducer || turn.SpanKind != trace.SpanKindConsumer || request.SpanKind != trace.SpanKindClient {
		t.Error("kinds of spans")
	}
}

// Rows of a large submission have traces of their own; batches link to them.
func TestRowsOfALargeSubmissionHaveTheirOwnTraces(t *testing.T) {
	const rows = 120
	s := newStand(t, sdktrace.ParentBased(sdktrace.AlwaysSample()), 0, csv)
	s.submit(t.Context(), "r1", bots(acme, rows)...)
	s.work("r1", nil)
	submit := s.one("submit")
	queued := map[trace.TraceID]tracetest.SpanStub{}
	for _, q := range s.named("queue row") {
		if q.Parent.IsValid() || !linked(q, submit.SpanContext) {
			t.Fatal("a row is not the root of a trace that links to its submission")
		}
		queued[q.SpanContext.TraceID()] = q
	}
	if len(queued) != rows {
		t.Fatalf("%d traces for %d rows", len(queued), rows)
	}
	turns := map[trace.SpanID]tracetest.SpanStub{}
	for _, turn := range s.named("register bot") {
		s.childOf(turn, queued[turn.SpanContext.TraceID()])
		turns[turn.SpanContext.SpanID()] = turn
	}
	carried := 0
	batches := s.named("batch")
	for _, b := range batches {
		if len(b.Links) < 2 { // one row alone that travels as a batch is its row's child
			continue
		}
		if b.Parent.IsValid() {
			t.Error("a batch of several rows is a child")
		}
		for _, l := range b.Links {
			turn, ok := turns[l.SpanContext.SpanID()]
			if !ok || !linked(turn, b.SpanContext) {
				t.Fatal("a batch and its row do not link to each other")
			}
			carried++
		}
	}
	if carried == 0 {
		t.Errorf("none of %d requests carried several rows", len(batches))
	}
	t.Logf("%d turns of %d rows; %d of them in %d batches", len(turns), rows, carried, len(batches))
}

// What a sampler keeps of rows it keeps of their batches, and no others.
func TestBatchesAreKeptWithTheirRows(t *testing.T) {
	s := newStand(t, sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.1)), -1, csv)
	s.submit(t.Context(), "r1", bots(acme, 120)...)
	s.work("r1", nil)
	turns := map[trace.SpanID]bool{}
	for _, turn := range s.named("register bot") {
		turns[turn.SpanContext.SpanID()] = true
	}
	if len(turns) > 60 {
		t.Errorf("%d turns are kept, of 120 rows at a tenth", len(turns))
	}
	batches := map[trace.SpanID]bool{}
	for _, b := range s.named("batch") {
		batches[b.SpanContext.SpanID()] = true
		kept := b.Parent.IsValid()
		for _, l := range b.Links {
			kept = kept || turns[l.SpanContext.SpanID()]
		}
		if !kept {
			t.Error("a batch is kept of which no row is")
		}
	}
	for _, turn := range s.named("register bot") {
		for _, l := range turn.Links {
			if !batches[l.SpanContext.SpanID()] {
				t.Error("a row is kept whose batch is not")
			}
		}
	}
}

// A row that waits for a held portal, and a call that fails: their words, and no secret.
func TestWaitsAndErrorsAreToldAndSecretsAreNot(t *testing.T) {
	const oauth, token, refresh = "oauth.bitrix24.ru", "0auth-t0ken-0f-acme", "r3fr3sh-t0ken-0f-acme"
	list := "portal,webhook,client_id,access_token,refresh_token,member_id\n" +
		acme + ",https://" + acme + "/rest/1/" + secret + "/,my-app,,,\n" +
		"flaky.bitrix24.ru,https://flaky.bitrix24.ru/rest/1/" + secret + "2/,my-app,,,\n" +
		oauth + ",,," + token + "," + refresh + ",abcdef0123456789abcdef0123456789\n"
	s := newStand(t, sdktrace.AlwaysSample(), 0, list)
	inject(t, s, acme, sandbox.Fault{Kind: sandbox.Refuse, Code: "ACCESS_DENIED"})
	inject(t, s, "flaky.bitrix24.ru", sandbox.Fault{Kind: sandbox.HTML, Count: 1})
	s.submit(t.Context(), "r1", bots(acme, 1)...)
	s.submit(t.Context(), "r2", bots("flaky.bitrix24.ru", 1)...)
	s.submit(t.Context(), "r3", bots(oauth, 1)...)
	verdicts := func(portal string) (all []string) {
		for _, turn := range s.named("register bot") {
			if attr(turn, "botfleet.portal") == portal {
				all = append(all, attr(turn, "botfleet.verdict")+" "+attr(turn, "botfleet.wait.reason"))
			}
		}
		return all
	}
	s.work("", func() bool {
		return len(verdicts(acme)) > 0 && len(verdicts("flaky.bitrix24.ru")) > 0 && len(verdicts(oauth)) > 0
	})
	if got := verdicts(acme)[0]; !strings.HasPrefix(got, "deferred portal held: ACCESS_DENIED") {
		t.Error(got)
	}
	if got := verdicts("flaky.bitrix24.ru")[0]; !strings.HasPrefix(got, "retry attempt 1: NOT_JSON") {
		t.Error(got)
	}
	all := s.text()
	if !strings.Contains(all, "ACCESS_DENIED") || !strings.Contains(all, oauth) {
		t.Error("what was looked at is not all")
	}
	for _, hidden := range []string{secret, token, refresh, s.key, "/rest/", "https://bots.example.com"} {
		if strings.Contains(all, hidden) {
			t.Errorf("%q is in what is exported", hidden)
		}
	}
}

func TestWhatIsSubmittedBelongsToTheCallersTrace(t *testing.T) {
	s := newStand(t, sdktrace.AlwaysSample(), 0, csv)
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	s.submit(trace.ContextWithSpanContext(t.Context(), parent), "r1", bots(acme, 2)...)
	for _, q := range s.named("queue row") {
		if q.SpanContext.TraceID() != parent.TraceID() {
			t.Error("a row left the caller's trace")
		}
	}
	got, err := s.client.Submit(t.Context(), "r2", bots(acme, 1)...)
	if err != nil || got[0].Status != tasks.ReceiptDuplicate {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(s.named("queue row")); n != 3 || attr(s.named("queue row")[2], "botfleet.receipt") != "duplicate" {
		t.Errorf("%d rows", n)
	}
}

func inject(t *testing.T, s *stand, portal string, f sandbox.Fault) {
	t.Helper()
	if err := s.box.AddPortal(sandbox.Cloud(portal)).Inject(f); err != nil {
		t.Fatal(err)
	}
}
