// A row's turns in a worker.

package tracing

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// turn is one turn of a row. It belongs to its handler's goroutine.
type turn struct {
	span trace.Span
	told bool // of its outcome
}

type turnKey struct{}

// Working implements [tasks.Tracer].
func (t *Tracer) Working(ctx context.Context, headers map[string]string, r tasks.TracedRow) (context.Context, func(error)) {
	if len(headers) > 0 {
		ctx = t.carrier.Extract(ctx, propagation.MapCarrier(headers))
	}
	ctx, span := t.tracer.Start(ctx, "register bot", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(append(rowAttributes(r), keyFailures.Int(r.Failures), keySystem.String("asynq"), keyType.String("process"))...))
	own := &turn{span: span}
	return context.WithValue(ctx, turnKey{}, own), own.end
}

// Verdicts of turns that record no outcome.
const (
	deferred = "deferred" // for a limit, or a held or silent portal: no attempt
	retry    = "retry"    // after a call that failed
	done     = "done"     // nothing was left to do
)

// end ends a turn with its handler's error.
func (t *turn) end(err error) {
	defer t.span.End()
	later, waits := errors.AsType[*tasks.Later](err)
	switch {
	case waits:
		t.waits(later)
	case t.told:
	case err == nil:
		t.span.SetAttributes(keyVerdict.String(done))
	default:
		verdict := "error"
		if errors.Is(err, asynq.SkipRetry) {
			verdict = string(runs.StatusDead)
		}
		t.span.SetAttributes(keyVerdict.String(verdict))
		t.span.SetStatus(codes.Error, err.Error())
	}
}

// waits ends a turn after which the row waits for its next.
func (t *turn) waits(l *tasks.Later) {
	verdict := deferred
	if l.Attempt {
		verdict = retry
		t.span.SetStatus(codes.Error, l.Reason)
	}
	wait := []attribute.KeyValue{keyUntil.String(l.Until.UTC().Format(time.RFC3339)), keyReason.String(l.Reason)}
	t.span.SetAttributes(append(wait, keyVerdict.String(verdict))...)
	t.span.AddEvent(verdict, trace.WithAttributes(wait...))
}

// Outcome implements [tasks.Tracer].
func (t *Tracer) Outcome(ctx context.Context, o *runs.Outcome) {
	own, ok := ctx.Value(turnKey{}).(*turn)
	if !ok {
		return
	}
	own.told = true
	own.span.SetAttributes(keyVerdict.String(string(o.Status)), keyAttempts.Int(o.Attempts))
	if o.BotID != 0 {
		own.span.SetAttributes(keyBotID.Int64(o.BotID))
	}
	if o.Error == nil {
		own.span.SetAttributes(keyHow.String(o.How))
		return
	}
	own.span.SetAttributes(keyClass.String(o.Class), keyError.String(o.Error.Code))
	own.span.SetStatus(codes.Error, o.Error.Code+": "+o.Error.Description)
}
