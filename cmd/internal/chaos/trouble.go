// The troubled time, and the peace after it.

package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"botfleet/cmd/internal/cable"
)

// trouble lets everything happen that the story tells, each at its time.
func (w *world) trouble(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for i := range w.story.runs {
		all.Go(func() error { return w.submit(ctx, i) })
	}
	for _, e := range w.story.events {
		all.Go(func() error {
			if err := sleep(ctx, time.Until(w.began.Add(e.at))); err != nil {
				return err
			}
			w.notef("begins: %s", e)
			began := time.Now()
			err := w.happen(ctx, e)
			if e.lasts > 0 {
				w.outage(began, time.Now(), string(e.what))
			}
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", e.what, err)
			}
			return context.Cause(ctx)
		})
	}
	return all.Wait()
}

// outage notes a time in which something was wrong.
func (w *world) outage(from, to time.Time, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages = append(w.outages, span{from, to, what})
}

// happen lets one event happen, and returns when it is over.
func (w *world) happen(ctx context.Context, e event) error {
	if e.what != clicks { // which are counted one by one
		w.count(string(e.what), 1)
	}
	switch e.what {
	case killWorker:
		return w.workers[e.who].kill(ctx, e.lasts)
	case freezeWorker:
		return w.workers[e.who].freeze(ctx, e.lasts)
	case stopWorker:
		return w.workers[e.who].restart(ctx, e.lasts)
	case killRedis, stopRedis:
		sig := syscall.SIGKILL
		if e.what == stopRedis {
			sig = syscall.SIGTERM
		}
		return w.redis.restart(ctx, sig, e.lasts)
	case cutNetwork:
		return w.cut(ctx, e)
	case clicks:
		w.click(ctx, e.n)
		return nil
	default:
		return w.change(e)
	}
}

// cut cuts the network of one program, or of all.
func (w *world) cut(ctx context.Context, e event) error {
	var nets []*cable.Cable
	for _, k := range w.workers {
		nets = append(nets, k.net)
	}
	nets = append(nets, w.producers)
	if e.who >= 0 {
		nets = nets[e.who : e.who+1]
	}
	for _, p := range nets {
		p.Set(e.how, e.forgets)
	}
	err := sleep(ctx, e.lasts)
	for _, p := range nets {
		p.Set(cable.Whole, e.forgets)
	}
	return err
}

// change does what owners do to their portals.
func (w *world) change(e event) error {
	if e.what == expire {
		w.box.ExpireTokens()
		return nil
	}
	p := w.places[e.who]
	switch e.what {
	case rename:
		name, err := w.box.Listen(fmt.Sprintf("127.41.%d.%d:0", e.who/250, 1+e.who%250))
		if err != nil {
			return err
		}
		w.mu.Lock()
		p.names, p.renamed = append(p.names, name), true
		w.mu.Unlock()
		return p.state.Rename(name)
	case revoke:
		w.mu.Lock()
		p.revoked = true
		w.mu.Unlock()
		p.state.RevokeRefresh()
		p.state.ExpireTokens()
	case block:
		w.mu.Lock()
		p.blocked = true
		w.mu.Unlock()
		return p.state.Inject(overload)
	default:
		return fmt.Errorf("nobody knows how to %s", e.what)
	}
	return nil
}

// errStuck ends a seed whose rows do not end.
var errStuck = errors.New("rows still wait")

// hintEvery is how often the sweeper is asked to look at everything: it does so
// every 10 minutes by itself, and once a minute when it is asked.
const hintEvery = 10 * time.Second

// peace waits until nothing is left to do. One worker after the other is started
// anew, as in a deployment: a worker that starts looks for the tasks of those that
// have died.
func (w *world) peace(ctx context.Context) error {
	began := time.Now()
	for _, p := range w.places {
		p.state.ClearFaults()
	}
	w.notef("peace")
	deadline := w.began.Add(w.o.limit - judging)
	var hinted time.Time
	for next := 0; ; {
		left, err := w.unfinished(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			w.notef("no row waits any more")
			return nil
		}
		if time.Now().After(deadline) {
			w.problemf("%d rows and tasks still wait %.0f s after the last trouble", left, time.Since(began).Seconds())
			return errStuck
		}
		if time.Since(hinted) > hintEvery {
			hinted = time.Now()
			if err := w.sweeper.Hint(ctx); err != nil {
				return err
			}
		}
		if next < len(w.workers) && time.Since(began) > time.Duration(1+next)*anewEvery {
			w.notef("worker %d is started anew", next)
			stopped := time.Now()
			if err := w.workers[next].restart(ctx, 0); err != nil {
				return err
			}
			w.outage(stopped, time.Now(), string(stopWorker))
			next++
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

const (
	// judging is what is left of the limit for the comparison.
	judging = 15 * time.Second
	// anewEvery is how long after another a worker is started anew.
	anewEvery = 15 * time.Second
	// anew is how long it takes to start all of them anew.
	anew = workers * anewEvery
)

// unfinished counts the waiting rows of all runs, and the tasks that live: one whose
// row has ended is acknowledged when it comes back.
func (w *world) unfinished(ctx context.Context) (int, error) {
	left := 0
	for _, s := range w.submissions() {
		info, err := w.store.Get(ctx, s.run)
		if err != nil {
			return 0, err
		}
		left += info.Counts.Waiting
		if info.Open {
			left++
		}
	}
	queues, err := w.registry.Queues(ctx)
	if err != nil {
		return 0, err
	}
	for _, q := range queues {
		info, err := w.inspector.GetQueueInfo(q)
		if err != nil {
			return 0, fmt.Errorf("look at queue %s: %w", q, err)
		}
		left += info.Pending + info.Active + info.Scheduled + info.Retry
	}
	return left, nil
}
