// enqueue portals: the portals stored in Redis, and what all its commands share.

package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
)

const portalsExitHelp = `Exit status:
  0    done
  1    it could not be done: usage, connection, configuration, unknown portal
  130  interrupted`

func newPortals(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "portals",
		Short: "Look after the portals stored in Redis: import, list, check, remove, hold, release, rekey",
		Long: `Look after the portals that are stored in Redis, with their credentials sealed
under SECRETS_KEY. PORTAL is always a portal's host (acme.bitrix24.ru), its
member_id, or the permanent id that list --format json shows.`,
		Example: "  enqueue portals import portals.csv\n  enqueue portals check\n  enqueue portals list --state held",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return &usageError{text}
		},
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(newPortalsImport(a), newPortalsList(a), newPortalsCheck(a), newPortalsRemove(a),
		newPortalsHold(a), newPortalsRelease(a), newPortalsRekey(a))
	return cmd
}

// withBase opens the Redis of the settings for as long as f runs. Once ctx has ended
// f does not wait for a silent Redis.
func (a *app) withBase(ctx context.Context, f func(cfg config.Config, base *engine.Base) error) error {
	return a.withPatientBase(ctx, func(cfg config.Config, base *engine.Base) error {
		defer base.HangUp(ctx)()
		return f(cfg, base)
	})
}

// withPatientBase is withBase for an f that brings to an end what it has begun.
func (a *app) withPatientBase(ctx context.Context, f func(cfg config.Config, base *engine.Base) error) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	return f(cfg, base)
}

// portalState is what list and check call the state of a portal.
type portalState string

const (
	stateActive portalState = "active"
	stateHeld   portalState = "held"
	stateGone   portalState = "gone"
)

func stateOf(p *portals.Portal) portalState {
	switch {
	case p.Gone != nil:
		return stateGone
	case p.Held != nil:
		return stateHeld
	}
	return stateActive
}

// states reads --state; nil means all.
func states(words []string) (map[portalState]bool, error) {
	if len(words) == 0 {
		return nil, nil
	}
	keep := map[portalState]bool{}
	for _, w := range words {
		switch s := portalState(strings.ToLower(strings.TrimSpace(w))); s {
		case stateActive, stateHeld, stateGone:
			keep[s] = true
		default:
			return nil, &usageError{fmt.Sprintf("--state: %q is none of active, held, gone", w)}
		}
	}
	return keep, nil
}

// holdOf is a hold as JSON has it.
type holdOf struct {
	Reason     string    `json:"reason"`
	Since      time.Time `json:"since"`
	ByOperator bool      `json:"by_operator"`
}

func heldAs(h *portals.Hold) *holdOf {
	if h == nil {
		return nil
	}
	return &holdOf{Reason: report.Clean(h.Reason), Since: h.Since.UTC(), ByOperator: h.ByOperator}
}

// words is "held since 2026-03-01 12:30 by an operator: moving house".
func (h *holdOf) words() string {
	by := ""
	if h.ByOperator {
		by = " by an operator"
	}
	return "held since " + day(h.Since) + by + ": " + h.Reason
}

// day is a time as people read it.
func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
