// Which requests are sampled.

package tracing

import (
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Sampler returns base, but for batches: one is kept when a row that it carries
// is, and dropped otherwise. A sampler that judges traces one by one would keep
// batches of rows that nobody can see, and drop those of rows that are kept.
func Sampler(base sdktrace.Sampler) sdktrace.Sampler { return batches{base} }

type batches struct{ sdktrace.Sampler }

// ShouldSample implements [sdktrace.Sampler].
func (b batches) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind != trace.SpanKindClient || len(p.Links) == 0 || trace.SpanContextFromContext(p.ParentContext).IsValid() {
		return b.Sampler.ShouldSample(p)
	}
	for _, l := range p.Links {
		if l.SpanContext.IsSampled() {
			return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
		}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

// Description implements [sdktrace.Sampler].
func (b batches) Description() string { return "BatchesOfKeptRows{" + b.Sampler.Description() + "}" }
