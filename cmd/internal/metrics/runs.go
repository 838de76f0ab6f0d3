// What the runs tell.

package metrics

import (
	"context"
	"time"

	"botfleet/tasks/runs"
)

// Runs tells of all that waits; [runs.Store] does.
type Runs interface {
	Backlog(ctx context.Context, limit int) (runs.Backlog, error)
}

// mostRuns is how many unfinished runs are looked at: two small reads each.
const mostRuns = 1000

func askRuns(from Runs) question {
	return func(ctx context.Context, emit emit) error {
		b, err := from.Backlog(ctx, mostRuns)
		if err != nil && b == (runs.Backlog{}) {
			return err
		}
		// What was counted before an error counts: a full Redis takes no notes of ages,
		// and its alerts are needed then.
		emit(runsUnfinished, float64(b.Runs))
		emit(runsWaiting, float64(b.Waiting))
		emit(runsOldest, ago(b.Begun))
		if err == nil || !b.Queued.IsZero() {
			emit(oldestRow, ago(b.Queued))
		}
		return err
	}
}

// ago is how many seconds have passed since a time; 0 for a zero one, and where
// the clock that told it runs ahead.
func ago(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
