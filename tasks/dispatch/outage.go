// A gate that cannot be asked: one lane finds out for all when it is back.

package dispatch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// errGateDown is a gate that was not asked, as it did not answer others lately.
var errGateDown = errors.New("the gate cannot be asked now")

// outage is when the gate may be asked again, after a question to it has failed:
// Unix time in ns; 0 while it answers. Hundreds of lanes that each asked once a
// second would keep a Redis busy that is full, or fill the log when it is away.
type outage struct{ until atomic.Int64 }

// begins reports whether a question may be asked: always while the gate answers,
// otherwise one every askAgain.
func (o *outage) begins(now time.Time) bool {
	until := o.until.Load()
	if until == 0 {
		return true
	}
	return now.UnixNano() >= until && o.until.CompareAndSwap(until, now.Add(askAgain).UnixNano())
}

// acquire asks the gate, unless it did not answer lately.
func (l *lane) acquire(ctx context.Context, p *portals.Portal, r ratelimit.Request) (ratelimit.Decision, error) {
	if !l.d.outage.begins(time.Now()) {
		return ratelimit.Decision{}, errGateDown
	}
	dec, err := l.d.cfg.Gate.Acquire(ctx, r)
	if err != nil {
		l.d.outage.until.Store(time.Now().Add(askAgain).UnixNano())
		l.d.cfg.Log.Warn("the gate could not be asked", "portal", p.Name, "err", err)
		return dec, err
	}
	l.d.outage.until.Store(0)
	return dec, nil
}
