// enqueue pause and resume: nothing is sent, and is again.

package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
)

const queuesExitHelp = `Exit status:
  0    done, also where there was nothing to do
  1    it could not be done: usage, connection, configuration, no such queue
  130  interrupted`

func newPause(a *app) *cobra.Command {
	var queues []string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Keep all workers from taking rows, until enqueue resume",
		Long: `Pause the queues: no worker takes rows from them any more, until enqueue resume.
Rows that workers have taken finish: those on their way to a portal within
REQUEST_TIMEOUT, the others within seconds. Submitting goes on, and what comes
waits too. Nothing is lost, and no attempt is spent; but rows of held portals are
still dead when HOLD_TTL is over.

Without --queue all queues are paused, those of this command's SHARDS included that
have no portals yet. A queue that comes later, as SHARDS is raised, is not: give
the command again after that. status and doctor name what is paused; there is no
place for a reason, so tell the others.

` + queuesExitHelp,
		Example: "  enqueue pause\n  enqueue pause --queue portals-0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withQueues(cmd, queues, func(ctx context.Context, base *engine.Base, names []string) error {
				return a.pause(ctx, base, names)
			})
		},
	}
	addQueueFlag(cmd, &queues, "only these `QUEUES`, as doctor names them: portals-0,portals-1")
	return cmd
}

func newResume(a *app) *cobra.Command {
	var queues []string
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Let workers take rows from paused queues again",
		Long: `Resume the queues: workers take rows from them again, within a second or two. It
also ends the pause of queues that were paused on the dashboard. Without --queue
all queues are resumed.

` + queuesExitHelp,
		Example: "  enqueue resume\n  enqueue resume --queue portals-0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withQueues(cmd, queues, func(ctx context.Context, base *engine.Base, names []string) error {
				return a.resume(ctx, base, names)
			})
		},
	}
	addQueueFlag(cmd, &queues, "only these `QUEUES`, as doctor names them: portals-0,portals-1")
	return cmd
}

func addQueueFlag(cmd *cobra.Command, queues *[]string, usage string) {
	cmd.Flags().StringSliceVar(queues, "queue", nil, usage)
}

// withQueues calls f with the queues named, or all.
func (a *app) withQueues(cmd *cobra.Command, named []string, f func(ctx context.Context, base *engine.Base, names []string) error) error {
	if len(named) == 0 && cmd.Flags().Changed("queue") {
		return &usageError{"--queue: is empty"} // a script's empty variable must not mean all
	}
	return a.withBase(cmd.Context(), func(cfg config.Config, base *engine.Base) error {
		all, err := allQueues(cmd.Context(), base, cfg.Shards)
		if err != nil {
			return err
		}
		names := all
		if len(named) > 0 {
			if names, err = amongQueues(named, all); err != nil {
				return err
			}
		}
		return f(cmd.Context(), base, names)
	})
}

// allQueues names the queues that portals have, those that they will get with so
// many shards, and those that were announced before: paused ones, too.
func allQueues(ctx context.Context, base *engine.Base, shards int) ([]string, error) {
	names, err := base.Registry.Queues(ctx)
	if err != nil {
		return nil, err
	}
	known, err := base.Inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("look for queues: %w", err)
	}
	for _, q := range known {
		if strings.HasPrefix(q, queueBegins) { // others on this Redis are not ours
			names = append(names, q)
		}
	}
	for n := range shards {
		names = append(names, portals.QueueName(n))
	}
	slices.SortFunc(names, byNumber)
	return slices.Compact(names), nil
}

// queueBegins is what [portals.QueueName] begins with.
const queueBegins = "portals-"

// byNumber sorts portals-10 behind portals-9.
func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// amongQueues checks the names that a command line gives.
func amongQueues(named, all []string) ([]string, error) {
	names := make([]string, 0, len(named))
	for _, q := range named {
		q = strings.TrimSpace(q)
		if !slices.Contains(all, q) {
			return nil, &usageError{fmt.Sprintf("--queue: there is no queue %q; there are %s", q, strings.Join(all, ", "))}
		}
		if !slices.Contains(names, q) {
			names = append(names, q)
		}
	}
	return names, nil
}

// queueChange is what was done to one queue.
type queueChange struct {
	Queue   string     `json:"queue"`
	Done    string     `json:"done"` // paused, was paused, resumed, not paused
	Since   *time.Time `json:"since,omitempty"`
	Waiting int        `json:"waiting"`
	Active  int        `json:"in_work"`
}

func (q *queueChange) csvCells() []string {
	since := ""
	if q.Since != nil {
		since = q.Since.Format(time.RFC3339)
	}
	return []string{q.Queue, q.Done, since, strconv.Itoa(q.Waiting), strconv.Itoa(q.Active)}
}

func (q *queueChange) tableCells() []string {
	since := ""
	if q.Since != nil {
		since = day(*q.Since)
	}
	return []string{q.Queue, q.Done, report.Count(q.Waiting), report.Count(q.Active), since}
}

func queueLayout() layout {
	return layout{csv: []string{"queue", "done", "since", "waiting", "in_work"}, table: []string{"QUEUE", "DONE", "WAITING", "IN WORK", "PAUSED SINCE"}}
}

func (a *app) pause(ctx context.Context, base *engine.Base, names []string) error {
	now, taken := time.Now(), 0
	err := a.eachQueue(ctx, base.Redis, names, func(q string) (string, time.Time, error) {
		was, err := tasks.PauseQueue(ctx, base.Redis, q, now)
		if !was.IsZero() {
			return "was paused", was, err
		}
		return "paused", now, err
	}, func(c *queueChange) { taken += c.Active })
	if err != nil {
		return err
	}
	if taken > 0 {
		a.sayf("workers finish the %s that they have taken, and take no more; go on with: enqueue resume", report.Counted(taken, "row"))
	} else {
		a.sayf("workers take no more rows; go on with: enqueue resume")
	}
	return nil
}

func (a *app) resume(ctx context.Context, base *engine.Base, names []string) error {
	return a.eachQueue(ctx, base.Redis, names, func(q string) (string, time.Time, error) {
		was, err := tasks.ResumeQueue(ctx, base.Redis, q)
		if was.IsZero() {
			return "not paused", was, err
		}
		return "resumed", was, err
	}, func(*queueChange) {})
}

// eachQueue does something to queues one after another, and prints what was done,
// also when a later one fails.
func (a *app) eachQueue(ctx context.Context, client redis.UniversalClient, names []string, do func(q string) (done string, since time.Time, err error), seen func(*queueChange)) (err error) {
	out, err := a.newRecords(queueLayout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	for i, q := range names {
		if ctx.Err() != nil {
			return fmt.Errorf("%w\n%s of %s were done; the same command again does the others", context.Cause(ctx), report.Counted(i, "queue"), report.Count(len(names)))
		}
		c := queueChange{Queue: q}
		var since time.Time
		if c.Done, since, err = do(q); err != nil {
			return err
		}
		if since.Unix() > 0 {
			since = since.UTC().Truncate(time.Second)
			c.Since = &since
		}
		size, err := tasks.SizeOf(ctx, client, q)
		if err != nil {
			return err
		}
		c.Waiting, c.Active = size.Waiting, size.Active
		seen(&c)
		if err := out.write(&c); err != nil {
			return err
		}
	}
	return nil
}
