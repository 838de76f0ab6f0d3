// enqueue dead: a run's dead rows, and what its commands share.

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

func newDead(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look after the dead rows of a run: list, export, retry; prune the dashboard's view of them",
		Long: `Look after the dead rows of a run: those given up, with the error they died of.
They are kept as long as the run (RESULT_TTL after its end), however many they are.

What is wrong with the rows themselves is mended in a file: export them, mend
them, and submit the file again under the same run. What was wrong elsewhere
needs no file: retry queues the rows again as they are.

prune is about all runs: it deletes the tasks in which the dashboard shows dead rows.`,
		Example: `  enqueue dead list RUN --class validation
  enqueue dead export RUN --output failed.csv
  enqueue submit --run RUN failed.csv
  enqueue dead retry RUN --code PORTAL_SILENT --reason "the portals are back"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return &usageError{fmt.Sprintf("unknown command %q for %q; it is list, export, retry or prune", args[0], cmd.CommandPath())}
		},
	}
	cmd.AddCommand(newDeadList(a), newDeadExport(a), newDeadRetry(a), newDeadPrune(a))
	return cmd
}

// deadFilter chooses among dead rows. A choice that is not made takes all.
type deadFilter struct {
	codes, classes, portals []string
	ids                     []string // permanent ids of portals
}

// deadClasses are the classes of errors that rows die of.
func deadClasses() []string {
	return []string{
		string(bitrix.Validation), string(bitrix.Conflict), string(bitrix.Blocked), string(bitrix.Ambiguous), string(bitrix.Transient),
		sweep.ClassOperator,
	}
}

func (f *deadFilter) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringSliceVar(&f.codes, "code", nil, "only rows with one of these error `CODES`, in any case: NAME_ERROR,PORTAL_SILENT")
	p.StringSliceVar(&f.classes, "class", nil, "only rows with an error of one of these `CLASSES`: "+strings.Join(deadClasses(), ", "))
	p.StringSliceVar(&f.portals, "portal", nil, "only rows of these `PORTALS`, under whatever name they were submitted: acme.bitrix24.ru,beta.bitrix24.ru")
}

// check makes the choices comparable, and refuses one of nothing.
func (f *deadFilter) check(cmd *cobra.Command) error {
	for _, c := range []struct {
		flag  string
		words []string
	}{{"code", f.codes}, {"class", f.classes}, {"portal", f.portals}} {
		if len(c.words) == 0 && cmd.Flags().Changed(c.flag) {
			return &usageError{"--" + c.flag + ": is empty"} // a script's empty variable must not mean all
		}
		for i, w := range c.words {
			if c.words[i] = strings.ToLower(strings.TrimSpace(w)); c.words[i] == "" {
				return &usageError{"--" + c.flag + ": one of the values is empty"}
			}
		}
	}
	for _, c := range f.classes {
		if !slices.Contains(deadClasses(), c) {
			return &usageError{unknownClass(c)}
		}
	}
	return nil
}

func unknownClass(name string) string {
	text := fmt.Sprintf("--class: %q is not one of %s", name, strings.Join(deadClasses(), ", "))
	if near := nearest(name, deadClasses()); near != "" {
		text += "; did you mean " + near + "?"
	}
	return text
}

// resolve finds the permanent ids of the portals named: rows keep the name that
// their portal had when they were submitted. A portal that is not known any more
// is left to its name.
func (f *deadFilter) resolve(ctx context.Context, r *portals.Registry) error {
	if len(f.portals) == 0 {
		return nil
	}
	known, err := r.FindMany(ctx, f.portals)
	if err != nil {
		return err
	}
	for _, name := range f.portals {
		p, ok := known[name]
		if !ok {
			p, err = findByID(ctx, r, name)
		}
		switch {
		case errors.Is(err, portals.ErrUnknown):
			err = nil
		case err != nil:
			return err
		default:
			f.ids = append(f.ids, p.ID)
		}
	}
	return nil
}

func (f *deadFilter) takes(o *runs.Outcome) bool {
	return o.Status == runs.StatusDead &&
		chosen(f.codes, errorCode(o)) && chosen(f.classes, o.Class) &&
		(chosen(f.portals, o.Portal) || slices.Contains(f.ids, o.PortalID))
}

func chosen(words []string, value string) bool {
	return len(words) == 0 || slices.Contains(words, strings.ToLower(value))
}

func errorCode(o *runs.Outcome) string {
	if o.Error == nil {
		return ""
	}
	return o.Error.Code
}

// eachDead calls yield with the chosen dead rows of a run, in their order, and
// with no more of them in memory than share a hash. It ends as ctx does.
func eachDead(ctx context.Context, store *runs.Store, run string, f *deadFilter, yield func(*runs.Outcome) error) error {
	err := store.Outcomes(ctx, run, func(o runs.Outcome) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !f.takes(&o) {
			return nil
		}
		return yield(&o)
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // whatever Redis said of being broken off
	}
	return err
}

// tally counts dead rows by class and code.
type tally struct {
	rows  int
	kinds map[deadKind]int
}

type deadKind struct{ class, code string }

// mostKinds bounds a tally: portals may make up codes.
const mostKinds = 200

func (t *tally) add(o *runs.Outcome) {
	t.rows++
	if t.kinds == nil {
		t.kinds = map[deadKind]int{}
	}
	kind := deadKind{o.Class, strings.ToUpper(errorCode(o))}
	if _, known := t.kinds[kind]; !known && len(t.kinds) >= mostKinds {
		kind = deadKind{o.Class, "(other codes)"}
	}
	t.kinds[kind]++
}

// tell says what was counted, the most frequent first; of a run in which none
// was chosen, how many dead rows there are.
func (a *app) tell(t *tally, info runs.Info) {
	if t.rows == 0 {
		if info.Counts.Dead == 0 {
			a.sayf("run %s has no dead rows", info.ID)
		} else {
			a.sayf("run %s has %s, and none of them was chosen", info.ID, report.Counted(info.Counts.Dead, "dead row"))
		}
		return
	}
	a.sayf("%s of run %s:", report.Counted(t.rows, "dead row"), info.ID)
	kinds := make([]deadKind, 0, len(t.kinds))
	for k := range t.kinds {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(x, y deadKind) int {
		return cmp.Or(t.kinds[y]-t.kinds[x], strings.Compare(x.class, y.class), strings.Compare(x.code, y.code))
	})
	for _, k := range kinds {
		a.sayf("%8s  %s %s", report.Count(t.kinds[k]), report.Clean(k.class), report.Clean(k.code))
	}
}
