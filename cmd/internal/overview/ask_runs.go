// Which runs there are.

package overview

import (
	"context"
	"errors"
	"slices"

	"botfleet/tasks/runs"
)

const (
	// newestRuns is how many runs are looked at: one small read each. Unfinished
	// ones are looked for among all.
	newestRuns = 100
	// mostUnfinished bounds how many older runs are added to the newest because
	// they are not finished.
	mostUnfinished = 50
	// mostCounted bounds how many unfinished runs are counted.
	mostCounted = 1000
	// shownRuns is how many runs are shown.
	shownRuns = 20
)

var errEnough = errors.New("enough")

// runsLook is the runs there are.
type runsLook struct {
	list []runs.Info // unfinished ones first, newest first
	// unfinished is how many runs are not finished, and waiting how many of their
	// rows wait: of all of them, as far as mostCounted goes beside the newest.
	unfinished, waiting int
}

// askRuns returns the newest runs, and older ones that are not finished.
func (o *Overview) askRuns(ctx context.Context) (runsLook, error) {
	all, err := o.cfg.Runs.List(ctx, newestRuns)
	if err != nil {
		return runsLook{}, err
	}
	look := runsLook{list: all}
	for i := range all {
		look.count(&all[i])
	}
	if len(all) == newestRuns {
		if err := o.addOlder(ctx, &look); err != nil {
			return look, err
		}
	}
	slices.SortStableFunc(look.list, func(a, b runs.Info) int {
		if a.Finished() != b.Finished() {
			if b.Finished() {
				return -1
			}
			return 1
		}
		return b.Created.Compare(a.Created)
	})
	return look, nil
}

func (l *runsLook) count(r *runs.Info) {
	if !r.Finished() {
		l.unfinished++
		l.waiting += r.Counts.Waiting
	}
}

// addOlder adds the unfinished runs that are not among the newest. It only reads,
// which a full Redis allows.
func (o *Overview) addOlder(ctx context.Context, l *runsLook) error {
	unfinished, err := o.cfg.Runs.UnfinishedRuns(ctx, mostCounted)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(l.list))
	for i := range l.list {
		known[l.list[i].ID] = true
	}
	older := slices.DeleteFunc(unfinished, func(r runs.Info) bool { return known[r.ID] })
	for i := range older {
		l.count(&older[i])
	}
	slices.SortFunc(older, func(a, b runs.Info) int { return b.Created.Compare(a.Created) })
	l.list = append(l.list, older[:min(len(older), mostUnfinished)]...)
	return nil
}
