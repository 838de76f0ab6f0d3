// enqueue cancel: an end for the rows of one run that still wait.

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

type cancelFlags struct {
	reason  string
	portals []string
	yes     bool
}

func newCancel(a *app) *cobra.Command {
	var f cancelFlags
	cmd := &cobra.Command{
		Use:   "cancel RUN",
		Short: "End the rows of a run that still wait",
		Long: `End the rows of one run that still wait: they are dead after it (class operator,
code CANCELLED), and their tasks are deleted. Workers may go on meanwhile, and
other runs are not touched. Nothing is changed on portals: bots that the run has
registered stay.

Rows that a worker is just sending finish by themselves. The command looks at
them for some 10 s and ends those that are put off; should there be more, the
same command again ends them. A producer that still adds to the run is not
stopped by this: what it adds in these 10 s is ended too; should it go on, stop
it and give the command again. As long as rows that are meant wait, or the
producer is not done, the exit code is 2.

If it was a mistake: enqueue dead retry RUN --code CANCELLED queues the rows
again, and dead export writes them into a file, as long as the run is kept.
Rows of other runs that were duplicates of those stay duplicates.

Ctrl-C stops between two pages; the same command goes on with those that wait.`,
		Example: `  enqueue cancel RUN --reason "the wrong file"
  enqueue cancel RUN --portal acme.bitrix24.ru --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return a.withBase(cmd.Context(), func(_ config.Config, base *engine.Base) error {
				return a.cancel(cmd.Context(), base, args[0], &f)
			})
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.reason, "reason", "", "a `TEXT` to be kept with each row: why")
	p.StringSliceVar(&f.portals, "portal", nil, "only rows of these `PORTALS`: acme.bitrix24.ru,beta.bitrix24.ru")
	p.BoolVar(&f.yes, "yes", false, "do not ask, which is needed where nobody can be asked: without a terminal")
	return cmd
}

func (f *cancelFlags) check(cmd *cobra.Command) error {
	if utf8.RuneCountInString(f.reason) > mostReason || !utf8.ValidString(f.reason) {
		return &usageError{fmt.Sprintf("--reason: needed is UTF-8 text of at most %d characters", mostReason)}
	}
	if len(f.portals) == 0 && cmd.Flags().Changed("portal") {
		return &usageError{"--portal: is empty"} // a script's empty variable must not mean all
	}
	for i, name := range f.portals {
		if f.portals[i] = strings.TrimSpace(name); f.portals[i] == "" {
			return &usageError{"--portal: one of the values is empty"}
		}
	}
	return nil
}

// cancellation is what cancel prints.
type cancellation struct {
	Run       string `json:"run"`
	Cancelled int    `json:"cancelled"`
	Busy      int    `json:"busy"`    // were being worked on when they were last looked at
	Waiting   int    `json:"waiting"` // of the whole run
	Open      bool   `json:"open"`    // the producer has not said that it is done
}

func (c *cancellation) csvCells() []string {
	return []string{c.Run, strconv.Itoa(c.Cancelled), strconv.Itoa(c.Busy), strconv.Itoa(c.Waiting), strconv.FormatBool(c.Open)}
}

func (c *cancellation) tableCells() []string {
	return []string{report.Count(c.Cancelled), report.Count(c.Busy), report.Count(c.Waiting)}
}

func cancelLayout() layout {
	return layout{csv: []string{"run", "cancelled", "busy", "waiting", "open"}, table: []string{"CANCELLED", "IN WORK", "STILL WAITING"}}
}

func (a *app) cancel(ctx context.Context, base *engine.Base, run string, f *cancelFlags) error {
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return err
	}
	ids, waiting, err := cancelWhat(ctx, base, info, f.portals)
	if err != nil {
		return err
	}
	if question := cancelQuestion(info, waiting); question != "" {
		if err := a.confirm(ctx, question, f.yes); err != nil {
			return err
		}
	}
	out, err := a.newRecords(cancelLayout())
	if err != nil {
		return err
	}
	bar := report.NewProgress(a.std.err, report.ProgressOptions{
		Terminal: terminal(a.std.err) > 0, Quiet: a.common.quiet, Total: waiting, Width: terminal(a.std.err), Good: "cancelled",
	})
	did, err := tasks.Canceller{Redis: base.Redis, Runs: base.Runs, Portals: base.Registry}.Cancel(ctx, tasks.Cancel{
		Run: run, Portals: ids, Reason: f.reason,
		Told: func(n int) { bar.Update(report.Counts{Registered: n}) },
	})
	bar.Done()
	if err != nil {
		err = fmt.Errorf("%w\n%s cancelled; the same command goes on with those that still wait", err, report.Counted(did.Rows, "row"))
		return errors.Join(err, out.close())
	}
	return a.cancelled(ctx, base, run, ids, did, out)
}

// cancelQuestion is what is asked before; "" when there is nothing to end. Of an open
// run what is added while it is watched ends too.
func cancelQuestion(info runs.Info, waiting int) string {
	run := fmt.Sprintf("run %s (%s)", info.ID, report.Clean(info.Label))
	rows := report.Counted(waiting, "waiting row")
	switch {
	case info.Open && waiting == 0:
		return fmt.Sprintf("No row of %s waits. End what its producer adds meanwhile as dead?", run)
	case info.Open:
		return fmt.Sprintf("End %s of %s, and what its producer adds meanwhile, as dead?", rows, run)
	case waiting > 0:
		return fmt.Sprintf("End %s of %s as dead?", rows, run)
	}
	return ""
}

// cancelWhat returns the ids of the portals named, and how many rows are to be
// cancelled; no ids mean all portals.
func cancelWhat(ctx context.Context, base *engine.Base, info runs.Info, names []string) (ids []string, waiting int, err error) {
	if len(names) == 0 {
		return nil, info.Counts.Waiting, nil
	}
	all, err := findPortals(ctx, base.Registry, names)
	if err != nil {
		return nil, 0, err
	}
	for i := range all {
		ids = append(ids, all[i].ID)
	}
	waiting, err = waitingOf(ctx, base, info, ids)
	return ids, waiting, err
}

// waitingOf counts the rows of a run that wait for some portals; no ids mean all.
func waitingOf(ctx context.Context, base *engine.Base, info runs.Info, ids []string) (waiting int, err error) {
	if len(ids) == 0 {
		return info.Counts.Waiting, nil
	}
	wanted := map[string]int{}
	for _, id := range ids {
		wanted[id] = 0
	}
	err = base.Runs.Waiting(ctx, info.ID, func(id string, rows int) error {
		if _, ok := wanted[id]; ok {
			wanted[id] = rows // may be told twice
		}
		return nil
	})
	for _, rows := range wanted {
		waiting += rows
	}
	return waiting, err
}

// cancelled prints what was done, and says what is left of what was meant.
func (a *app) cancelled(ctx context.Context, base *engine.Base, run string, ids []string, did tasks.Cancelled, out *records) error {
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return errors.Join(err, out.close())
	}
	left, err := waitingOf(ctx, base, info, ids)
	if err != nil {
		return errors.Join(err, out.close())
	}
	c := &cancellation{Run: run, Cancelled: did.Rows, Busy: did.Busy, Waiting: info.Counts.Waiting, Open: info.Open}
	if err := errors.Join(out.write(c), out.close()); err != nil {
		return err
	}
	if did.Rows == 0 && did.Busy == 0 && left == 0 {
		a.sayf("nothing was cancelled: no row of run %s that was meant waits", run)
	}
	if did.Rows > 0 {
		a.sayf("the tasks of %s are deleted; to take it back: enqueue dead retry %s --code %s", report.Counted(did.Rows, "cancelled row"), run, tasks.CodeCancelled)
	}
	if did.Busy > 0 {
		a.sayf("in work are %s, which end by themselves; should a portal put them off, the same command again ends them", report.Counted(did.Busy, "row"))
	}
	switch {
	case info.Open:
		a.sayf("the run's producer has not said that it is done: if it still runs, stop it, and give the same command again")
	case left > did.Busy:
		a.sayf("added meanwhile, and still waiting, are %s: the same command again ends them", report.Counted(left-did.Busy, "row"))
	}
	if did.Busy > 0 || left > 0 || info.Open {
		return &exitError{code: exitUnfinished}
	}
	return nil
}
