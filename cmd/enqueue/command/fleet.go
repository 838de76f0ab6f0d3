// The workers that are alive on a Redis, and what they do there.

package command

import (
	"fmt"

	"github.com/hibiken/asynq"

	"botfleet/cmd/internal/report"
	"botfleet/tasks/onboard"
)

// fleet is the workers at work on a Redis.
type fleet struct {
	workers int
	slots   int // rows that they work on at once
	// Workers that are alive and take no rows: those that have stopped taking, after
	// a SIGTSTP or because they stop, and those that only take in installs, as their
	// keys open nothing.
	paused, installs int
	// served are the queues that rows are taken from.
	served map[string]bool
}

// takesNothing is the state in which asynq shows a server that takes nothing more.
const takesNothing = "stopped"

// fleetOf counts the workers that are alive.
func fleetOf(inspector *asynq.Inspector) (fleet, error) {
	servers, err := inspector.Servers()
	if err != nil {
		return fleet{}, fmt.Errorf("look for workers: %w", err)
	}
	f := fleet{served: map[string]bool{}}
	type process struct{ rows, takes bool }
	processes := map[string]process{}
	for _, s := range servers {
		name := fmt.Sprintf("%s %d", s.Host, s.PID)
		p := processes[name]
		if _, installs := s.Queues[onboard.Queue]; !installs {
			p.rows = true
			if s.Status != takesNothing {
				p.takes = true
				f.slots += s.Concurrency
				for q := range s.Queues {
					f.served[q] = true
				}
			}
		}
		processes[name] = p
	}
	for _, p := range processes {
		switch {
		case p.takes:
			f.workers++
		case p.rows:
			f.paused++
		default:
			f.installs++
		}
	}
	return f, nil
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
