// Which runs there are.

package overview

import (
	"context"
	"errors"
	"slices"
	"time"

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
	// ids are those of the unfinished runs, for the next look; ended is when a row
	// was last seen to end, and queued since when about the oldest waits, which is
	// asked only while none ends. Zero: not known.
	ids           []string
	ended, queued time.Time
}

// askRuns returns the newest runs, and older ones that are not finished.
func (o *Overview) askRuns(ctx context.Context) (runsLook, error) {
	all, err := o.cfg.Runs.List(ctx, newestRuns)
	if err != nil {
		return runsLook{}, err
	}
	look := runsLook{list: all}
	var unfinished []runs.Info
	for i := range all {
		if !all[i].Finished() {
			unfinished = append(unfinished, all[i])
		}
	}
	if len(all) == newestRuns {
		older, err := o.older(ctx, all)
		if err != nil {
			return look, err
		}
		unfinished = append(unfinished, older...)
		look.list = append(look.list, older[:min(len(older), mostUnfinished)]...)
	}
	for i := range unfinished {
		look.count(&unfinished[i])
	}
	if err := o.lookForEnds(ctx, &look, unfinished); err != nil {
		return look, err
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
	l.unfinished++
	l.waiting += r.Counts.Waiting
	l.ids = append(l.ids, r.ID)
}

// older returns the unfinished runs that are not among the newest, newest first. It
// only reads, which a full Redis allows.
func (o *Overview) older(ctx context.Context, newest []runs.Info) ([]runs.Info, error) {
	unfinished, err := o.cfg.Runs.UnfinishedRuns(ctx, mostCounted)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(newest))
	for i := range newest {
		known[newest[i].ID] = true
	}
	older := slices.DeleteFunc(unfinished, func(r runs.Info) bool { return known[r.ID] })
	slices.SortFunc(older, func(a, b runs.Info) int { return b.Created.Compare(a.Created) })
	return older, nil
}
