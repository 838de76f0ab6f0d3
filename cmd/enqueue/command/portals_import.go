// enqueue portals import: a file of portals into the registry, all or nothing.

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
)

func newPortalsImport(a *app) *cobra.Command {
	var format string
	var lostKey bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Store the portals of a file, sealed, in Redis",
		Long: `Store the portals of FILE (CSV, JSON Lines or JSON; "-" is standard input) and
their credentials, sealed under SECRETS_KEY. It is all or nothing: every problem
is told with its line, and then nothing was stored.

A portal that is known already, by host or member_id, keeps its id, its queue and
its rows. New credentials take the place of the old ones, end a hold, and bring
back a portal that was gone. Credentials that were imported before do not
overwrite what was refreshed since, so the same file may be imported again.

Where stored credentials do not open under SECRETS_KEY, nothing is stored: under
another key than the workers', no worker would open what this command seals. Only
when that key is lost for good, --lost-key lets the file replace what does not open.

` + portalsImportExitHelp,
		Example: "  enqueue portals import portals.csv\n  vault read -field=portals kv/bots | enqueue portals import --input-format jsonl -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			return a.portalsImport(cmd.Context(), cfg, args[0], format, lostKey)
		},
	}
	cmd.Flags().StringVar(&format, "input-format", "", "`FORMAT` of standard input: csv, jsonl or json")
	cmd.Flags().BoolVar(&lostKey, "lost-key", false, "replace stored credentials that do not open: their key is lost")
	return cmd
}

const portalsImportExitHelp = `Exit status:
  0    every portal is stored
  1    it could not be done: usage, connection, configuration
  3    the file was refused, and nothing was stored
  130  interrupted`

// importReport is what import prints.
type importReport struct {
	Added     int             `json:"added"`
	Updated   int             `json:"updated"`
	Unchanged int             `json:"unchanged"`
	Released  []releasedHold  `json:"released,omitempty"`
	Back      []string        `json:"back,omitempty"` // were gone
	Problems  []importProblem `json:"problems,omitempty"`
}

// releasedHold is a hold that new credentials have ended.
type releasedHold struct {
	Portal string  `json:"portal"`
	Was    *holdOf `json:"was"`
}

type importProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

func (r *importReport) csvCells() []string {
	return []string{strconv.Itoa(r.Added), strconv.Itoa(r.Updated), strconv.Itoa(r.Unchanged), strconv.Itoa(len(r.Released)), strconv.Itoa(len(r.Back))}
}

func (r *importReport) tableCells() []string { return r.csvCells() }

func importLayout() layout {
	names := []string{"added", "updated", "unchanged", "released", "back"}
	return layout{csv: names, table: []string{"ADDED", "UPDATED", "UNCHANGED", "RELEASED", "BACK"}}
}

func (a *app) portalsImport(ctx context.Context, cfg config.Config, file, format string, lostKey bool) error {
	entries, err := a.readPortalsFile(file, format, cfg)
	if err != nil {
		return a.refusedImport(err)
	}
	if cfg.Keys.Empty() {
		return portals.ErrNoKey
	}
	a.warnOfLimits(entries)
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	defer base.HangUp(ctx)()
	before, err := stored(ctx, base.Registry, entries)
	if err != nil {
		return err
	}
	into := base.Registry.Import
	if lostKey {
		into = base.Registry.ImportLostKey
	}
	got, err := into(ctx, entries)
	if err != nil {
		if n := got.Added + got.Updated; n > 0 {
			err = fmt.Errorf("%w\n%s of %s are stored; the same command again stores the others",
				err, report.Counted(n, "portal"), report.Count(len(entries)))
		}
		return a.refusedImport(err)
	}
	after, err := stored(ctx, base.Registry, entries)
	if err != nil {
		return err
	}
	rep := &importReport{Added: got.Added, Updated: got.Updated, Unchanged: got.Unchanged}
	if err := rep.compare(ctx, base.Gate(cfg), before, after); err != nil {
		return err
	}
	return a.printImport(rep)
}

// readPortalsFile reads a portals file, or standard input for "-".
func (a *app) readPortalsFile(file, format string, cfg config.Config) (entries []portals.Entry, err error) {
	f := portals.Format(strings.ToLower(format))
	switch {
	case file != "-" && format != "":
		return nil, &usageError{"--input-format is for standard input; a file is read as its name ends"}
	case file != "-":
		entries, err = portals.ReadFile(file, cfg.Endpoints)
	case f != portals.CSV && f != portals.JSONLines && f != portals.JSON:
		return nil, &usageError{"standard input needs --input-format csv, jsonl or json"}
	default:
		entries, err = portals.Read(a.std.in, f, "standard input", cfg.Endpoints)
	}
	if err != nil {
		return nil, &exitError{exitRefused, err}
	}
	return entries, nil
}

// refusedImport prints all problems of a file that was refused, and returns
// what ends the command. Errors of another kind are returned as they are.
func (a *app) refusedImport(err error) error {
	var bad *portals.FileError
	if !errors.As(err, &bad) {
		return err
	}
	if f := a.stdoutFormat(); f == report.JSON || f == report.JSONL {
		rep := &importReport{}
		for _, p := range bad.Problems {
			rep.Problems = append(rep.Problems, importProblem{report.Clean(p.File), p.Line, p.Field, report.Clean(p.Text)})
		}
		if err := a.printImport(rep); err != nil {
			return err
		}
	} else {
		a.printProblems(bad)
	}
	return &exitError{exitRefused, fmt.Errorf("%s; nothing was stored", report.Counted(len(bad.Problems), "problem"))}
}

// printProblems prints every problem of a portals file, one a line.
func (a *app) printProblems(bad *portals.FileError) {
	for _, p := range bad.Problems {
		_, _ = fmt.Fprintln(a.std.err, report.Clean(p.String()))
	}
}

// stored returns the stored portals of entries, by id.
func stored(ctx context.Context, r *portals.Registry, entries []portals.Entry) (map[string]portals.Portal, error) {
	names := make([]string, 0, len(entries))
	for i := range entries {
		names = append(names, entries[i].Access.Host())
		if m := entries[i].MemberID; m != "" {
			names = append(names, m)
		}
	}
	found, err := r.FindMany(ctx, names)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]portals.Portal, len(found))
	for _, p := range found {
		byID[p.ID] = p
	}
	return byID, nil
}

// compare finds the holds that have ended, and tells the gate of them: a
// worker that starts later knows nothing of them.
func (r *importReport) compare(ctx context.Context, gate ratelimit.Gate, before, after map[string]portals.Portal) error {
	for _, was := range sortedPortals(before) {
		is, there := after[was.ID]
		if there && was.Gone != nil && is.Gone == nil {
			r.Back = append(r.Back, is.Name)
		}
		if !there || was.Held == nil || is.Held != nil {
			continue
		}
		r.Released = append(r.Released, releasedHold{is.Name, heldAs(was.Held)})
		if err := gate.Release(ctx, was.ID); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printImport(rep *importReport) error {
	for _, h := range rep.Released {
		a.sayf("released: %s was %s", h.Portal, h.Was.words())
	}
	for _, name := range rep.Back {
		a.sayf("back: %s was gone", name)
	}
	out, err := a.newRecords(importLayout())
	if err != nil {
		return err
	}
	return errors.Join(out.write(rep), out.close())
}
