// Cancelling: tasks and rows, a page at a time.

package tasks

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

//go:embed cancel_pending.lua
var cancelPendingLua string

var cancelPendingScript = redis.NewScript(cancelPendingLua)

// pendingPage deletes the tasks of the run among some pending ones, ends their
// rows, and returns how many tasks it deleted.
func (x *cancelling) pendingPage(ctx context.Context, queue string, at int64, ids []string) (int, error) {
	if err := context.Cause(ctx); err != nil || len(ids) == 0 {
		return 0, err
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer done()
	keys, args := []string{queuePrefix(queue) + "pending"}, []any{at, x.mark(0)}
	for _, id := range ids {
		keys, args = append(keys, queuePrefix(queue)+"t:"+id), append(args, id)
	}
	messages, err := cancelPendingScript.Run(ctx, x.Redis, keys, args...).StringSlice()
	if err != nil {
		return 0, err
	}
	var ends []runs.End
	codes := map[string][]string{}
	for _, text := range messages {
		m, err := decodeMessage([]byte(text))
		if err != nil {
			continue // its row is found without a task
		}
		p, err := DecodePayload(m.payload)
		if err != nil {
			continue
		}
		codes[p.PortalID] = append(codes[p.PortalID], p.Code)
		ends = append(ends, x.end(p.Row, m.id, m))
	}
	return len(messages), x.finish(ctx, ends, codes)
}

// chunk ends the rows of one hash, and returns how many are being worked on.
func (x *cancelling) chunk(ctx context.Context, first int) (busy int, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer done()
	waiting, err := x.Runs.WaitingIn(ctx, x.what.Run, first)
	if err != nil {
		return 0, err
	}
	byQueue := map[string][]runs.WaitingRow{}
	for _, row := range waiting {
		if !x.chosen(row.PortalID) {
			continue
		}
		queue, err := x.queueOf(ctx, row.PortalID)
		if err != nil {
			return 0, err
		}
		byQueue[queue] = append(byQueue[queue], row)
	}
	for queue, rows := range byQueue {
		n, err := x.rowsOf(ctx, queue, rows)
		if err != nil {
			return 0, err
		}
		busy += n
	}
	return busy, nil
}

//go:embed cancel_tasks.lua
var cancelTasksLua string

var cancelTasksScript = redis.NewScript(cancelTasksLua)

// rowsOf deletes the tasks of rows from their queue and ends the rows, but for
// those that are being worked on, which it counts.
func (x *cancelling) rowsOf(ctx context.Context, queue string, rows []runs.WaitingRow) (busy int, err error) {
	if queue == "" { // the portal was removed: a handler would call nobody
		ends := make([]runs.End, len(rows))
		for i, row := range rows {
			ends[i] = x.end(row.Number, row.Ident, message{})
		}
		return 0, x.finish(ctx, ends, nil)
	}
	prefix := queuePrefix(queue)
	keys, args := []string{prefix + "pending", prefix + "scheduled", prefix + "retry", prefix + "archived"}, make([]any, 0, 2*len(rows))
	for _, row := range rows {
		keys, args = append(keys, prefix+"t:"+row.Ident), append(args, row.Ident, x.mark(row.Number))
	}
	answers, err := cancelTasksScript.Run(ctx, x.Redis, keys, args...).StringSlice()
	if err != nil || len(answers) != 2*len(rows) {
		return 0, fmt.Errorf("delete tasks of queue %s: %w", queue, err)
	}
	var ends []runs.End
	codes := map[string][]string{}
	for i, row := range rows {
		var m message
		switch answers[2*i] {
		case "busy":
			busy++
			continue
		case "dropped":
			// One that cannot be read has nothing to say of its row.
			if read, err := decodeMessage([]byte(answers[2*i+1])); err == nil {
				m = read
			}
			if p, err := DecodePayload(m.payload); err == nil {
				codes[row.PortalID] = append(codes[row.PortalID], p.Code)
			}
		}
		ends = append(ends, x.end(row.Number, row.Ident, m))
	}
	return busy, x.finish(ctx, ends, codes)
}

// finish ends rows whose tasks are gone, and takes them out of their portals' lines.
func (x *cancelling) finish(ctx context.Context, ends []runs.End, codes map[string][]string) error {
	n, err := x.Runs.EndWaiting(ctx, x.what.Run, ends)
	x.did.Rows += n
	if x.what.Told != nil && n > 0 {
		x.what.Told(x.did.Rows)
	}
	if err != nil {
		return err
	}
	return ratelimit.Leave(ctx, x.Redis, codes)
}

func (x *cancelling) end(row int, ident string, m message) runs.End {
	text := "cancelled by an operator"
	if x.what.Reason != "" {
		text += ": " + x.what.Reason
	}
	if m.retried > 0 && m.lastErr != "" {
		text += "; the last it said: " + cut(m.lastErr, maxReason)
	}
	return runs.End{
		Number: row, Ident: ident, Attempts: m.retried, Class: ClassOperator,
		Error: runs.Failure{Code: CodeCancelled, Description: text},
	}
}
