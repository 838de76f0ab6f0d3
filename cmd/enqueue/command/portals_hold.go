// enqueue portals hold and release: portals that are not to be called, and are again.

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
)

func newPortalsHold(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "hold PORTAL…",
		Short: "Keep workers from calling portals, until they are released",
		Long: `Hold portals: workers send them nothing until enqueue portals release, or an
import of new credentials. Their rows wait, HOLD_TTL at most (24 h), and are dead
after that. Refreshed tokens do not end such a hold, nor does check --release.

` + portalsExitHelp,
		Example: `  enqueue portals hold acme.bitrix24.ru --reason "the customer asked us to stop, ticket 4711"`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return &usageError{"--reason TEXT is needed: others will want to know why"}
			}
			return a.withBase(cmd.Context(), func(cfg config.Config, base *engine.Base) error {
				return a.portalsHold(cmd.Context(), base, base.Gate(cfg), args, reason)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "a `TEXT` for those who look at it later: why (needed)")
	return cmd
}

func newPortalsRelease(a *app) *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "release PORTAL…",
		Short: "Let workers call held portals again",
		Long: `Release portals: their rows go on. A portal that is still wrong is held again
with the first request that it refuses; enqueue portals check --release releases
only those that work.

` + portalsExitHelp,
		Example: "  enqueue portals release acme.bitrix24.ru\n  enqueue portals release --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return &usageError{"name the portals to release, or say --all"}
			}
			return a.withBase(cmd.Context(), func(cfg config.Config, base *engine.Base) error {
				return a.portalsRelease(cmd.Context(), base, base.Gate(cfg), args, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every portal that is held")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// change is what was done to one portal.
type change struct {
	Portal string  `json:"portal"`
	ID     string  `json:"id"`
	Done   string  `json:"done"` // held, released, not held, removed
	Was    *holdOf `json:"was,omitempty"`
	Rows   *int    `json:"rows,omitempty"` // that wait for it
}

func changeLayout() layout {
	return layout{csv: []string{"portal", "id", "done", "was_since", "was_reason", "rows"}, table: []string{"PORTAL", "DONE", "DETAIL"}, none: "nothing to do"}
}

func (c *change) csvCells() []string {
	since, reason, rows := "", "", ""
	if c.Was != nil {
		since, reason = c.Was.Since.Format(time.RFC3339), c.Was.Reason
	}
	if c.Rows != nil {
		rows = strconv.Itoa(*c.Rows)
	}
	return []string{c.Portal, c.ID, c.Done, since, reason, rows}
}

func (c *change) tableCells() []string {
	detail := ""
	switch {
	case c.Was != nil:
		detail = "was " + c.Was.words()
	case c.Rows != nil && *c.Rows > 0:
		detail = report.Counted(*c.Rows, "row") + " that waited for it end as dead (PORTAL_UNKNOWN)"
	}
	return []string{c.Portal, c.Done, detail}
}

// eachPortal does something to portals one after another and prints what was
// done. What is printed was done, also when a later one fails.
func (a *app) eachPortal(ctx context.Context, all []portals.Portal, do func(p *portals.Portal) (*change, error)) (err error) {
	out, err := a.newRecords(changeLayout())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	for i := range all {
		if ctx.Err() != nil {
			return fmt.Errorf("%w\n%s of %s were done; the same command again does the others", context.Cause(ctx), report.Counted(i, "portal"), report.Count(len(all)))
		}
		c, err := do(&all[i])
		if err != nil {
			return err
		}
		if err := out.write(c); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) portalsHold(ctx context.Context, base *engine.Base, gate ratelimit.Gate, names []string, reason string) error {
	all, err := findPortals(ctx, base.Registry, names)
	if err != nil {
		return err
	}
	now := time.Now()
	return a.eachPortal(ctx, all, func(p *portals.Portal) (*change, error) {
		if err := base.Registry.Hold(ctx, p.ID, reason, now); err != nil {
			return nil, err
		}
		since := now
		if p.Held != nil {
			since = p.Held.Since
		}
		// Workers take the hold over within a second or two; the gate knows it at once.
		if err := gate.Hold(ctx, p.ID, ratelimit.Hold{Reason: reason, Since: since}); err != nil {
			return nil, err
		}
		return &change{Portal: p.Name, ID: p.ID, Done: "held", Was: heldAs(p.Held)}, nil
	})
}

func (a *app) portalsRelease(ctx context.Context, base *engine.Base, gate ratelimit.Gate, names []string, yes bool) error {
	all, err := a.toRelease(ctx, base.Registry, names, yes)
	if err != nil {
		return err
	}
	return a.eachPortal(ctx, all, func(p *portals.Portal) (*change, error) {
		c := &change{Portal: p.Name, ID: p.ID, Done: "not held"}
		if p.Held != nil {
			c.Done, c.Was = "released", heldAs(p.Held)
		}
		return c, release(ctx, base.Registry, gate, p.ID)
	})
}

// release ends a portal's hold in the registry and in the gate, which may hold
// it alone when a worker could not reach the registry.
func release(ctx context.Context, r *portals.Registry, gate ratelimit.Gate, id string) error {
	if err := r.Release(ctx, id); err != nil {
		return err
	}
	return gate.Release(ctx, id)
}

// toRelease finds the portals named, or all held ones.
func (a *app) toRelease(ctx context.Context, r *portals.Registry, names []string, yes bool) ([]portals.Portal, error) {
	if len(names) > 0 {
		return findPortals(ctx, r, names)
	}
	var held []portals.Portal
	byOperator := 0
	err := r.Each(ctx, func(p portals.Portal) error {
		if p.Held != nil {
			held = append(held, p)
			if p.Held.ByOperator {
				byOperator++
			}
		}
		return nil
	})
	if err != nil || len(held) == 0 {
		return nil, err
	}
	question := "Release " + report.Counted(len(held), "held portal") + "?"
	if byOperator > 0 {
		question = fmt.Sprintf("Release %s, %s of them held by an operator?", report.Counted(len(held), "held portal"), report.Count(byOperator))
	}
	return sortedByName(held), a.confirm(ctx, question, yes)
}
