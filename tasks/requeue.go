// Queueing a row again whose task was lost.

package tasks

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// ErrTaskExists is returned by [Client.Requeue] when there is a task under the
// row's id already.
var ErrTaskExists = asynq.ErrTaskIDConflict

// Requeue queues a waiting row of a run whose task was deleted or lost: with the
// same id, and as it was submitted. The row is not changed.
func (c *Client) Requeue(ctx context.Context, run string, row runs.Row, p portals.Portal) error {
	var bot bitrix.Bot
	if err := json.Unmarshal(row.Bot, &bot); err != nil {
		bot = bitrix.Bot{} // its handler tells of it
	}
	it := item{
		reg:     &Registration{Bot: bot},
		receipt: &Receipt{Row: row.Number},
		portal:  p, ident: row.Ident, gen: row.Gen,
	}
	it.reg.Bot.Code = row.Code
	task, err := c.task(run, it)
	if err != nil {
		return err
	}
	if _, err := c.queue.EnqueueContext(ctx, task); err != nil {
		return fmt.Errorf("queue row %d of run %s again: %w", row.Number, run, err)
	}
	return nil
}
