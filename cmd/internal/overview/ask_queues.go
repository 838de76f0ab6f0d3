// The queues, and what put-off rows wait for.

package overview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/cmd/internal/outlook"
	"botfleet/tasks"
	"botfleet/tasks/onboard"
)

const (
	// mostQueues bounds what the queues cost. A worker has 64 of portals at most,
	// unless SHARDS was changed, and one of installs.
	mostQueues = 65
	// mostPutOff is how many put-off tasks are looked at over all queues, and at
	// most, and at least, in each.
	mostPutOff                            = 2000
	mostPutOffOfQueue, leastPutOffOfQueue = 500, 30
	// mostReasons bounds the reasons that are told apart in one run.
	mostReasons = 12
)

// queueLook is this fleet's queues as asynq counts them.
type queueLook struct {
	queues []*asynq.QueueInfo
	more   int // queues that were not looked at
}

// paused are the names of the queues that workers are told to take nothing from.
func (l queueLook) paused() map[string]bool {
	paused := map[string]bool{}
	for _, q := range l.queues {
		if q.Paused {
			paused[q.Queue] = true
		}
	}
	return paused
}

// portalsPaused reports whether any queue of portals is known to be paused, and
// whether all are.
func (l queueLook) portalsPaused() (some, all bool) {
	all = l.more == 0
	for _, q := range l.queues {
		if q.Queue != onboard.Queue {
			some, all = some || q.Paused, all && q.Paused
		}
	}
	return some, some && all
}

func (o *Overview) askQueues(ctx context.Context) (queueLook, error) {
	all, err := o.cfg.Queues.Queues()
	if err != nil {
		return queueLook{}, fmt.Errorf("list the queues: %w", err)
	}
	names, err := o.cfg.Registry.Queues(ctx)
	if err != nil {
		return queueLook{}, err
	}
	// Other programs' queues are no concern of this fleet; one that asynq does not
	// know had no task yet.
	names = slices.DeleteFunc(append(names, onboard.Queue), func(name string) bool { return !slices.Contains(all, name) })
	slices.Sort(names)
	look := queueLook{more: max(0, len(names)-mostQueues)}
	var bad []error
	for _, name := range names[:len(names)-look.more] {
		if ctx.Err() != nil { // the inspector takes no context
			return look, context.Cause(ctx)
		}
		info, err := o.cfg.Queues.GetQueueInfo(name)
		if err != nil { // a task that lost its body is enough
			bad = append(bad, fmt.Errorf("read queue %s: %w", name, err))
			continue
		}
		look.queues = append(look.queues, info)
	}
	return look, errors.Join(bad...)
}

// putOffLook is what put-off tasks wait for, by run.
type putOffLook struct {
	byRun map[string]*runWaits
	// sampled: there are more than were looked at, those that are due first.
	sampled bool
}

// runWaits is what the put-off rows of a run wait for.
type runWaits struct {
	seen    int
	reasons map[string]int // rows by reason
	portals map[string]portalWait
}

// portalWait is what was last said of why a portal's rows wait.
type portalWait struct {
	at      time.Time
	lastErr string
}

func (o *Overview) askPutOff(ctx context.Context) (putOffLook, error) {
	look := putOffLook{byRun: map[string]*runWaits{}}
	queues, err := o.cfg.Registry.Queues(ctx)
	if err != nil {
		return look, err
	}
	if len(queues) > mostQueues {
		queues, look.sampled = queues[:mostQueues], true
	}
	size := min(max(mostPutOff/max(len(queues), 1), leastPutOffOfQueue), mostPutOffOfQueue)
	for _, q := range queues {
		if ctx.Err() != nil {
			return look, context.Cause(ctx)
		}
		list, err := o.cfg.Queues.ListRetryTasks(q, asynq.PageSize(size), asynq.Page(1))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue // nothing was ever put into it
		}
		if err != nil {
			return look, fmt.Errorf("look at queue %s: %w", q, err)
		}
		look.sampled = look.sampled || len(list) == size
		for _, t := range list {
			look.add(t)
		}
	}
	return look, nil
}

func (l *putOffLook) add(t *asynq.TaskInfo) {
	p, err := tasks.DecodePayload(t.Payload)
	if err != nil {
		return
	}
	w := l.byRun[p.Run]
	if w == nil {
		w = &runWaits{reasons: map[string]int{}, portals: map[string]portalWait{}}
		l.byRun[p.Run] = w
	}
	reason := outlook.Reason(t.LastErr)
	w.seen++
	if last, ok := w.portals[p.PortalID]; !ok || t.LastFailedAt.After(last.at) {
		w.portals[p.PortalID] = portalWait{t.LastFailedAt, t.LastErr}
	}
	if _, known := w.reasons[reason]; !known && len(w.reasons) >= mostReasons {
		reason = otherReasons
	}
	w.reasons[reason]++
}

// otherReasons stands for those beyond mostReasons.
const otherReasons = "other reasons"
