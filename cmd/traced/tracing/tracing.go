// Package tracing follows registrations with OpenTelemetry: from their submission
// through the queue to the portal. A [Tracer] goes into tasks.ClientConfig,
// tasks.Handler and dispatch.Config; the commands of this module do that by
// themselves.
//
// # Traces
//
// A submission is a span of its own. Each row that it queues begins a trace of its
// own, linked to the submission's, in which the row's turns in workers follow,
// however many there are and however long it waits between them. A run of a
// million rows in one trace could neither be shown by any backend nor be
// sampled: all of it would be kept, or nothing. A submission of a few rows
// ([Options].Together), as by a service that registers the bots of one customer,
// takes its rows into its own trace, which is that of the caller's context.
//
// A request that carries one row is a child of that row's turn. A batch is the
// root of a trace of its own with links to its rows' turns, and they link to it.
//
//	submit ◄─link─ queue row ──► turn (deferred) ──► turn (registered) ◄─links─► batch
//	                                                 └─► imbot.register, where it went alone
//
// # What spans never hold
//
// Paths and query strings of addresses (a webhook's secret is in its path), tokens,
// secrets, or names and photos of bots. Portals, CODEs and what portals say of
// errors, scrubbed as everywhere, they do.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"botfleet/tasks"
	"botfleet/tasks/dispatch"
)

// Scope is the name of the instrumentation scope of all spans.
const Scope = "botfleet/cmd/traced/tracing"

// DefaultTogether is how many rows a submission may have at most for them to be
// part of its own trace: about as many as a customer's bots, and as a trace
// that is looked at as a whole.
const DefaultTogether = 50

// Options of a Tracer. The zero value is ready to use.
type Options struct {
	// Together is how many rows a submission may have for them to be part of its
	// own trace. 0: DefaultTogether; -1: none ever are.
	Together int
}

// Tracer makes spans of what happens to rows. Its methods are for packages tasks
// and dispatch, and may be called from many goroutines.
type Tracer struct {
	tracer   trace.Tracer
	carrier  propagation.TraceContext // W3C's; baggage is the caller's and stays with it
	together int
}

var (
	_ tasks.Tracer    = (*Tracer)(nil)
	_ dispatch.Tracer = (*Tracer)(nil)
)

// New returns a tracer of a provider, which stays the caller's to shut down. Its
// sampler should be made by [Sampler], or batches are sampled apart from their rows.
func New(p trace.TracerProvider, o Options) *Tracer {
	if o.Together == 0 {
		o.Together = DefaultTogether
	}
	return &Tracer{tracer: p.Tracer(Scope), together: o.Together}
}

// Names of attributes. All are strings but where the name says otherwise.
const (
	keyRun      = attribute.Key("botfleet.run")
	keyRows     = attribute.Key("botfleet.rows") // int
	keyRow      = attribute.Key("botfleet.row")  // int: the row's number in its run
	keyPortal   = attribute.Key("botfleet.portal")
	keyCode     = attribute.Key("botfleet.code")        // of the bot
	keyReceipt  = attribute.Key("botfleet.receipt")     // queued, registered, duplicate
	keyFailures = attribute.Key("botfleet.failures")    // int: calls without success before this turn
	keyVerdict  = attribute.Key("botfleet.verdict")     // registered, dead, retry, deferred, done
	keyUntil    = attribute.Key("botfleet.wait.until")  // RFC 3339
	keyReason   = attribute.Key("botfleet.wait.reason") // in words
	keyBotID    = attribute.Key("botfleet.bot_id")      // int
	keyHow      = attribute.Key("botfleet.how")         // created, updated, skipped, recovered
	keyClass    = attribute.Key("botfleet.error.class") // validation, blocked, …
	keyMethod   = attribute.Key("botfleet.method")      // REST method of a request
	keyOutcome  = attribute.Key("botfleet.outcome")     // of a request, as far as limits are concerned
	keyAttempts = attribute.Key("botfleet.attempts")    // int: calls that the row has cost in all
	keyError    = attribute.Key("error.type")           // the portal's code
	keyMessage  = attribute.Key("botfleet.error.text")  // what the portal says, scrubbed
	keyStatus   = attribute.Key("http.response.status_code")
	keyAddress  = attribute.Key("server.address")
	keyPort     = attribute.Key("server.port")
	keySystem   = attribute.Key("messaging.system")
	keyType     = attribute.Key("messaging.operation.type")
)

// submission is what a submission's context holds for its rows.
type submission struct {
	span     trace.Span
	together bool
}

type submissionKey struct{}

// Submitting implements [tasks.Tracer].
func (t *Tracer) Submitting(ctx context.Context, run string, rows int) (context.Context, func(error)) {
	ctx, span := t.tracer.Start(ctx, "submit", trace.WithAttributes(keyRun.String(run), keyRows.Int(rows)))
	ctx = context.WithValue(ctx, submissionKey{}, submission{span: span, together: rows <= t.together})
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// Queueing implements [tasks.Tracer].
func (t *Tracer) Queueing(ctx context.Context, r tasks.TracedRow) (map[string]string, func(tasks.ReceiptStatus, error)) {
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(rowAttributes(r), keySystem.String("asynq"), keyType.String("create"))...),
	}
	if s, ok := ctx.Value(submissionKey{}).(submission); ok && !s.together {
		opts = append(opts, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: s.span.SpanContext()}))
	}
	ctx, span := t.tracer.Start(ctx, "queue row", opts...)
	headers := propagation.MapCarrier{}
	t.carrier.Inject(ctx, headers)
	return headers, func(status tasks.ReceiptStatus, err error) {
		if status != "" {
			span.SetAttributes(keyReceipt.String(string(status)))
		}
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

func rowAttributes(r tasks.TracedRow) []attribute.KeyValue {
	return []attribute.KeyValue{
		keyRun.String(r.Run), keyRow.Int(r.Row), keyPortal.String(r.Portal), keyCode.String(r.Code),
	}
}
