// Following rows from their submission to their end: the seam for a tracer.

package tasks

import (
	"context"

	"github.com/hibiken/asynq"

	"botfleet/tasks/runs"
)

// Tracer follows rows on their way, as distributed tracing does: through a
// submission into the queue, and from there through each turn in a handler. Its
// methods are called from many goroutines and must neither block nor keep or
// change what they are given. Every function that they return is called exactly
// once, and may not be nil. A nil Tracer costs nothing.
//
// What it is given holds no secret: texts of errors are scrubbed.
type Tracer interface {
	// Submitting begins a submission of so many rows. The context that it returns
	// is that of all that follows, Queueing included; end hears of the
	// submission's error.
	Submitting(ctx context.Context, run string, rows int) (_ context.Context, end func(error))
	// Queueing begins the queueing of a row. The headers travel with its task, and
	// are stored with it while it waits; nil: none. end hears what became of the
	// row, and why it was not queued; its status is empty when an error kept it out.
	Queueing(ctx context.Context, r TracedRow) (headers map[string]string, end func(ReceiptStatus, error))
	// Working begins one turn of a row in a handler. headers are those that
	// Queueing gave its task, or nothing where that was not asked. end hears how
	// the turn ended, which is the handler's error for asynq: nil, a [*Later], or
	// one that wraps [asynq.SkipRetry].
	Working(ctx context.Context, headers map[string]string, r TracedRow) (_ context.Context, end func(error))
	// Outcome tells of the outcome that a turn has recorded. ctx is of Working's.
	Outcome(ctx context.Context, o *runs.Outcome)
}

// TracedRow names a row to a Tracer.
type TracedRow struct {
	Run    string
	Row    int
	Portal string // the portal's name: its host, but where a service names its portals otherwise
	Code   string
	// Failures is how many calls the row has cost without success before. Waiting
	// for a limit is none.
	Failures int
}

// traced is Submit under a tracer.
func (c *Client) traced(ctx context.Context, run string, regs []Registration) (receipts []Receipt, err error) {
	ctx, end := c.tracer.Submitting(ctx, run, len(regs))
	defer func() { end(err) }()
	return c.submit(ctx, run, regs)
}

// enqueueTraced is enqueue under a tracer.
func (c *Client) enqueueTraced(ctx context.Context, run string, it item) (err error) {
	headers, end := c.tracer.Queueing(ctx, TracedRow{
		Run: run, Row: it.receipt.Row, Portal: it.portal.Name, Code: it.reg.Bot.Code,
	})
	defer func() { end(it.receipt.Status, err) }()
	it.headers = headers
	return c.enqueueTask(ctx, run, it)
}

// traced is work on a task under a tracer.
func (h *Handler) traced(ctx context.Context, t *asynq.Task, p Payload) (err error) {
	retried, _ := asynq.GetRetryCount(ctx)
	ctx, end := h.Tracer.Working(ctx, t.Headers(), TracedRow{
		Run: p.Run, Row: p.Row, Portal: p.Portal, Code: p.Code, Failures: retried,
	})
	defer func() { end(err) }()
	return h.process(ctx, t, p)
}
