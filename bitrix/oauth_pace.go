// How fast this process asks the authorization server.

package bitrix

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// patience is how long a request waits for its turn. What would wait longer is
// better put back where it came from: it holds a goroutine and a lock.
const patience = 2 * time.Second

// pace bounds the requests per second. Whoever cannot have a turn soon is told
// when there is one to be had again. That is one time for all of them: callers
// with many portals spread their return.
type pace struct {
	limiter *rate.Limiter
	mu      sync.Mutex // a turn taken and given back, as one
}

func newPace(perSecond float64) *pace {
	burst := max(1, int(math.Min(math.Ceil(perSecond), 1e6)))
	return &pace{limiter: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// turn waits for a turn: nil, nil when it has come. It returns when to come
// back if the wait would be longer than patience or the caller has time for,
// and the caller's error when it gave up.
func (p *pace) turn(ctx context.Context, now time.Time) (*Wait, error) {
	longest := patience
	if deadline, limited := ctx.Deadline(); limited {
		longest = min(longest, deadline.Sub(now))
	}
	reserved, delay, wait := p.reserve(now, longest)
	if wait != nil || delay <= 0 {
		return wait, nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil, nil //nolint:nilnil // the turn has come
	case <-ctx.Done():
		reserved.Cancel()
		return nil, ctx.Err()
	}
}

// reserve takes the next turn, or gives it back at once and says when to come
// back. Both happen under the lock: a turn is lost for good when others are
// taken between.
func (p *pace) reserve(now time.Time, longest time.Duration) (*rate.Reservation, time.Duration, *Wait) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reserved := p.limiter.ReserveN(now, 1)
	delay := reserved.DelayFrom(now)
	if delay <= max(longest, 0) {
		return reserved, delay, nil
	}
	reserved.CancelAt(now)
	return nil, 0, &Wait{Until: now.Add(delay), Since: now}
}
