// What the runs tell.

package metrics

import (
	"context"
	"time"

	"botfleet/tasks/runs"
)

// Runs lists the newest runs; [runs.Store] does.
type Runs interface {
	List(ctx context.Context, limit int) ([]runs.Info, error)
}

// newestRuns is how many runs are looked at: one small read each.
const newestRuns = 100

func askRuns(from Runs) question {
	return func(ctx context.Context, emit emit) error {
		list, err := from.List(ctx, newestRuns)
		if err != nil {
			return err
		}
		unfinished, waiting := 0, 0
		now := time.Now()
		oldest := now
		for i := range list {
			r := &list[i]
			if r.Finished() {
				continue
			}
			unfinished++
			waiting += r.Counts.Waiting
			if r.Created.Before(oldest) {
				oldest = r.Created
			}
		}
		emit(runsUnfinished, float64(unfinished))
		emit(runsWaiting, float64(waiting))
		emit(runsOldest, now.Sub(oldest).Seconds())
		return nil
	}
}
