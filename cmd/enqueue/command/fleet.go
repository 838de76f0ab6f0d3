// The workers that are alive, in words.

package command

import (
	"context"
	"time"

	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/fleet"
	"botfleet/cmd/internal/report"
)

// fleetOf looks for the workers that are alive.
func fleetOf(ctx context.Context, base *engine.Base) (fleet.Fleet, error) {
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return fleet.Fleet{}, err
	}
	return fleet.Of(ctx, base.Redis, queues, time.Now())
}

// restWords says of workers that take no rows why; "" when there are none. It
// begins with a semicolon.
func restWords(paused, installs int) string {
	words := ""
	if paused > 0 {
		words += "; " + report.Counted(paused, "worker") + " " + one(paused, "takes", "take") + " nothing: paused (SIGTSTP) or stopping"
	}
	if installs > 0 {
		words += "; " + report.Counted(installs, "worker") + " " + one(installs, "takes", "take") + " in installs only: no credentials open under the SECRETS_KEY there"
	}
	return words
}
