// enqueue check: everything that can be said about an input without sending anything.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

// checkFlags are the options of check.
type checkFlags struct {
	inputFlags
	rowCost, latency time.Duration
}

func (f *checkFlags) add(cmd *cobra.Command) {
	f.inputFlags.add(cmd)
	cmd.Flags().DurationVar(&f.rowCost, "row-cost", 0, "for the estimate: how long a portal works on a row, such as 300ms (default: as workers have learned, else unknown)")
	cmd.Flags().DurationVar(&f.latency, "latency", 0, "for the estimate: what a request takes beside the work on its rows, such as 80ms (default unknown)")
}

func (f *checkFlags) validate() error {
	if f.rowCost < 0 || f.latency < 0 {
		return errors.New("--row-cost and --latency cannot be negative")
	}
	return nil
}

func newCheck(a *app) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Validate a file of rows, and estimate the work",
		Long: `Validate every row of FILE: each problem is one line with its place, on standard
output. Nothing is queued and nothing is sent. With --portals FILE no Redis is
needed; without it the portals stored in Redis are asked.

The estimate says how many requests it takes and how long, and which limit binds
on which portal. It is reckoned as the workers' gate does, for portals at rest;
with a Redis (REDIS_URL), from what they are doing now and what their rows have
cost so far. Where nobody knows what a row costs, only the request rate counts:
say it with --row-cost and --latency. The slots that bind where no portal does
are those of the workers alive, else --concurrency.`,
		Example: "  enqueue check --portals portals.csv bots.csv\n  enqueue check --portals portals.csv --row-cost 300ms --latency 80ms bots.csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			return a.check(cmd.Context(), cfg, &f, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) check(ctx context.Context, cfg config.Config, f *checkFlags, args []string) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	wish, err := f.onExisting()
	if err != nil {
		return err
	}
	if wish == runs.Update { // two commands a row
		cfg.BatchSize = min(cfg.BatchSize, bitrix.MaxBatch/2)
	}
	entries, err := f.readPortals(cfg)
	if err != nil {
		return inputError(err)
	}
	a.warnOfLimits(entries)
	base, err := a.checkBase(ctx, cfg, f)
	if err != nil {
		return err
	}
	if base != nil {
		defer func() { _ = base.Close() }()
		defer base.HangUp(ctx)()
	}
	dir := newDirectory(entries, base)
	rows, err := f.openRows(ctx, args, a.std.in, func() ([]string, error) { return dir.names(ctx) })
	if err != nil {
		return inputError(err)
	}
	defer func() { _ = rows.Close() }()
	known, err := f.known(ctx, cfg, base)
	if err != nil {
		return err
	}
	return a.printCheck(ctx, cfg, rows, dir, known)
}

// checkBase opens the Redis that check asks: needed where no portals file is
// given, and asked where REDIS_URL says that there is one. It may be nil.
func (a *app) checkBase(ctx context.Context, cfg config.Config, f *checkFlags) (*engine.Base, error) {
	if f.portals != "" && !cfg.Given["REDIS_URL"] {
		return nil, nil //nolint:nilnil // there is none, and none is needed
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil && f.portals != "" && ctx.Err() == nil {
		a.sayf("note: checked without Redis, for portals at rest: %v", err)
		return nil, nil //nolint:nilnil // as above
	}
	return base, err
}

// checkDirectory is what is known of portals: those of a file, those stored, or both.
type checkDirectory interface {
	intake.Portals
	names(ctx context.Context) ([]string, error)
}

func newDirectory(entries []portals.Entry, base *engine.Base) checkDirectory {
	if base == nil {
		return newFileDirectory(entries)
	}
	return newMerged(entries, base.Registry)
}

// known is what the estimate is made from beside the portals' limits.
func (f *checkFlags) known(ctx context.Context, cfg config.Config, base *engine.Base) (outlook.Outlook, error) {
	o := outlook.Outlook{Cost: f.rowCost, Latency: f.latency, Slots: cfg.Concurrency}
	if base == nil {
		return o, nil
	}
	there, err := fleetOf(ctx, base)
	if err != nil {
		return o, err
	}
	if there.Slots > 0 {
		o.Slots = there.Slots
	}
	o.Gate = base.Gate(cfg)
	o.Now, err = clockOf(ctx, base.Redis)
	return o, err
}

func (a *app) printCheck(ctx context.Context, cfg config.Config, rows rows, dir intake.Portals, known outlook.Outlook) error {
	p := &findings{w: a.std.out, file: rows.Name()}
	w := &findings{w: a.std.err, file: rows.Name(), most: shownWarnings, prefix: "warning: "}
	rep, err := lookOver(ctx, rows, dir, intake.Options{
		BatchSize: effectiveBatch(cfg), Parallel: cfg.PortalParallel, Outlook: known,
		Problem: func(f intake.Finding) error { p.print(f); return nil },
		Warning: w.print,
	})
	w.rest("warnings")
	if err != nil {
		return inputError(err)
	}
	printReport(a.std.err, rep)
	if rep.Invalid > 0 {
		return &exitError{code: exitRefused}
	}
	return nil
}

// printReport says what was found and what the limits allow.
func printReport(w io.Writer, rep *intake.Report) {
	_, _ = fmt.Fprintf(w, "%s on %s: %s valid, %s invalid, %s, %s\n",
		report.Counted(rep.Rows, "row"), report.Counted(rep.Portals, "portal"), report.Count(rep.Rows-rep.Invalid), report.Count(rep.Invalid),
		report.Counted(rep.Problems, "problem"), report.Counted(rep.Warnings, "warning"))
	e := rep.Estimate
	if e.Requests > 0 {
		_, _ = fmt.Fprintf(w, "estimate: %s, about %s; %s\n", report.Counted(e.Requests, "request"), report.Duration(e.Duration), outlook.BindsWords(e.Binds, e.Portal))
	}
	if e.Costless > 0 {
		_, _ = fmt.Fprintf(w, "what a row costs is not known for %s: for them only the request rate counts, and it may take longer; --row-cost and --latency say it\n",
			report.Counted(e.Costless, "row"))
	}
	if e.Held+e.Silent > 0 {
		_, _ = fmt.Fprintf(w, "not in it are the rows of closed portals: %s held, %s silent\n", report.Counted(e.Held, "portal"), report.Count(e.Silent))
	}
}

// portalNames lists the stored portals, for --bot.
func portalNames(ctx context.Context, r *portals.Registry) ([]string, error) {
	var names []string
	err := r.Each(ctx, func(p portals.Portal) error {
		names = append(names, p.Name)
		return nil
	})
	slices.Sort(names)
	return names, err
}
