// enqueue portals remove: portals that the registry is to forget.

package command

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

func newPortalsRemove(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove PORTAL…",
		Short: "Forget portals and their credentials",
		Long: `Remove portals from Redis, credentials and hold included. Nothing is changed on
the portals themselves: their bots stay.

When rows wait for one of them nothing is removed, unless --yes says so: those
rows end as dead (PORTAL_UNKNOWN).

` + portalsExitHelp,
		Example: "  enqueue portals remove acme.bitrix24.ru\n  enqueue portals list --state gone --format json | jq -r '.[].id' | xargs enqueue portals remove",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBase(cmd.Context(), func(_ config.Config, base *engine.Base) error {
				return a.portalsRemove(cmd.Context(), base, args, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "also portals that rows wait for")
	return cmd
}

func (a *app) portalsRemove(ctx context.Context, base *engine.Base, names []string, yes bool) error {
	all, err := findPortals(ctx, base.Registry, names)
	if err != nil {
		return err
	}
	rows, err := waitingFor(ctx, base.Runs, all)
	if err != nil {
		return err
	}
	if err := mayRemove(all, rows); err != nil && !yes {
		return err
	}
	return a.eachPortal(ctx, all, func(p *portals.Portal) (*change, error) {
		if err := base.Registry.Remove(ctx, p.ID); err != nil {
			return nil, err
		}
		n := rows[p.ID]
		return &change{Portal: p.Name, ID: p.ID, Done: "removed", Rows: &n}, nil
	})
}

// mayRemove says for which portals rows wait.
func mayRemove(all []portals.Portal, rows map[string]int) error {
	var waiting []string
	total := 0
	for i := range all {
		n := rows[all[i].ID]
		if total += n; n > 0 && len(waiting) < shownUnknown {
			waiting = append(waiting, fmt.Sprintf("%s wait for %s", report.Counted(n, "row"), all[i].Name))
		}
	}
	if total == 0 {
		return nil
	}
	return fmt.Errorf("%s\nnothing was removed; with --yes these %s end as dead (PORTAL_UNKNOWN)", strings.Join(waiting, "\n"), report.Counted(total, "row"))
}

// waitingFor counts the rows of all runs that wait for portals, by their ids.
func waitingFor(ctx context.Context, store *runs.Store, all []portals.Portal) (map[string]int, error) {
	infos, err := store.List(ctx, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	total := map[string]int{}
	for _, i := range infos {
		if i.Counts.Waiting == 0 {
			continue
		}
		wanted := make(map[string]int, len(all))
		for k := range all {
			wanted[all[k].ID] = 0
		}
		err := store.Waiting(ctx, i.ID, func(id string, rows int) error {
			if _, ok := wanted[id]; ok {
				wanted[id] = rows // may be told twice
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for id, rows := range wanted {
			total[id] += rows
		}
	}
	return total, nil
}
