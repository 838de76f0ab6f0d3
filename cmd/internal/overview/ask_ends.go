// Whether rows move: when one ended last.

package overview

import (
	"context"
	"slices"
	"time"

	"botfleet/tasks/runs"
)

// stillFor is after what time without a row done that is said.
const stillFor = 2 * time.Minute

// lookForEnds finds out when a row ended last, by the streams of the runs that are
// unfinished, or were at the last look, and by the ends of the others.
func (o *Overview) lookForEnds(ctx context.Context, l *runsLook, unfinished []runs.Info) error {
	last := o.list.previous().value
	ids := slices.Concat(l.ids, last.ids)
	slices.Sort(ids)
	ended, err := o.cfg.Runs.LastEnd(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	l.ended = last.ended // of a run that has left the list, perhaps
	if at := ended.Add(-o.server.get(ctx).value.ahead); !ended.IsZero() && at.After(l.ended) {
		l.ended = at
	}
	for i := range l.list {
		r := &l.list[i]
		if r.Finished() && r.Counts.Registered+r.Counts.Dead > 0 && r.Ended.After(l.ended) {
			l.ended = r.Ended
		}
	}
	// Rows that wait for a moment only are not still. While this is kept time goes on.
	if l.waiting > 0 && o.cfg.Now().Sub(l.ended) > stillFor-keptMost {
		l.queued, _ = o.cfg.Runs.OldestAmong(ctx, unfinished) // it keeps notes, which a full Redis does not take
	}
	return nil
}
