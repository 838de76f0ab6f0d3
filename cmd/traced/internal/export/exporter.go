// What is said when nobody takes the traces.

package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exporter tells once that traces cannot be sent, and once that they can again:
// a collector that is away must not fill the log of a worker that is well.
type exporter struct {
	next sdktrace.SpanExporter
	log  *slog.Logger

	mu     sync.Mutex
	failed bool
	lost   int // spans, since it failed
}

// ExportSpans implements [sdktrace.SpanExporter]. What cannot be sent is lost.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.next.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && !e.failed:
		e.failed = true
		e.log.Warn("traces are lost, until it is said that they are sent again", "err", reason(err))
	case err == nil && e.failed:
		e.log.Info("traces are sent again", "lost_spans", e.lost)
		e.failed, e.lost = false, 0
	}
	if err != nil {
		e.lost += len(spans)
	}
	return nil
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }

// rest says how many spans were lost to the end.
func (e *exporter) rest() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost == 0 {
		return nil
	}
	return fmt.Errorf("%d spans could not be sent", e.lost)
}

// answered finds the status in the error of an answer. Its text goes on with the
// answer's body, which may quote the request.
var answered = regexp.MustCompile(`: (\d{3} [A-Za-z -]+?) \(body: `)

// reason is why traces could not be sent, without any address or header.
func reason(err error) string {
	var at *url.Error
	status := answered.FindStringSubmatch(err.Error())
	switch {
	case status != nil:
		return "the collector answers " + status[1]
	case errors.Is(err, context.DeadlineExceeded):
		return "the collector does not answer in time"
	case errors.Is(err, context.Canceled):
		return "broken off"
	case errors.As(err, &at):
		return at.Err.Error()
	}
	return "the collector does not take them"
}
