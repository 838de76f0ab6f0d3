// enqueue results: what became of a run's rows.

package command

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/engine"
	"botfleet/tasks/runs"
)

func newResults(a *app) *cobra.Command {
	var only []string
	var follow bool
	cmd := &cobra.Command{
		Use:   "results RUN",
		Short: "Write the outcomes of a run's rows",
		Long: `Write one result for each row of a run that has its outcome: registered with its
BOT_ID, dead with its error, refused with all problems, or duplicate of which row.
Rows that still wait have none; --follow waits for them. RUN is the id that submit
has printed; enqueue status lists those there are. Results are kept RESULT_TTL
after the run's end. Results that an output file has already are replaced.`,
		Example: "  enqueue results RUN --only dead,refused --format csv --output failed.csv\n  enqueue results RUN --follow | jq -r 'select(.status==\"registered\").bot_id'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keep, err := statuses(only)
			if err != nil {
				return err
			}
			cfg, err := a.config()
			if err != nil {
				return err
			}
			base, err := engine.Open(cmd.Context(), cfg, cfg.RedisURL)
			if err != nil {
				return err
			}
			defer func() { _ = base.Close() }()
			defer base.HangUp(cmd.Context())()
			return a.writeResults(cmd.Context(), base.Runs, args[0], keep, follow)
		},
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "only rows with one of these `STATUSES`: registered, dead, refused, duplicate")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for rows without an outcome, and write each as it comes, until the run has finished")
	return cmd
}

// statuses reads --only; nil means all.
func statuses(words []string) (map[runs.Status]bool, error) {
	if len(words) == 0 {
		return nil, nil
	}
	keep := map[runs.Status]bool{}
	for _, w := range words {
		s := runs.Status(strings.ToLower(strings.TrimSpace(w)))
		switch s {
		case runs.StatusRegistered, runs.StatusDead, runs.StatusRefused, runs.StatusDuplicate:
			keep[s] = true
		default:
			return nil, fmt.Errorf("--only: %q is none of registered, dead, refused, duplicate", w)
		}
	}
	return keep, nil
}

func (a *app) writeResults(ctx context.Context, store *runs.Store, run string, keep map[runs.Status]bool, follow bool) (err error) {
	if _, err := store.Get(ctx, run); err != nil {
		return err
	}
	s, err := a.freshResults()
	if err != nil {
		return err
	}
	defer func() {
		if closing := s.close(); err == nil {
			err = closing
		}
	}()
	emit := func(o runs.Outcome) error {
		if keep != nil && !keep[o.Status] {
			return nil
		}
		return s.write(o)
	}
	if !follow {
		return store.Outcomes(ctx, run, emit)
	}
	var flushed time.Time
	var failed error
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = store.Follow(run).Wait(ctx, emit, func(runs.Info) {
		if time.Since(flushed) < time.Second {
			return
		}
		flushed = time.Now()
		if failed = s.flush(); failed != nil {
			cancel(failed)
		}
	})
	return cmp.Or(failed, err) // what Redis says of being broken off is no news
}

// freshResults is where results go that are all written anew. A file that
// holds something else than results is refused, as everywhere.
func (a *app) freshResults() (sink, error) {
	s, old, err := a.results()
	if err != nil || old == nil {
		return s, err
	}
	info, err := os.Stat(a.common.output)
	if err != nil || !info.Mode().IsRegular() || old.Kept() == 0 {
		return s, err // new, or a pipe or device, which holds nothing
	}
	if err := s.close(); err != nil {
		return nil, err
	}
	if err := os.Truncate(a.common.output, 0); err != nil {
		return nil, fmt.Errorf("replace the output: %w", err)
	}
	s, _, err = a.results()
	return s, err
}
