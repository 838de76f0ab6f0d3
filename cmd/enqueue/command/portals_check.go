// enqueue portals check: signs in to portals and says what is wrong.

package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/report"
)

const portalsCheckExitHelp = `Exit status:
  0    every portal is fine
  1    it could not be done: usage, connection, configuration, unknown portal
  2    done, but some portals are not fine
  3    the file of --portals was refused
  130  interrupted`

// checkFlags of portals.
type portalsCheckFlags struct {
	file     string
	states   []string
	parallel int
	timeout  time.Duration
	release  bool
}

func newPortalsCheck(a *app) *cobra.Command {
	var f portalsCheckFlags
	cmd := &cobra.Command{
		Use:   "check [PORTAL…]",
		Short: "Sign in to portals, and say what is wrong in words",
		Long: `Sign in to the stored portals, or to those named, each with one request
(imbot.bot.list) within its limits, and say for each what is wrong and what to do
about it. Expired tokens are refreshed and a new host is learned on the way, as
workers do; nothing else is changed, and no portal gets held by it.

A held portal is asked too, and it is said whether it would work now; --release
releases those that do, but for those that an operator holds. A portal that is
gone has nothing to sign in with; leave such out with --state active,held.

With --portals FILE the portals of the file are asked, and nothing is stored. No
token is refreshed then: the authorization server gives a new pair for the old
one, which is lost if it is not stored.

A webhook that works, but brings no CLIENT_ID, is only warned of: rows must bring
one.

` + portalsCheckExitHelp,
		Example: "  enqueue portals check\n  enqueue portals check --state held --release\n  enqueue portals check --portals portals.csv\n  enqueue portals check --format json | jq -r '.[] | select(.fine | not) | .portal'",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if err := f.validate(); err != nil {
				return err
			}
			return a.portalsCheck(cmd.Context(), cfg, &f, args)
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.file, "portals", "", "check the portals of this `FILE` (CSV or JSON Lines), without storing them")
	p.StringSliceVar(&f.states, "state", nil, "only portals in one of these `STATES`: active, held, gone")
	p.IntVar(&f.parallel, "parallel", 32, "`N` portals are asked at once, 1 to 256")
	p.DurationVar(&f.timeout, "timeout", 20*time.Second, "how long the check of a portal may take, waiting for its limits and its token included")
	p.BoolVar(&f.release, "release", false, "release the held portals that work, but for those that an operator holds")
	return cmd
}

func (f *portalsCheckFlags) validate() error {
	switch {
	case f.parallel < 1 || f.parallel > 256:
		return &usageError{fmt.Sprintf("--parallel: %d: 1 to 256 are possible", f.parallel)}
	case f.timeout < 100*time.Millisecond || f.timeout > 10*time.Minute:
		return &usageError{fmt.Sprintf("--timeout: %v: 100ms to 10m are possible", f.timeout)}
	case f.file != "" && f.release:
		return &usageError{"--release is for stored portals, and --portals checks those of a file"}
	case f.file != "" && len(f.states) > 0:
		return &usageError{"--state is for stored portals, and --portals checks those of a file"}
	}
	_, err := states(f.states)
	return err
}

// portalsCheck gets what is needed, asks the portals, and prints what they say.
func (a *app) portalsCheck(ctx context.Context, cfg config.Config, f *portalsCheckFlags, args []string) error {
	began := time.Now()
	c, list, closing, err := a.newChecker(ctx, cfg, f, args)
	if err != nil {
		return err
	}
	defer closing()
	s, err := a.newCheckSink(len(list), f.file != "")
	if err != nil {
		return err
	}
	err = c.all(ctx, list, f.parallel, s.write)
	closed := s.close()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		a.sayf("interrupted: %s of %s were checked", report.Count(s.done), report.Counted(len(list), "portal"))
	}
	if err == nil {
		err = closed
	}
	s.summary(int(c.requests.Load()), int(c.renewals.Load()), time.Since(began))
	if err == nil && s.bad > 0 {
		return &exitError{code: exitUnfinished}
	}
	return err
}

// newChecker returns what asks the portals of a file or of the registry, and
// those to be asked.
func (a *app) newChecker(ctx context.Context, cfg config.Config, f *portalsCheckFlags, args []string) (*checker, []portals.Portal, func(), error) {
	if f.file != "" {
		return a.fileChecker(ctx, cfg, f, args)
	}
	return a.storedChecker(ctx, cfg, f, args)
}
