// One submitted row's task: into the queue, or what stands in its way.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/tasks/runs"
)

// taskTimeout ends a handler that hangs. A handler waits for one gate
// opening and one request, so this is far above any honest duration.
const taskTimeout = 15 * time.Minute

// A task whose id is taken is tried again after pauses that grow by
// conflictPause, some four seconds in all: a handler that has recorded its row's
// end is gone long before.
const (
	conflictTries = 30
	conflictPause = 10 * time.Millisecond
)

// task is the task of one row.
func (c *Client) task(run string, it item) (*asynq.Task, error) {
	name := strings.TrimSpace(it.reg.Bot.Properties.Name + " " + it.reg.Bot.Properties.LastName)
	body, err := Payload{
		Run: run, Row: it.receipt.Row, Gen: it.gen, PortalID: it.portal.ID,
		Portal: it.portal.Name, Code: it.reg.Bot.Code, Name: cut(name, 60),
	}.Encode()
	if err != nil {
		return nil, err
	}
	opts := []asynq.Option{
		asynq.TaskID(it.ident), asynq.Queue(it.portal.Queue), asynq.Timeout(taskTimeout),
		// Attempts are counted by the handler: asynq would archive a task that
		// is only put off once its own limit is reached.
		asynq.MaxRetry(math.MaxInt32),
	}
	if c.retention > 0 {
		opts = append(opts, asynq.Retention(c.retention))
	}
	if !it.at.IsZero() {
		opts = append(opts, asynq.ProcessAt(it.at))
	}
	if it.headers == nil {
		return asynq.NewTask(TypeName, body, opts...), nil
	}
	return asynq.NewTaskWithHeaders(TypeName, body, it.headers, opts...), nil
}

// enqueue queues one row's task, followed by a tracer if there is one.
func (c *Client) enqueue(ctx context.Context, run string, it item) error {
	if c.tracer != nil {
		return c.enqueueTraced(ctx, run, it)
	}
	return c.enqueueTask(ctx, run, it)
}

// enqueueTask queues one row's task, or finds out what stands in its way.
func (c *Client) enqueueTask(ctx context.Context, run string, it item) error {
	task, err := c.task(run, it)
	if err != nil {
		return err
	}
	// What stands in the way may be cleared away, go meanwhile, or be about to end.
	for try := range conflictTries {
		if err := pause(ctx, time.Duration(try)*conflictPause); err != nil {
			return err
		}
		_, err = c.queue.EnqueueContext(ctx, task)
		if err == nil {
			it.receipt.Status = ReceiptQueued
			return nil
		}
		if !errors.Is(err, asynq.ErrTaskIDConflict) {
			return err
		}
		again, err := c.resolve(ctx, run, it)
		if err != nil || !again {
			return err
		}
	}
	return fmt.Errorf("its task id %s stays taken: %w", it.ident, err)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// resolve looks at the task that has an item's id already. It reports whether
// queueing should be tried again.
func (c *Client) resolve(ctx context.Context, run string, it item) (again bool, err error) {
	info, err := c.inspector.GetTaskInfo(it.portal.Queue, it.ident)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at task %s: %w", it.ident, err)
	}
	switch info.State {
	case asynq.TaskStateCompleted:
		wish, err := c.wishes.of(ctx, c.runs, run)
		if err != nil {
			return false, err
		}
		id, perr := strconv.ParseInt(string(info.Result), 10, 64)
		if perr == nil && id > 0 && wish == runs.Keep {
			return false, c.skip(ctx, run, it, id)
		}
		return true, c.clear(it)
	case asynq.TaskStateArchived:
		return true, c.clear(it)
	default: // it waits or runs
	}
	old, err := DecodePayload(info.Payload)
	if err != nil {
		return false, fmt.Errorf("task %s: %w", it.ident, err)
	}
	if old.Run == run && old.Row == it.receipt.Row {
		if info.State == asynq.TaskStateActive && old.Gen < it.gen {
			// Its handler may have recorded the row's end already, the one from
			// which this submission took it up again: then nobody is left to see
			// to the row. It is waited for.
			return true, nil
		}
		it.receipt.Status = ReceiptQueued
		return false, nil
	}
	return false, c.duplicate(ctx, run, it, runs.Ref{Run: old.Run, Row: old.Row})
}

// clear removes a finished task that keeps its id taken.
func (c *Client) clear(it item) error {
	err := c.inspector.DeleteTask(it.portal.Queue, it.ident)
	if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
		return fmt.Errorf("clear away finished task %s: %w", it.ident, err)
	}
	return nil
}

func (c *Client) skip(ctx context.Context, run string, it item, botID int64) error {
	o := c.outcome(it, runs.StatusRegistered)
	o.BotID, o.Existed, o.How = botID, true, runs.HowSkipped
	it.receipt.Status, it.receipt.BotID = ReceiptRegistered, botID
	return c.runs.Record(ctx, run, it.gen, o)
}

func (c *Client) duplicate(ctx context.Context, run string, it item, of runs.Ref) error {
	o := c.outcome(it, runs.StatusDuplicate)
	o.Of = &of
	it.receipt.Status, it.receipt.Of = ReceiptDuplicate, &of
	return c.runs.Record(ctx, run, it.gen, o)
}

func (c *Client) outcome(it item, status runs.Status) runs.Outcome {
	now := c.now()
	return runs.Outcome{
		Row: it.receipt.Row, ID: it.reg.ID, Portal: it.portal.Name, Code: it.reg.Bot.Code,
		Status: status, QueuedAt: now, DoneAt: now,
	}
}

// cut shortens s to at most n runes.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
