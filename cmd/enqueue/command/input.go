// Input: the rows, the portals they name, and what is wrong with them.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/report"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks/runs"
)

// inputFlags are the options of commands that read rows.
type inputFlags struct {
	portals     string
	bot         string
	format      string
	skipInvalid bool
	existing    string
}

func (f *inputFlags) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.portals, "portals", "", "a `FILE` of portals and how to sign in to them (CSV or JSON Lines); they are stored, sealed, in Redis (check stores nothing). Without it: the portals stored there")
	p.StringVar(&f.bot, "bot", "", "a `FILE` with one bot (JSON) for every known portal, instead of rows")
	p.StringVar(&f.format, "input-format", "", "`FORMAT` of the rows: jsonl, json or csv, where the name of their file does not tell")
	p.StringVar(&f.existing, "on-existing", string(runs.Keep), "`WHAT` to do about bots that a portal has already: keep (leave them as they are), update (those of the same application are brought up to date, others are dead) or fail (dead)")
	p.BoolVar(&f.skipInvalid, "skip-invalid", false, "queue the valid rows, and report the others as refused")
}

// onExisting is what --on-existing says.
func (f *inputFlags) onExisting() (runs.OnExisting, error) {
	switch wish := runs.OnExisting(f.existing); wish {
	case runs.Keep, runs.Update, runs.Fail:
		return wish, nil
	}
	return "", &usageError{fmt.Sprintf("--on-existing %s: it is keep, update or fail", f.existing)}
}

// rows is a source of rows that can be read twice.
type rows interface {
	intake.Rows
	Close() error
}

// openRows opens FILE, or --bot on the given portals.
func (f *inputFlags) openRows(ctx context.Context, args []string, in io.Reader, names func() ([]string, error)) (rows, error) {
	switch {
	case f.bot != "" && len(args) > 0:
		return nil, &usageError{"give either FILE or --bot, not both"}
	case f.bot != "":
		bot, err := rowfile.LoadBot(f.bot)
		if err != nil {
			return nil, err
		}
		all, err := names()
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, errors.New("--bot: no portals are known; give them with --portals FILE")
		}
		return &oneBot{file: f.bot, bot: bot, portals: all}, nil
	case len(args) == 0:
		return nil, &usageError{`no FILE of rows given ("-" is standard input), and no --bot`}
	}
	return rowfile.Open(ctx, args[0], rowfile.Options{Format: f.format, Stdin: in})
}

// oneBot is one bot on each of many portals, as rows.
type oneBot struct {
	file    string
	bot     bitrix.Bot
	portals []string
}

func (o *oneBot) Name() string { return o.file }
func (o *oneBot) Close() error { return nil }

func (o *oneBot) Rows() iter.Seq2[rowfile.Row, error] {
	return func(yield func(rowfile.Row, error) bool) {
		for i, name := range o.portals {
			if !yield(rowfile.Row{Number: i + 1, Line: 1, Portal: name, Bot: o.bot}, nil) {
				return
			}
		}
	}
}

// readPortals reads --portals; without it there are none.
func (f *inputFlags) readPortals(cfg config.Config) ([]portals.Entry, error) {
	if f.portals == "" {
		return nil, nil
	}
	entries, err := portals.ReadFile(f.portals, cfg.Endpoints)
	if err != nil {
		return nil, &exitError{exitRefused, err}
	}
	return entries, nil
}

// warnOfLimits tells a person of limits that are possible, but strange.
func (a *app) warnOfLimits(entries []portals.Entry) {
	strange := slices.DeleteFunc(portals.Strange(entries), func(p portals.Problem) bool { return p.File == "" }) // made up by the sandbox
	for i, p := range strange {
		if i == shownWarnings {
			_, _ = fmt.Fprintf(a.std.err, "warning: … and %s more warnings\n", report.Count(len(strange)-shownWarnings))
			break
		}
		_, _ = fmt.Fprintln(a.std.err, "warning: "+p.String())
	}
}

const (
	// shownProblems and shownWarnings are how many of each a command prints
	// when it was asked for something else.
	shownProblems = 20
	shownWarnings = 20
)

// inspect looks the whole input over. When it is refused, it says why and
// returns an exitError.
func (a *app) inspect(ctx context.Context, cfg config.Config, in rows, dir intake.Portals, skipInvalid bool) (*intake.Report, error) {
	p := &findings{w: a.std.err, file: in.Name(), most: shownProblems}
	w := &findings{w: a.std.err, file: in.Name(), most: shownWarnings, prefix: "warning: "}
	rep, err := lookOver(ctx, in, dir, intake.Options{
		BatchSize: effectiveBatch(cfg), Parallel: cfg.PortalParallel, SkipInvalid: skipInvalid,
		Problem: func(f intake.Finding) error { p.print(f); return nil },
		Warning: w.print,
	})
	p.rest("problems (enqueue check prints them all)")
	w.rest("warnings")
	if err != nil {
		return rep, inputError(err)
	}
	if rep.Invalid > 0 && !skipInvalid {
		return rep, &exitError{exitRefused, fmt.Errorf("%s of %s %s invalid, and nothing was queued; mend %s, or queue the others with --skip-invalid",
			report.Count(rep.Invalid), report.Counted(rep.Rows, "row"), one(rep.Invalid, "is", "are"), one(rep.Invalid, "it", "them"))}
	}
	return rep, nil
}

// one is a word for one thing, or for more.
func one(n int, single, plural string) string {
	if n == 1 {
		return single
	}
	return plural
}

// inputError gives errors of the input itself their exit status.
func inputError(err error) error {
	var bad *rowfile.Error
	var badPortals *portals.FileError
	if errors.As(err, &bad) || errors.As(err, &badPortals) {
		return &exitError{exitRefused, err}
	}
	return err
}

func effectiveBatch(cfg config.Config) int {
	if cfg.Batch == "off" {
		return 1
	}
	return cfg.BatchSize
}

// findings prints findings, up to a number.
type findings struct {
	w      io.Writer
	file   string
	most   int // 0: all
	prefix string
	n      int
}

func (p *findings) print(f intake.Finding) {
	p.n++
	if p.most > 0 && p.n > p.most {
		return
	}
	_, _ = fmt.Fprintln(p.w, p.prefix+line(p.file, f))
}

func (p *findings) rest(of string) {
	if p.most > 0 && p.n > p.most {
		_, _ = fmt.Fprintf(p.w, "%s… and %s more %s\n", p.prefix, report.Count(p.n-p.most), of)
	}
}

// line is one finding in one line: file:line: field: problem (CODE).
func line(file string, f intake.Finding) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s:%d: ", file, f.Row.Line)
	if f.Problem.Field != "" {
		b.WriteString(f.Problem.Field + ": ")
	}
	b.WriteString(report.Clean(f.Problem.Problem))
	if c := f.Problem.Code; c != "" && c != rowfile.CodeInput {
		b.WriteString(" (" + c + ")")
	}
	return b.String()
}

// fileDirectory answers for portals from a file alone, where there is no Redis.
type fileDirectory map[string]portals.Portal

func newFileDirectory(entries []portals.Entry) fileDirectory {
	d := make(fileDirectory, len(entries))
	for i := range entries {
		e := &entries[i]
		kind := portals.OAuth
		if e.Access.Webhook() {
			kind = portals.Webhook
		}
		d[e.Name] = portals.Portal{
			ID:   e.Name, // permanent enough for one look
			Name: e.Name, Kind: kind, ClientID: e.ClientID, Plan: e.Plan, Limits: e.Limits, ServerTimeout: e.ServerTimeout,
			Credential: e.Access.Fingerprint(),
		}
	}
	return d
}

// FindMany returns the portals among names.
func (d fileDirectory) FindMany(_ context.Context, names []string) (map[string]portals.Portal, error) {
	found := make(map[string]portals.Portal, len(names))
	for _, n := range names {
		if p, ok := d[n]; ok {
			found[n] = p
		}
	}
	return found, nil
}

// names lists the portals, for --bot.
func (d fileDirectory) names(context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(d)), nil
}

// merged are the portals of a file before the stored ones, as they will be once
// the file is stored: an input that is refused must not have changed anything.
type merged struct {
	file   fileDirectory
	stored *portals.Registry
}

func newMerged(entries []portals.Entry, stored *portals.Registry) merged {
	return merged{newFileDirectory(entries), stored}
}

// FindMany returns the portals among names.
func (m merged) FindMany(ctx context.Context, names []string) (map[string]portals.Portal, error) {
	found, err := m.stored.FindMany(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		p, ok := m.file[n]
		if !ok {
			continue
		}
		if old, known := found[n]; known {
			p.ID = old.ID
		}
		found[n] = p
	}
	return found, nil
}

// Handlers are those of earlier runs; a portal not stored yet has none.
func (m merged) Handlers(ctx context.Context, id string) (map[string]string, error) {
	return m.stored.Handlers(ctx, id)
}

// names lists the portals, for --bot.
func (m merged) names(ctx context.Context) ([]string, error) {
	all, err := portalNames(ctx, m.stored)
	if err != nil {
		return nil, err
	}
	for name := range m.file {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Handlers knows nothing of earlier runs.
func (d fileDirectory) Handlers(context.Context, string) (map[string]string, error) { return nil, nil }

// problemsOf are a row's problems as submission records them.
func problemsOf(row *rowfile.Row, rep *intake.Report) []bitrix.Problem {
	problems := row.Problems
	if first, ok := rep.Doubles[row.Number]; ok {
		problems = append(problems, intake.DoubleProblem(first))
	}
	return problems
}
