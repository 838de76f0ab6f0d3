// What is done once for all calls that wait for it.

package signin

import (
	"context"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// flight is a renewal or a move under way. Its outcome is there once landed is
// closed; its goroutine may go on for a while after that.
type flight struct {
	began  time.Time
	landed chan struct{}
	outcome
}

// outcome is what a renewal or a move came to.
type outcome struct {
	portal portals.Portal // newest known, also when it failed
	fresh  bool           // its token was issued just now
	failed *bitrix.Error  // nil when there is something to repeat the call with
	goesOn bool           // the flight goes on: others are to join it, not to begin another
}

// join returns the flight of a name, and starts it if there is none. run must
// call land once; its context ends with Close. After Close join returns nil.
func (c *Caller) join(name string, run func(ctx context.Context, land func(outcome))) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[name]; f != nil {
		return f
	}
	if c.closed {
		return nil
	}
	f := &flight{began: c.Now(), landed: make(chan struct{})}
	c.flights[name] = f
	c.work.Go(func() {
		run(c.ctx, func(out outcome) {
			f.outcome = out
			if !out.goesOn {
				c.leave(name) // first: whoever this outcome does not help begins anew
			}
			close(f.landed)
		})
		if f.goesOn {
			c.leave(name)
		}
	})
	return f
}

// leave ends a flight for those who have not joined it.
func (c *Caller) leave(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, name)
}

// patience is the longest that a call waits for a renewal or a move, its own or
// somebody else's: it holds one of the portal's few places meanwhile.
const patience = 2 * time.Second

// await waits for a flight, for as long as a call may wait at most, and reports
// whether it has landed.
func (f *flight) await(ctx context.Context, atMost time.Duration) bool {
	if f == nil {
		return false
	}
	timer := time.NewTimer(max(min(atMost, patience), 0))
	defer timer.Stop()
	select {
	case <-f.landed:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	select {
	case <-f.landed: // at the same moment
		return true
	default:
		return false
	}
}
