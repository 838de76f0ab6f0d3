// enqueue dead list: which rows of a run are dead, and of what.

package command

import (
	"context"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

func newDeadList(a *app) *cobra.Command {
	var f deadFilter
	cmd := &cobra.Command{
		Use:   "list RUN",
		Short: "Write a run's dead rows, each with its error",
		Long: `Write a run's dead rows, each with its error, in the order of the rows, and say
how many died of what. Nothing is changed.`,
		Example: "  enqueue dead list RUN --class validation --format csv --output dead.csv",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.withBase(cmd.Context(), func(_ config.Config, base *engine.Base) error {
				return a.listDead(cmd.Context(), base, args[0], &f)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) listDead(ctx context.Context, base *engine.Base, run string, f *deadFilter) error {
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return err
	}
	if err := f.resolve(ctx, base.Registry); err != nil {
		return err
	}
	s, err := a.deadResults()
	if err != nil {
		return err
	}
	var t tally
	err = eachDead(ctx, base.Runs, run, f, func(o *runs.Outcome) error {
		t.add(o)
		return s.write(*o)
	})
	if closing := s.close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	a.tell(&t, info)
	return nil
}

// deadResults is where dead rows are listed: a file that is written anew, or
// standard output, row by row however many they are.
func (a *app) deadResults() (sink, error) {
	if a.common.output != "" {
		return a.freshResults()
	}
	w, err := report.NewWriter(a.std.out, a.stdoutFormat(), report.Options{
		Color: a.color(a.std.out), Width: terminal(a.std.out), Dead: true,
	})
	if err != nil {
		return nil, err
	}
	return writerSink{w}, nil
}
