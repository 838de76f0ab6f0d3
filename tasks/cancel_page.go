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

// pendingPage deletes the tasks of the run among some of a page of pending ones,
// which began left tasks before the end of the list, and ends their rows.
func (x *cancelling) pendingPage(ctx context.Context, queue string, left int64, ids []string) error {
	if err := context.Cause(ctx); err != nil || len(ids) == 0 {
		return err
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer done()
	keys, args := []string{queuePrefix(queue) + "pending"}, []any{left, cancelPage, x.mark(0)}
	for _, id := range ids {
		keys, args = append(keys, queuePrefix(queue)+"t:"+id), append(args, id)
	}
	messages, err := cancelPendingScript.Run(ctx, x.Redis, keys, args...).StringSlice()
	if err != nil {
		return err
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
	return x.finish(ctx, ends, codes)
}

// chunk ends the rows of one hash, and returns how many are being worked on.
func (x *cancelling) chunk(ctx context.Context, first int) (busy int, err error) {
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
		for len(rows) > 0 {
			if err := context.Cause(ctx); err != nil {
				return 0, err
			}
			did, n, err := x.rowsOf(ctx, queue, rows)
			if err != nil {
				return 0, err
			}
			rows, busy = rows[did:], busy+n
		}
	}
	return busy, nil
}

//go:embed cancel_tasks.lua
var cancelTasksLua string

var cancelTasksScript = redis.NewScript(cancelTasksLua)

// rowsOf deletes the tasks of the first of some rows from their queue and ends the
// rows, but for those that are being worked on, which it counts. It returns how many
// rows it has done, at least one: to search for more would keep Redis too long.
func (x *cancelling) rowsOf(ctx context.Context, queue string, rows []runs.WaitingRow) (did, busy int, err error) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer done()
	if queue == "" { // the portal was removed: a handler would call nobody
		ends := make([]runs.End, len(rows))
		for i, row := range rows {
			ends[i] = x.end(row.Number, row.Ident, message{})
		}
		return len(rows), 0, x.finish(ctx, ends, nil)
	}
	prefix := queuePrefix(queue)
	keys, args := []string{prefix + "pending", prefix + "scheduled", prefix + "retry", prefix + "archived"}, append(make([]any, 0, 1+2*len(rows)), cancelSearch)
	for _, row := range rows {
		keys, args = append(keys, prefix+"t:"+row.Ident), append(args, row.Ident, x.mark(row.Number))
	}
	answers, err := cancelTasksScript.Run(ctx, x.Redis, keys, args...).StringSlice()
	did = len(answers) / 2
	if err == nil && (did < 1 || did > len(rows)) {
		err = fmt.Errorf("%d answers for %d rows", did, len(rows))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("delete tasks of queue %s: %w", queue, err)
	}
	var ends []runs.End
	codes := map[string][]string{}
	for i, row := range rows[:did] {
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
	return did, busy, x.finish(ctx, ends, codes)
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
