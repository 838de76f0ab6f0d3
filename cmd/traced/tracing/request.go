// Requests to portals.

package tracing

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// Request implements [dispatch.Tracer].
func (t *Tracer) Request(ctx context.Context, r dispatch.TracedRequest) (context.Context, func(dispatch.TracedEnd)) {
	rows := make([]trace.Span, len(r.Rows))
	for i, row := range r.Rows {
		rows[i] = trace.SpanFromContext(row)
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(requestAttributes(r)...)}
	if len(rows) == 1 {
		ctx, span := t.tracer.Start(trace.ContextWithSpan(ctx, rows[0]), r.Method, opts...)
		return ctx, ending(span)
	}
	links := make([]trace.Link, 0, len(rows))
	for _, row := range rows {
		if sc := row.SpanContext(); sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	ctx, span := t.tracer.Start(ctx, r.Method, append(opts, trace.WithNewRoot(), trace.WithLinks(links...))...)
	sent := trace.WithAttributes(keyMethod.String(r.Method), keyRows.Int(len(rows)))
	for _, row := range rows {
		if row.IsRecording() {
			row.AddLink(trace.Link{SpanContext: span.SpanContext()})
			row.AddEvent("sent", sent)
		}
	}
	return ctx, ending(span)
}

// requestAttributes tell where a request goes. The address is never part of it:
// a webhook's path is its secret.
func requestAttributes(r dispatch.TracedRequest) []attribute.KeyValue {
	attrs := []attribute.KeyValue{keyMethod.String(r.Method), keyRows.Int(len(r.Rows))}
	host, port, err := net.SplitHostPort(r.Portal)
	if err != nil {
		return append(attrs, keyAddress.String(r.Portal))
	}
	attrs = append(attrs, keyAddress.String(host))
	if n, err := strconv.Atoi(port); err == nil {
		attrs = append(attrs, keyPort.Int(n))
	}
	return attrs
}

// ending ends a request's span.
func ending(span trace.Span) func(dispatch.TracedEnd) {
	return func(end dispatch.TracedEnd) {
		defer span.End()
		span.SetAttributes(keyOutcome.String(string(end.Outcome)))
		if end.Status != 0 {
			span.SetAttributes(keyStatus.Int(end.Status))
		}
		if end.Code != "" {
			span.SetAttributes(keyError.String(end.Code), keyMessage.String(end.Text))
		}
		if end.Code != "" || end.Outcome != ratelimit.Answered {
			span.SetStatus(codes.Error, end.Code)
		}
	}
}
