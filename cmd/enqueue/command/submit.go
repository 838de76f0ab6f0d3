// enqueue submit: rows into Redis, for workers elsewhere.

package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

type submitFlags struct {
	inputFlags
	run    string
	wait   bool
	dryRun bool
}

func newSubmit(a *app) *cobra.Command {
	var f submitFlags
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Queue a file of rows in Redis, for a worker to register",
		Long: `Queue the rows of FILE and print the id of their run, before the first row is
queued. A worker registers them. When it is interrupted, --run ID with the same
FILE queues what is missing, and nothing twice.`,
		Example: "  enqueue submit --portals portals.csv --wait bots.csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if f.dryRun {
				return a.check(cmd.Context(), cfg, &checkFlags{inputFlags: f.inputFlags}, args)
			}
			return a.submit(cmd.Context(), cfg, &f, args)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.run, "run", "", "go on with the run of this `ID`: what is missing of it is queued, and rows exported with enqueue dead export take the place of their outcomes")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "follow the run to its end, and write its results")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only check, as the check command does")
	return cmd
}

func (a *app) submit(ctx context.Context, cfg config.Config, f *submitFlags, args []string) error {
	wish, err := f.onExisting()
	if err != nil {
		return err
	}
	entries, err := f.readPortals(cfg)
	if err != nil {
		return inputError(err)
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	defer base.HangUp(ctx)()
	endTracing, err := a.trace(ctx, cfg, base)
	if err != nil {
		return err
	}
	defer endTracing()
	if err := mayBegin(ctx, base, f.run, wish); err != nil {
		return err
	}
	dir := newMerged(entries, base.Registry)
	rows, err := f.openRows(ctx, args, a.std.in, func() ([]string, error) { return dir.names(ctx) })
	if err != nil {
		return inputError(err)
	}
	defer func() { _ = rows.Close() }()
	rep, err := a.inspect(ctx, cfg, rows, dir, f.skipInvalid)
	if err != nil {
		return err
	}
	d := &delivery{
		client: base.Client(cfg, cfg.ResultTTL, base.Gate(cfg)), runs: base.Runs, run: f.run, label: filepath.Base(rows.Name()), wish: wish, rows: rows, report: rep,
		refusals: &findings{w: a.std.err, file: rows.Name(), most: shownProblems},
	}
	if f.wait {
		// Where results go must be settled before rows do.
		if d.sink, _, err = a.results(); err != nil {
			return err
		}
	}
	if err := a.importPortals(ctx, base, entries); err != nil {
		return d.closing(err)
	}
	if err := a.beginRun(ctx, d, f.run); err != nil {
		return d.closing(err)
	}
	if f.wait {
		_, _ = fmt.Fprintf(a.std.err, "run %s\n", d.run)
	} else {
		_, _ = fmt.Fprintln(a.std.out, d.run)
	}
	if f.wait && !a.common.quiet {
		d.still = func(ctx context.Context) { a.tellWaits(ctx, cfg, base, d.run, d.bar.Log()) }
	}
	return d.closing(a.submitAndFollow(ctx, base, d, f.wait))
}

// mayBegin says why a new run cannot begin, or an earlier one not go on.
func mayBegin(ctx context.Context, base *engine.Base, run string, wish runs.OnExisting) error {
	if run == "" {
		return base.Room(ctx)
	}
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return err
	}
	if info.OnExisting != wish {
		return &usageError{fmt.Sprintf("run %s was begun with --on-existing %s, and goes on with that only", run, info.OnExisting)}
	}
	return nil
}

// importPortals stores the portals of a file.
func (a *app) importPortals(ctx context.Context, base *engine.Base, entries []portals.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	a.warnOfLimits(entries)
	got, err := base.Registry.Import(ctx, entries)
	if err != nil {
		return inputError(err)
	}
	a.sayf("portals: %s added, %s updated, %s unchanged", report.Count(got.Added), report.Count(got.Updated), report.Count(got.Unchanged))
	return nil
}

// sayf tells a person something, unless --quiet.
func (a *app) sayf(format string, args ...any) {
	if !a.common.quiet {
		_, _ = fmt.Fprintf(a.std.err, format+"\n", args...)
	}
}

// beginRun opens a new run, or takes up the one given.
func (a *app) beginRun(ctx context.Context, d *delivery, given string) error {
	if given != "" {
		if _, err := d.runs.Get(ctx, given); err != nil {
			return err
		}
		d.run = given
		return d.begin(ctx)
	}
	var err error
	if d.run, err = runs.NewID(); err != nil {
		return err
	}
	return d.begin(ctx)
}

func (a *app) submitAndFollow(ctx context.Context, base *engine.Base, d *delivery, wait bool) error {
	began := time.Now()
	if err := d.submit(ctx); err != nil {
		return a.broken(d, err)
	}
	if err := noteHandlers(ctx, base, d.report); err != nil {
		a.goesOn(d, err)
		return err
	}
	r := d.receipt
	a.sayf("queued %s in %s%s", report.Counted(r.queued, "row"), report.Duration(time.Since(began)), also(r))
	if !wait {
		if r.refused > 0 {
			return &exitError{code: exitUnfinished}
		}
		return nil
	}
	return a.follow(ctx, d, began)
}

func also(r receipts) string {
	s := ""
	for _, p := range []struct {
		n    int
		what string
	}{{r.registered, "registered already"}, {r.refused, "refused"}, {r.duplicate, "waiting in another row already"}} {
		if p.n > 0 {
			s += fmt.Sprintf(", %s %s", report.Count(p.n), p.what)
		}
	}
	return s
}

// broken says what got in before a submission ended early, and how to go on.
func (a *app) broken(d *delivery, err error) error {
	r := d.receipt
	got := r.queued + r.registered + r.refused + r.duplicate
	if errors.Is(err, tasks.ErrOtherBot) { // the same command would end in the same way
		return fmt.Errorf("%w\n%s of %s got in; a run goes on with its own input only: submit another one without --run", err, report.Count(got), report.Counted(d.report.Rows, "row"))
	}
	return fmt.Errorf("%w\n%s of %s got in; go on with the same command and --run %s", err, report.Count(got), report.Counted(d.report.Rows, "row"), d.run)
}

// follow shows a run's progress and writes its results.
func (a *app) follow(ctx context.Context, d *delivery, began time.Time) error {
	d.bar = a.progress(d.report.Rows, 0)
	err := d.closing(d.follow(ctx))
	d.bar.Done()
	var info runs.Info
	if err == nil {
		err = patient(ctx, a.std.err, func() (err error) { info, err = d.runs.Get(ctx, d.run); return err })
	}
	if err != nil {
		a.goesOn(d, err)
		return err
	}
	a.sayf("%s", summary(info.Counts, 0, time.Since(began)))
	return ended(info.Counts)
}

// goesOn says what becomes of a run whose follower ends with err, and what to type.
func (a *app) goesOn(d *delivery, err error) {
	switch {
	case errors.Is(err, runs.ErrUnknownRun): // nothing is left of it
	case d.over:
		a.sayf("the run has ended; its results: enqueue results %s", d.run)
	default:
		a.sayf("the run goes on without this command; see it with: enqueue status %s; its results: enqueue results %s", d.run, d.run)
	}
}

func (a *app) progress(total, done int) *report.Progress {
	return report.NewProgress(a.std.err, report.ProgressOptions{
		Terminal: terminal(a.std.err) > 0, Quiet: a.common.quiet, Total: total, Done: done, Width: terminal(a.std.err),
	})
}

// noteHandlers keeps which handler URLs each application uses, so that a later
// run that changes them is warned.
func noteHandlers(ctx context.Context, base *engine.Base, rep *intake.Report) error {
	for part := range slices.Chunk(rep.Handlers, notedAtOnce) {
		names := make([]string, len(part))
		for i, h := range part {
			names[i] = h.Portal
		}
		known, err := base.Registry.FindMany(ctx, names)
		if err != nil {
			return err
		}
		var notes []portals.HandlerNote
		for _, h := range part {
			if p, ok := known[h.Portal]; ok {
				notes = append(notes, portals.HandlerNote{PortalID: p.ID, App: h.Application, Digest: h.Digest})
			}
		}
		if err := base.Registry.NoteAllHandlers(ctx, notes); err != nil {
			return err
		}
	}
	return nil
}

// notedAtOnce bounds the memory that noting takes.
const notedAtOnce = 5000
