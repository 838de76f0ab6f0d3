// enqueue portals list: what is stored, without anything secret.

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
)

func newPortalsList(a *app) *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the stored portals",
		Long: `List the portals stored in Redis, by name: how they are signed in to, plan and
limits, state (active, held with its reason, or gone once the application was
uninstalled), member_id, whether they installed the application, and the queue of
their rows. No credential is shown, and SECRETS_KEY is not needed.

` + portalsExitHelp,
		Example: "  enqueue portals list --state held\n  enqueue portals list --format csv --output portals-today.csv",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := states(only)
			if err != nil {
				return err
			}
			return a.withBase(cmd.Context(), func(_ config.Config, base *engine.Base) error {
				return a.portalsList(cmd.Context(), base.Registry, keep)
			})
		},
	}
	cmd.Flags().StringSliceVar(&only, "state", nil, "only portals in one of these `STATES`: active, held, gone")
	return cmd
}

// listed is a portal as list prints it.
type listed struct {
	Portal    string      `json:"portal"`
	ID        string      `json:"id"`
	Kind      string      `json:"kind"`
	Plan      string      `json:"plan"`
	Rate      float64     `json:"rate"`
	Burst     int         `json:"burst"`
	Headroom  float64     `json:"headroom,omitempty"`
	State     portalState `json:"state"`
	Held      *holdOf     `json:"held,omitempty"`
	Gone      *goneOf     `json:"gone,omitempty"`
	MemberID  string      `json:"member_id"`
	ClientID  string      `json:"client_id,omitempty"`
	Installed bool        `json:"installed"`
	Queue     string      `json:"queue"`
}

// goneOf says since when a portal is gone, as JSON has it.
type goneOf struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

func listedOf(p *portals.Portal) *listed {
	l := &listed{
		Portal: p.Name, ID: p.ID, Kind: string(p.Kind), Plan: p.Plan, Rate: p.Limits.Rate, Burst: p.Limits.Burst,
		Headroom: p.Limits.Headroom, State: stateOf(p), Held: heldAs(p.Held), MemberID: p.MemberID,
		ClientID: p.ClientID, Installed: p.Installed, Queue: p.Queue,
	}
	if p.Gone != nil {
		l.Gone = &goneOf{report.Clean(p.Gone.Reason), p.Gone.Since.UTC()}
	}
	return l
}

func listLayout() layout {
	return layout{
		csv: []string{"portal", "id", "kind", "plan", "rate", "burst", "headroom", "state", "since", "reason", "by_operator",
			"member_id", "client_id", "installed", "queue"},
		table: []string{"PORTAL", "KIND", "PLAN", "RATE/BURST", "STATE", "MEMBER_ID", "INSTALLED", "QUEUE", "REASON"},
		none:  "no portals",
	}
}

// why is since when, and why, a portal is not active.
func (l *listed) why() (since time.Time, reason string, byOperator bool) {
	switch {
	case l.Gone != nil:
		return l.Gone.Since, l.Gone.Reason, false
	case l.Held != nil:
		return l.Held.Since, l.Held.Reason, l.Held.ByOperator
	}
	return time.Time{}, "", false
}

func (l *listed) csvCells() []string {
	since, reason, byOperator := l.why()
	at := ""
	if !since.IsZero() {
		at = since.Format(time.RFC3339)
	}
	return []string{l.Portal, l.ID, l.Kind, l.Plan, number(l.Rate), strconv.Itoa(l.Burst), number(l.Headroom), string(l.State), at, reason,
		strconv.FormatBool(byOperator), l.MemberID, l.ClientID, strconv.FormatBool(l.Installed), l.Queue}
}

func (l *listed) tableCells() []string {
	since, reason, byOperator := l.why()
	state := string(l.State)
	if !since.IsZero() {
		state += " since " + day(since)
	}
	if byOperator {
		reason = "by an operator: " + reason
	}
	installed := "no"
	if l.Installed {
		installed = "yes"
	}
	return []string{l.Portal, l.Kind, l.Plan, number(l.Rate) + "/" + strconv.Itoa(l.Burst), state, cmp.Or(l.MemberID, "-"), installed, l.Queue, reason}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func (a *app) portalsList(ctx context.Context, r *portals.Registry, keep map[portalState]bool) error {
	all, counts, err := portalsIn(ctx, r, keep)
	if err != nil {
		return err
	}
	out, err := a.newRecords(listLayout())
	if err != nil {
		return err
	}
	for i := range all {
		if err := ctx.Err(); err != nil {
			return errors.Join(context.Cause(ctx), out.close())
		}
		if err := out.write(listedOf(&all[i])); err != nil {
			return errors.Join(err, out.close())
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	a.sayf("%s", countWords(counts))
	return nil
}

// portalsIn returns the stored portals in some states (nil: all), by name, and
// how many there are in each state.
func portalsIn(ctx context.Context, r *portals.Registry, keep map[portalState]bool) ([]portals.Portal, map[portalState]int, error) {
	var all []portals.Portal
	counts := map[portalState]int{}
	err := r.Each(ctx, func(p portals.Portal) error {
		s := stateOf(&p)
		counts[s]++
		if keep == nil || keep[s] {
			all = append(all, p)
		}
		return nil
	})
	return sortedByName(all), counts, err
}

func byName(a, b portals.Portal) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
}

func sortedByName(all []portals.Portal) []portals.Portal {
	slices.SortFunc(all, byName)
	return all
}

func sortedPortals(byID map[string]portals.Portal) []portals.Portal {
	return slices.SortedFunc(maps.Values(byID), byName)
}

// countWords is "1,002 portals: 1,000 active, 2 held".
func countWords(counts map[portalState]int) string {
	total, parts := 0, []string{}
	for _, s := range []portalState{stateActive, stateHeld, stateGone} {
		if n := counts[s]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%s %s", report.Count(n), s))
		}
	}
	if total == 0 {
		return "0 portals"
	}
	return report.Counted(total, "portal") + ": " + strings.Join(parts, ", ")
}
