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
	// rows wait: of all of them, as far as mostCounted goes.
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

// addOlder adds the unfinished runs that are not among the newest, if there are
// any: only then is it worth to look through all runs.
func (o *Overview) addOlder(ctx context.Context, l *runsLook) error {
	backlog, err := o.cfg.Runs.Backlog(ctx, mostCounted)
	if err != nil || backlog.Runs <= l.unfinished {
		return err
	}
	l.unfinished, l.waiting = backlog.Runs, backlog.Waiting
	older, err := o.olderUnfinished(ctx, l.list)
	l.list = append(l.list, older...)
	return err
}

// olderUnfinished returns unfinished runs that are not among the newest.
func (o *Overview) olderUnfinished(ctx context.Context, newest []runs.Info) ([]runs.Info, error) {
	known := make(map[string]bool, len(newest))
	for i := range newest {
		known[newest[i].ID] = true
	}
	var ids []string
	err := o.cfg.Runs.Unfinished(ctx, func(run string) error {
		if known[run] {
			return nil
		}
		known[run] = true
		if ids = append(ids, run); len(ids) == mostUnfinished {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	var older []runs.Info
	for _, id := range ids {
		info, err := o.cfg.Runs.Get(ctx, id)
		if errors.Is(err, runs.ErrUnknownRun) {
			continue // it has just expired
		}
		if err != nil {
			return nil, err
		}
		older = append(older, info)
	}
	return older, nil
}
