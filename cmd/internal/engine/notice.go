// What the worker says of portals in its log: held and released, silent and
// answering again, lost and back.

package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// tellHolds logs which portals have been held and released since the last look.
// At the first look it only counts them: their lines are in an earlier log.
func (w *Worker) tellHolds(ctx context.Context, first bool, held, released []string) {
	if first {
		if len(held) > 0 {
			w.few.Warn("portals are held", "portals", len(held), "do", "enqueue portals list --state held")
		}
		return
	}
	w.eachNamed(ctx, held, "a portal is held", func(p *portals.Portal) {
		if p.Held == nil {
			return // released again meanwhile, which will be told of
		}
		w.few.Warn("a portal is held", "portal", p.Name, "reason", p.Held.Reason, "do", holdAdvice(p))
	})
	w.eachNamed(ctx, released, "a portal is released", func(p *portals.Portal) {
		w.few.Info("a portal is released", "portal", p.Name)
	})
}

// holdAdvice is what a person can do about a hold.
func holdAdvice(p *portals.Portal) string {
	switch {
	case p.Held.ByOperator:
		return "enqueue portals release " + p.Name + ", when its reason is over"
	case strings.HasPrefix(p.Held.Reason, "OVERLOAD_LIMIT"):
		return "ask Bitrix24's support: it has blocked these credentials by hand; do not call the portal meanwhile"
	}
	return "enqueue portals check " + p.Name + " says what to do"
}

// eachNamed reads at most as many portals as the log takes lines of a message, and
// counts the others among those left out.
func (w *Worker) eachNamed(ctx context.Context, ids []string, message string, f func(*portals.Portal)) {
	for i, id := range ids {
		if i == fewLines {
			w.left.count.skip(message, time.Now(), len(ids)-i)
			return
		}
		p, err := w.base.Registry.Get(ctx, id)
		if err == nil {
			f(&p)
		}
	}
}

// silenceEvery is how often the gate is asked which portals do not answer. A
// silence that is shorter is not worth a line.
const silenceEvery = 10 * time.Second

// lookForSilence logs which portals have turned silent, and which answer again.
func (w *Worker) lookForSilence(ctx context.Context) error {
	recent, err := w.gate.Recent(ctx)
	if err != nil {
		return err
	}
	before := w.silent
	w.silent = make(map[string]time.Time)
	var fresh, over []string
	open := map[string]bool{}
	for _, s := range recent {
		open[s.Portal] = true
		if s.Closed != ratelimit.Silent || s.Hold == nil {
			continue
		}
		if w.silent[s.Portal] = s.Hold.Since; before[s.Portal].IsZero() {
			fresh = append(fresh, s.Portal)
		}
	}
	for id, since := range before {
		if !w.silent[id].IsZero() {
			continue
		}
		// One that this process has not asked for long is not told of any more.
		if s, known, err := w.gate.State(ctx, id); !open[id] && (err != nil || known && s.Closed == ratelimit.Silent) {
			w.silent[id] = since
			continue
		}
		over = append(over, id)
	}
	w.eachNamed(ctx, fresh, "a portal does not answer", func(p *portals.Portal) {
		w.few.Warn("a portal does not answer", "portal", p.Name, "since", w.silent[p.ID].UTC().Format(time.RFC3339),
			"do", "nothing: it is asked again from time to time; if many do not, look at the network")
	})
	w.eachNamed(ctx, over, "a portal answers again", func(p *portals.Portal) {
		if p.Held != nil || p.Gone != nil {
			return // which is another story
		}
		w.few.Info("a portal answers again", "portal", p.Name)
	})
	return nil
}

// lostKey says, for as long as workers see it so, when they saw Redis lose the
// portals. After a while without them it says nothing.
const (
	lostKey = "botfleet:lost"
	lostFor = 5 * time.Minute
)

// lookBack notices that the registry has vanished or gone back, by its version.
func (w *Worker) lookBack(ctx context.Context, before, after int64) error {
	switch lost := w.lost.Load(); {
	case after == 0 && (before > 0 || lost != nil):
		if lost == nil {
			now := time.Now().UTC()
			lost = &now
			w.lost.Store(lost)
			w.log.Warn("Redis has lost its portals", "do", lostAdvice)
		}
		return w.base.Redis.Set(ctx, lostKey, lost.Format(time.RFC3339), lostFor).Err()
	case lost != nil && after > 0:
		w.lost.Store(nil)
		w.log.Info("portals are stored again")
		return w.base.Redis.Del(ctx, lostKey).Err()
	case after > 0 && after < before:
		w.log.Warn("Redis has gone back to an earlier state", "do", "after a restore from a backup restart the workers, and look for dead tokens: enqueue portals check")
	}
	return nil
}

const lostAdvice = "bring back a backup of Redis, or import the portals and submit the rows again"

// LostPortals is when workers saw this Redis lose its portals; zero when none
// sees it so now.
func (b *Base) LostPortals(ctx context.Context) (time.Time, error) {
	text, err := b.Redis.Get(ctx, lostKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return time.Time{}, err
	}
	at, _ := time.Parse(time.RFC3339, text) // zero for none
	return at, nil
}

// Warnings is [Base.Warnings], and what keeps this worker from its work.
func (w *Worker) Warnings(ctx context.Context) []string {
	all := w.base.Warnings(ctx)
	if w.paused.Load() {
		all = append(all, "this worker is paused (SIGTSTP): it takes no tasks until it is restarted")
	}
	if text := w.opens.warning(); text != "" {
		all = append(all, text)
	}
	if at := w.lost.Load(); at != nil {
		all = append(all, "Redis has lost its portals, as seen at "+at.Format(time.RFC3339)+": "+lostAdvice)
	}
	return all
}
