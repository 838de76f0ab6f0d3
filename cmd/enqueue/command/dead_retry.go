// enqueue dead retry: a run's dead rows into the queue again, as they are.

package command

import (
	"context"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

type deadRetryFlags struct {
	deadFilter
	rps    float64
	reason string
	yes    bool
}

const (
	// retryRate is how many rows a second are queued again unless --rps says it:
	// slowly enough to see the first ones die again, and to stop.
	retryRate = 50
	// mostReason bounds what every retried row keeps, in characters.
	mostReason = 200
)

func newDeadRetry(a *app) *cobra.Command {
	var f deadRetryFlags
	cmd := &cobra.Command{
		Use:   "retry RUN",
		Short: "Queue a run's dead rows again, as they are",
		Long: `Queue a run's dead rows again, as they are: their outcomes go, and new ones come
as workers get to them. For rows whose error was not their own: a portal that did
not answer, credentials that had expired. Rows that were wrong in themselves die
again; mend them with export.

Rows that cannot be queued (their photo is no longer kept, their portal was
removed, they are not valid today) stay dead, each with a line that says why.
The reason is kept with each row and stands in its results (retried), with the
time, and how often the row was retried.

Ctrl-C stops between two rows; the same command goes on with those still dead.`,
		Example: `  enqueue dead retry RUN --class transient,ambiguous --reason "the proxy was down"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.withPatientBase(cmd.Context(), func(cfg config.Config, base *engine.Base) error {
				return a.retryDead(cmd.Context(), cfg, base, args[0], &f)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().Float64Var(&f.rps, "rps", retryRate, "`N` rows are queued again per second; 0: as fast as they can be")
	cmd.Flags().StringVar(&f.reason, "reason", "", "a `TEXT` to be kept with each row: why")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask, which is needed where nobody can be asked: without a terminal")
	return cmd
}

func (f *deadRetryFlags) check(cmd *cobra.Command) error {
	if math.IsNaN(f.rps) || math.IsInf(f.rps, 0) || f.rps < 0 || f.rps > 0 && f.rps < 0.01 {
		return &usageError{"--rps: needed is a number of rows per second from 0.01, or 0 for no limit"}
	}
	if utf8.RuneCountInString(f.reason) > mostReason || !utf8.ValidString(f.reason) {
		return &usageError{fmt.Sprintf("--reason: needed is UTF-8 text of at most %d characters", mostReason)}
	}
	return f.deadFilter.check(cmd)
}

func (a *app) retryDead(ctx context.Context, cfg config.Config, base *engine.Base, run string, f *deadRetryFlags) error {
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return err
	}
	if err := f.resolve(ctx, base.Registry); err != nil {
		return err
	}
	var t tally
	err = eachDead(ctx, base.Runs, run, &f.deadFilter, func(o *runs.Outcome) error { t.add(o); return nil })
	if err != nil {
		return err
	}
	a.tell(&t, info)
	if t.rows == 0 {
		return nil
	}
	took := ""
	if f.rps > 0 && float64(t.rows) > 10*f.rps {
		took = fmt.Sprintf(", which takes about %s at %g a second (--rps)", report.Duration(time.Duration(float64(t.rows)/f.rps*float64(time.Second))), f.rps)
	}
	if err := a.confirm(ctx, fmt.Sprintf("Queue %s again%s?", report.Counted(t.rows, "dead row"), took), f.yes); err != nil {
		return err
	}
	endTracing, err := a.trace(ctx, cfg, base)
	if err != nil {
		return err
	}
	defer endTracing()
	r := newRetrying(a, cfg, base, run, f)
	// The run stays open while rows come, or it would end with the last one
	// queued so far.
	if err := base.Runs.Open(ctx, run, runs.Begin{Lease: producerLease}); err != nil {
		return err
	}
	r.bar = report.NewProgress(a.std.err, report.ProgressOptions{
		Terminal: terminal(a.std.err) > 0, Quiet: a.common.quiet, Total: t.rows, Width: terminal(a.std.err), Good: "queued again",
	})
	err = r.all(ctx, &f.deadFilter)
	r.bar.Done()
	if sealing := r.seal(ctx); err == nil {
		err = sealing
	}
	return r.ended(err)
}

// seal says that no more rows come, also when the command was interrupted.
func (r *retrying) seal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholePart)
	defer cancel()
	return r.runs.Seal(ctx, r.run)
}

// ended says what was done, and how to go on after an error.
func (r *retrying) ended(err error) error {
	did := report.Counted(r.queued, "row") + " queued again"
	for _, p := range []struct {
		n    int
		what string
	}{{r.registered, "registered meanwhile"}, {r.duplicate, "waiting in another row already"}, {r.refused, "refused"}, {r.stay, "left dead"}} {
		if p.n > 0 {
			did += fmt.Sprintf(", %s %s", report.Count(p.n), p.what)
		}
	}
	if hidden := r.stay - shownProblems; hidden > 0 {
		_, _ = fmt.Fprintf(r.app.std.err, "… and %s more stay dead; see them with: enqueue dead list %s\n", report.Counted(hidden, "row"), r.run)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s; the same command goes on with those that are still dead", err, did)
	}
	r.app.sayf("%s; follow them with: enqueue status %s", did, r.run)
	if r.stay+r.refused > 0 {
		return &exitError{code: exitUnfinished}
	}
	return nil
}
