// The root command, and what all commands have in common.

package command

import (
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"botfleet/cmd/internal/completion"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/version"
)

// app is what a command works with.
type app struct {
	options Options
	environ []string
	std     stdio
	flags   config.Flags
	common  common
}

// common are the options of all commands.
type common struct {
	output  string
	format  string
	quiet   bool
	noColor bool
}

func newRoot(o Options, environ []string, std stdio) *cobra.Command {
	a := &app{options: o, environ: environ, std: std}
	root := &cobra.Command{
		Use:   "enqueue",
		Short: "Register Bitrix24 chat bots in bulk",
		Long: `Register Bitrix24 chat bots in bulk, from a file of rows, over many portals.

run does everything in one process. submit, status, results, cancel and dead are for
rows that workers register (see worker --help), which share a Redis with this
command; pause and resume stop them all and let them go on; portals and doctor look
after what is in it. Data goes to standard output or
--output, everything else to standard error.

` + exitHelp + `

Environment (a flag of the same name beats it):
` + config.Help(),
		Example: `  enqueue run --sandbox                                      # try it: nothing leaves the machine
  enqueue check --portals portals.csv bots.csv               # what is wrong with the rows, and how long they take
  enqueue run --portals portals.csv --output out.jsonl bots.csv`,
		Version:       version.Long(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	p := root.PersistentFlags()
	p.StringVar(&a.common.output, "output", "", "a `FILE` for the results, instead of standard output; run takes up what an earlier run has written there")
	p.StringVar(&a.common.format, "format", "", "the `FORMAT` of the results: jsonl, json, csv or table (default: table on a terminal, jsonl elsewhere; a file: by its name)")
	p.BoolVar(&a.common.quiet, "quiet", false, "show no progress")
	p.BoolVar(&a.common.noColor, "no-color", false, "no colours (also NO_COLOR)")
	a.flags = config.AddFlags(p)
	// The settings are in the table above; as flags they would bury the rest.
	config.HideFlags(p)
	root.AddCommand(newRun(a), newCheck(a), newSubmit(a), newStatus(a), newResults(a), newCancel(a), newDead(a), newPause(a), newResume(a), newPortals(a), newDoctor(a), completion.Command("enqueue"))
	a.complete(root)
	explainExits(root)
	return root
}

// config reads the settings. What the Redis client has to say reaches the user
// as the error of a command, not as lines of its own log.
func (a *app) config() (config.Config, error) {
	redisconn.LogTo(slog.New(slog.DiscardHandler))
	return config.Load(a.environ, a.flags)
}

// color reports whether w may be coloured.
func (a *app) color(w io.Writer) bool {
	noColor := slices.ContainsFunc(a.environ, func(v string) bool {
		return len(v) > len("NO_COLOR=") && v[:len("NO_COLOR=")] == "NO_COLOR="
	})
	return !noColor && !a.common.noColor && terminal(w) > 0
}

// terminal returns the width of the terminal that w is, and 0 when it is none.
func terminal(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		return 80
	}
	return width
}
