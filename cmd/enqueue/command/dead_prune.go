// enqueue dead prune: asynq's archive made smaller, which only shows dead rows.

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
)

// pruneOlder is how old an archived task is unless --older says it.
const pruneOlder = 24 * time.Hour

func newDeadPrune(a *app) *cobra.Command {
	var (
		queues []string
		older  time.Duration
		yes    bool
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete archived tasks, in which the dashboard shows dead rows",
		Long: `Delete archived tasks from the queues: what the dashboard shows of dead rows, and
lets people run again there. The rows themselves, what they died of, list, export
and retry are not touched: they are in their runs. It is for when doctor or
/readyz warn that an archive is nearly full.

It goes page by page beside running workers. A task that was archived by hand and
whose row has not ended yet is kept, as the row would be queued anew without it.

Ctrl-C stops between two pages; the same command goes on.`,
		Example: "  enqueue dead prune\n  enqueue dead prune --older 1h --queue portals-0 --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if older < 0 {
				return &usageError{"--older: needed is a duration of 0 or more, like 24h"}
			}
			return a.withQueues(cmd, queues, func(ctx context.Context, base *engine.Base, names []string) error {
				return a.prune(ctx, base, names, time.Now().Add(-older), yes)
			})
		},
	}
	p := cmd.Flags()
	addQueueFlag(cmd, &queues, "only the archives of these `QUEUES`: portals-0,portals-1")
	p.DurationVar(&older, "older", pruneOlder, "only tasks that were archived at least this `TIME` ago; 0: all")
	p.BoolVar(&yes, "yes", false, "do not ask, which is needed where nobody can be asked: without a terminal")
	return cmd
}

// prunedQueue is what was done to the archive of one queue.
type prunedQueue struct {
	Queue   string `json:"queue"`
	Deleted int    `json:"deleted"`
	Kept    int    `json:"kept"` // their rows have not ended
	Left    int    `json:"left"` // in the archive
}

func (q *prunedQueue) csvCells() []string {
	return []string{q.Queue, strconv.Itoa(q.Deleted), strconv.Itoa(q.Kept), strconv.Itoa(q.Left)}
}

func (q *prunedQueue) tableCells() []string {
	return []string{q.Queue, report.Count(q.Deleted), report.Count(q.Left)}
}

func pruneLayout() layout {
	return layout{csv: []string{"queue", "deleted", "kept", "left"}, table: []string{"QUEUE", "DELETED", "LEFT"}}
}

func (a *app) prune(ctx context.Context, base *engine.Base, names []string, before time.Time, yes bool) (err error) {
	p := tasks.Pruner{Redis: base.Redis, Runs: base.Runs}
	before = before.Add(time.Second) // the bound is a whole second, and not counted in
	total := 0
	for _, q := range names {
		n, err := p.Archived(ctx, q, before)
		if err != nil {
			return err
		}
		total += n
	}
	if total > 0 {
		question := fmt.Sprintf("Delete %s of %s? Their rows stay dead in their runs.", report.Counted(total, "archived task"), report.Counted(len(names), "queue"))
		if err := a.confirm(ctx, question, yes); err != nil {
			return err
		}
	}
	out, err := a.newRecords(pruneLayout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	kept := 0
	for _, q := range names {
		did, err := p.Prune(ctx, q, before)
		if err != nil {
			return fmt.Errorf("%w\nof this queue %s were deleted; the same command goes on", err, report.Counted(did.Deleted, "archived task"))
		}
		left, err := p.Archived(ctx, q, time.Now().Add(time.Hour))
		if err != nil {
			return err
		}
		kept += did.Kept
		if err := out.write(&prunedQueue{Queue: q, Deleted: did.Deleted, Kept: did.Kept, Left: left}); err != nil {
			return err
		}
	}
	if kept > 0 {
		a.sayf("kept were %s whose rows have not ended: the sweeper ends these within about a minute, while a worker runs", report.Counted(kept, "task"))
	}
	return nil
}
