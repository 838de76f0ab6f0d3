// Many portals asked side by side, so that silent ones hold up no others.

package command

import (
	"context"
	"sync"
	"time"

	"botfleet/bitrix/portals"
)

const (
	// stepAside is after what time a portal that is still being waited for
	// gives its turn to the next: those that answer do so sooner.
	stepAside = 2 * time.Second
	// crowd is how many times as many portals as have a turn may be waited for.
	crowd = 8
)

// all asks portals, about parallel at once, and calls emit with what became of
// each as it comes. It returns when nothing is left under way.
func (c *checker) all(ctx context.Context, list []portals.Portal, parallel int, emit func(*checked) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan checked)
	go func() { // ends before the range over results does
		defer close(results)
		c.send(ctx, list, parallel, results)
	}()
	var first error
	for r := range results {
		if first != nil || ctx.Err() != nil && interrupted(&r) {
			continue
		}
		if first = r.err; first == nil {
			first = emit(&r)
		}
		if first != nil {
			cancel(first)
		}
	}
	return first
}

// interrupted says that nothing was found out about a portal because the
// command was broken off.
func interrupted(r *checked) bool { return r.err != nil || r.verdict.brokenOff() }

func (c *checker) send(ctx context.Context, list []portals.Portal, parallel int, results chan<- checked) {
	turns, places := make(chan struct{}, parallel), make(chan struct{}, parallel*crowd)
	var all sync.WaitGroup
	defer all.Wait()
	for i := range list {
		if !enter(ctx, turns) {
			return
		}
		if !enter(ctx, places) {
			return
		}
		all.Go(func() {
			next := sync.OnceFunc(func() { <-turns })
			aside := time.AfterFunc(stepAside, next)
			r := c.one(ctx, &list[i])
			aside.Stop()
			next()
			<-places
			results <- r
		})
	}
}

func enter(ctx context.Context, room chan<- struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case room <- struct{}{}:
		return true
	}
}
