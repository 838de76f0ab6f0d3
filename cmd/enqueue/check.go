// enqueue check: everything that can be said about an input without sending anything.

package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
)

func newCheck(a *app) *cobra.Command {
	var in inputFlags
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Validate a file of rows, and estimate the work",
		Long: `Validate every row of FILE: each problem is one line with its place, on standard
output. Nothing is queued and nothing is sent. With --portals FILE no Redis is
needed; without it the portals stored in Redis are asked.`,
		Example: "  enqueue check --portals portals.csv bots.csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			return a.check(cmd.Context(), cfg, &in, args)
		},
	}
	in.add(cmd)
	return cmd
}

func (a *app) check(ctx context.Context, cfg config.Config, in *inputFlags, args []string) (err error) {
	dir, names, done, err := a.directory(ctx, cfg, in)
	if err != nil {
		return err
	}
	defer done()
	rows, err := in.openRows(ctx, args, a.std.in, names)
	if err != nil {
		return inputError(err)
	}
	defer func() { _ = rows.Close() }()
	return a.printCheck(ctx, cfg, rows, dir)
}

// directory is what is known of portals: the file's, or those stored in Redis.
func (a *app) directory(ctx context.Context, cfg config.Config, in *inputFlags) (dir intake.Portals, names func() ([]string, error), done func(), err error) {
	entries, err := in.readPortals(cfg)
	if err != nil {
		return nil, nil, nil, inputError(err)
	}
	if in.portals != "" {
		names = func() ([]string, error) {
			var all []string
			for i := range entries {
				all = append(all, entries[i].Name)
			}
			return all, nil
		}
		return newFileDirectory(entries), names, func() {}, nil
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return nil, nil, nil, err
	}
	return base.Registry, func() ([]string, error) { return portalNames(ctx, base.Registry) }, func() { _ = base.Close() }, nil
}

func (a *app) printCheck(ctx context.Context, cfg config.Config, rows rows, dir intake.Portals) error {
	p := &findings{w: a.std.out, file: rows.Name()}
	w := &findings{w: a.std.err, file: rows.Name(), most: shownWarnings, prefix: "warning: "}
	rep, err := lookOver(ctx, rows, dir, intake.Options{
		BatchSize: effectiveBatch(cfg), Parallel: cfg.PortalParallel,
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

// printReport says in two lines what was found and what the limits allow.
func printReport(w io.Writer, rep *intake.Report) {
	_, _ = fmt.Fprintf(w, "%s rows on %s portals: %s valid, %s invalid, %s problems, %s warnings\n",
		report.Count(rep.Rows), report.Count(rep.Portals), report.Count(rep.Rows-rep.Invalid), report.Count(rep.Invalid),
		report.Count(rep.Problems), report.Count(rep.Warnings))
	e := rep.Estimate
	if e.Requests == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "estimate: %s requests, about %s under the portals' limits%s\n", report.Count(e.Requests), report.Duration(e.Duration), bindsText(e))
}

func bindsText(e intake.Estimate) string {
	switch e.Binds {
	case ratelimit.Rate:
		return fmt.Sprintf("; the request rate of %s takes longest", e.Portal)
	case ratelimit.Budget:
		return fmt.Sprintf("; the operating time of %s takes longest", e.Portal)
	default:
		return "; no limit binds"
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
