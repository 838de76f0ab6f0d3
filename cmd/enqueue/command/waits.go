// What put-off rows wait for, as their tasks in the queue say.

package command

import (
	"context"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/engine"
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
	sampled bool           // the counts are scaled up from a sample
	// tokens are the portals, by id, for which there is no new token now, and
	// why. Others are those that were seen to wait for something else.
	tokens map[string]string
	others map[string]bool
}

// waitsFor counts a run's waiting rows by what they wait for. When not all
// could be looked at the counts are scaled up from a sample.
func waitsFor(ctx context.Context, base *engine.Base, run string, waiting int) (*waits, error) {
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return nil, err
	}
	w := &waits{reasons: map[string]int{}, tokens: map[string]string{}, others: map[string]bool{}}
	newest := map[string]time.Time{}
	seen := 0
	w.sampled, err = putOff(ctx, base.Inspector, queues, sampleTasks, func(t *asynq.TaskInfo) {
		p, err := tasks.DecodePayload(t.Payload)
		if err != nil || p.Run != run {
			return
		}
		w.reasons[reasonOf(t.LastErr)]++
		seen++
		// A portal's newest word counts: what an older row waited for may be over.
		if at, ok := newest[p.PortalID]; !ok || t.LastFailedAt.After(at) {
			newest[p.PortalID] = t.LastFailedAt
			w.learn(p.PortalID, t.LastErr)
		}
	})
	if err != nil {
		return nil, err
	}
	account(w.reasons, waiting, seen, w.sampled)
	return w, nil
}

func (w *waits) learn(portal, lastErr string) {
	why, ok := waitsForToken(lastErr)
	ok = ok && !beingRenewed(why)
	delete(w.tokens, portal)
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

// account spreads the rows that were not looked at: over the reasons of a
// sample in proportion, else they are in no one's way.
func account(all map[string]int, waiting, seen int, sampled bool) {
	rest := waiting - seen
	switch {
	case rest <= 0:
	case sampled && seen > 0:
		for r, n := range all {
			all[r] = n * waiting / seen
		}
	default:
		all["queued, or in work"] = rest
	}
}

// reasonOf is the reason in a put-off task's last error, without its time.
func reasonOf(lastErr string) string {
	if i := strings.LastIndex(lastErr, ", until "); i > 0 {
		lastErr = lastErr[:i]
	}
	if strings.HasPrefix(lastErr, "attempt ") {
		if _, rest, ok := strings.Cut(lastErr, ": "); ok {
			return "the next attempt after " + rest
		}
	}
	return lastErr
}

// tokenWait is how the last error of a row begins that waits for a new token.
const tokenWait = "waits for a new token: " //nolint:gosec // no credential, but words

// waitsForToken says whether a put-off row waits for a new token, and why.
func waitsForToken(lastErr string) (why string, ok bool) {
	return strings.CutPrefix(reasonOf(lastErr), tokenWait)
}

// beingRenewed reports whether the new token is about to come: that is what
// happens once an hour, and keeps nothing.
func beingRenewed(why string) bool {
	return strings.HasPrefix(why, signin.CodePending+": the access token ")
}

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
