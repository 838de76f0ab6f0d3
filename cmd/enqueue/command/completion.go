// What shells may offer on the command line of enqueue.

package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/completion"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

const (
	// completeWithin bounds a look into Redis: somebody waits with a finger on Tab.
	completeWithin = time.Second
	// completeRuns and completePortals are how many runs and portals are offered.
	completeRuns    = 50
	completePortals = 100
)

// complete says what may stand where on the command lines of all commands.
func (a *app) complete(root *cobra.Command) {
	for path, offer := range a.arguments() {
		if c, _, err := root.Find(strings.Fields(path)); err == nil {
			c.ValidArgsFunction = offer
		}
	}
	completion.Fill(root, a.values())
}

func portalsFiles() cobra.CompletionFunc { return completion.Files("csv", "jsonl", "ndjson", "json") }

func rowsFiles() cobra.CompletionFunc { return completion.Files("jsonl", "ndjson", "json", "csv") }

// arguments are what is offered beside options, by command.
func (a *app) arguments() map[string]cobra.CompletionFunc {
	rows, run := completion.First(rowsFiles()), completion.First(a.offerRuns)
	return map[string]cobra.CompletionFunc{
		"run": rows, "check": rows, "submit": rows,
		"status": run, "results": run, "dead list": run, "dead export": run, "dead retry": run, "cancel": run,
		"portals import": completion.First(portalsFiles()),
		"portals check":  a.offerPortals, "portals hold": a.offerPortals, "portals release": a.offerPortals, "portals remove": a.offerPortals,
	}
}

// values are what is offered as the value of an option, by its name.
func (a *app) values() map[string]cobra.CompletionFunc {
	values := completion.Settings()
	values["output"] = rowsFiles()
	values["format"] = offerFormats
	values["input-format"] = completion.Words("jsonl", "json", "csv")
	values["portals"] = portalsFiles()
	values["bot"] = completion.Files("json")
	values["on-existing"] = completion.Words(string(runs.Keep), string(runs.Update), string(runs.Fail))
	values["only"] = completion.List(string(runs.StatusRegistered), string(runs.StatusDead), string(runs.StatusRefused), string(runs.StatusDuplicate))
	values["class"] = completion.List(deadClasses()...)
	values["code"] = completion.Lists(a.offerCodes)
	values["state"] = completion.List(string(stateActive), string(stateHeld), string(stateGone))
	values["portal"] = completion.Lists(func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return a.offerPortals(cmd, nil, begun) // the arguments are no portals
	})
	values["run"] = a.offerRuns
	values["queue"] = completion.Lists(a.offerQueues)
	return values
}

// offerFormats offers what --format may be: rows of input are no table.
func offerFormats(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	formats := []string{report.JSONL, report.JSON, report.CSV}
	if cmd.Name() != "export" {
		formats = append(formats, report.Table)
	}
	return completion.Words(formats...)(cmd, args, begun)
}

// ask asks Redis while somebody waits: it gets an answer soon, or none. What goes
// wrong is not told, as a shell has no place for it.
func (a *app) ask(cmd *cobra.Command, f func(ctx context.Context, base *engine.Base) []string) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	// A Redis that hangs may be left late: the goroutine ends soon after, or with the
	// process, which has nothing else to do.
	answer := make(chan []string, 1)
	go func() { answer <- a.asked(ctx, f) }()
	select {
	case found := <-answer:
		return found
	case <-ctx.Done():
		return nil
	}
}

func (a *app) asked(ctx context.Context, f func(ctx context.Context, base *engine.Base) []string) []string {
	cfg, err := a.config()
	if err != nil {
		return nil
	}
	cfg.AllowEviction = true // what its Redis may lose is not asked here
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return nil
	}
	defer func() { _ = base.Close() }()
	return f(ctx, base)
}

// offerRuns offers the newest runs, each with what was submitted.
func (a *app) offerRuns(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	all := a.ask(cmd, func(ctx context.Context, base *engine.Base) (all []string) {
		infos, err := base.Runs.List(ctx, completeRuns)
		if err != nil {
			return nil
		}
		for _, i := range infos {
			if s := statusOf(i); strings.HasPrefix(s.Run, begun) {
				all = append(all, s.Run+"\t"+report.Clean(s.Label)+", "+s.State+", "+day(s.Created))
			}
		}
		return all
	})
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// offerCodes offers the codes that rows of the run named have died of.
func (a *app) offerCodes(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	const how = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	if len(args) == 0 {
		return nil, how
	}
	return a.ask(cmd, func(ctx context.Context, base *engine.Base) (all []string) {
		info, err := base.Runs.Get(ctx, args[0])
		if err != nil {
			return nil
		}
		for _, d := range info.DeadBy {
			code := report.Clean(d.Code)
			if code != runs.CodeOther && strings.HasPrefix(strings.ToLower(code), strings.ToLower(begun)) {
				all = append(all, code+"\t"+report.Clean(d.Class)+", "+report.Counted(d.Rows, "row"))
			}
		}
		return all
	}), how
}

// errEnough ends a search that has found enough.
var errEnough = errors.New("enough found")

// offerPortals offers the hosts of stored portals, but for those that are there.
func (a *app) offerPortals(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	names := a.ask(cmd, func(ctx context.Context, base *engine.Base) (names []string) {
		err := base.Registry.Each(ctx, func(p portals.Portal) error {
			if !strings.HasPrefix(p.Name, strings.ToLower(begun)) || slices.Contains(args, p.Name) {
				return nil
			}
			if names = append(names, p.Name); len(names) == completePortals {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil
		}
		return names
	})
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// offerQueues offers the queues that portals have.
func (a *app) offerQueues(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	names := a.ask(cmd, func(ctx context.Context, base *engine.Base) []string {
		all, err := base.Registry.Queues(ctx)
		if err != nil {
			return nil
		}
		return slices.DeleteFunc(all, func(q string) bool { return !strings.HasPrefix(q, begun) })
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
