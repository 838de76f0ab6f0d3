// What put-off rows wait for, as their tasks in the queue say.

package command

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
)

const (
	// sampleTasks is how many put-off tasks of each queue are looked at to tell
	// what rows wait for, in pages of pageSize.
	sampleTasks = 2000
	pageSize    = 500
)

// putOff calls f with put-off tasks of queues, at most so many of each, which is
// a whole number of pages. It returns whether there are more.
func putOff(ctx context.Context, inspector *asynq.Inspector, queues []string, most int, f func(*asynq.TaskInfo)) (more bool, err error) {
	for _, q := range queues {
		for page := 1; page <= most/pageSize; page++ {
			if err := context.Cause(ctx); err != nil {
				return more, err
			}
			list, err := inspector.ListRetryTasks(q, asynq.PageSize(pageSize), asynq.Page(page))
			if err != nil {
				break // a queue that nothing was ever put into
			}
			for _, t := range list {
				f(t)
			}
			if len(list) < pageSize {
				break
			}
			more = more || page == most/pageSize
		}
	}
	return more, nil
}

// waits is what the rows of a run wait for.
type waits struct {
	reasons map[string]int // rows by reason
	sampled bool           // only some of the rows were looked at
	looked  int            // how many
	// tokens are the portals, by id, for which there is no new token now, and
	// why. Others are those that were seen to wait for something else.
	tokens map[string]string
	others map[string]bool
	// keys are the portals, by id, whose credentials did not open for the worker
	// that looked last, and why.
	keys   map[string]string
	paused map[string]bool // queues
}

// waitsFor counts a run's waiting rows by what they wait for. When not all could
// be looked at these are the put-off ones that are due first.
func waitsFor(ctx context.Context, base *engine.Base, run string, waiting int) (*waits, error) {
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return nil, err
	}
	w := &waits{reasons: map[string]int{}, tokens: map[string]string{}, others: map[string]bool{}, keys: map[string]string{}}
	if w.paused, err = pausedQueues(ctx, base.Redis, queues); err != nil {
		return nil, err
	}
	newest := map[string]time.Time{}
	w.sampled, err = putOff(ctx, base.Inspector, queues, sampleTasks, func(t *asynq.TaskInfo) {
		p, err := tasks.DecodePayload(t.Payload)
		if err != nil || p.Run != run {
			return
		}
		w.reasons[outlook.Reason(t.LastErr)]++
		w.looked++
		// A portal's newest word counts: what an older row waited for may be over.
		if at, ok := newest[p.PortalID]; !ok || t.LastFailedAt.After(at) {
			newest[p.PortalID] = t.LastFailedAt
			w.learn(p.PortalID, t.LastErr)
		}
	})
	if err != nil {
		return nil, err
	}
	if rest := waiting - w.looked; rest > 0 && !w.sampled {
		w.reasons["queued, or in work"] = rest // they are in no one's way
	}
	return w, nil
}

// pausedQueues returns those of some queues that workers are told to take nothing from.
func pausedQueues(ctx context.Context, rdb redis.UniversalClient, queues []string) (map[string]bool, error) {
	paused := map[string]bool{}
	for _, q := range queues {
		n, err := rdb.Exists(ctx, "asynq:{"+q+"}:paused").Result()
		if err != nil {
			return nil, fmt.Errorf("look for paused queues: %w", err)
		}
		if n > 0 {
			paused[q] = true
		}
	}
	return paused, nil
}

func (w *waits) learn(portal, lastErr string) {
	why, ok := outlook.WaitsForToken(lastErr)
	ok = ok && !outlook.BeingRenewed(why)
	delete(w.tokens, portal)
	delete(w.keys, portal)
	if why, ok := outlook.WaitsForKey(lastErr); ok {
		w.keys[portal] = why
	}
	if w.others[portal] = !ok; ok {
		w.tokens[portal] = why
	}
}

// token says whether rows of a portal wait for a new token, and why. Of a portal
// that no sample has shown it is taken to be so when applications' portals that
// were seen wait for theirs: it is one authorization server that gives them.
func (w *waits) token(p *portals.Portal) (why string, waiting bool) {
	if w == nil || p.Held != nil || p.Gone != nil {
		return "", false
	}
	why, waiting = w.tokens[p.ID]
	if !waiting && w.sampled && p.Kind == portals.OAuth && !w.others[p.ID] {
		for _, why := range w.tokens {
			return why, true
		}
	}
	return why, waiting
}

// key says whether rows of a portal wait for a worker with another key, and why.
func (w *waits) key(p *portals.Portal) (why string, waiting bool) {
	if w == nil {
		return "", false
	}
	why, waiting = w.keys[p.ID]
	return why, waiting
}

// stands reports whether rows of a portal wait in a paused queue.
func (w *waits) stands(p *portals.Portal) bool { return w != nil && w.paused[p.Queue] }

// mostOften is the most frequent reason, and how many more there are.
func mostOften(reasons map[string]int) string {
	best := ""
	for why, n := range reasons {
		if n > reasons[best] || n == reasons[best] && why < best {
			best = why
		}
	}
	if more := len(reasons) - 1; more > 0 {
		return report.Clean(best) + " (and " + report.Counted(more, "other reason") + ")"
	}
	return report.Clean(best)
}
