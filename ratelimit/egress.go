// The process's own limit on all its requests.

package ratelimit

import (
	"math"
	"sync"
	"time"
)

// egress is one bucket for all portals, or none. It holds a tenth of a
// second's requests: enough not to lose any, too few to be felt.
type egress struct {
	mu     sync.Mutex
	bucket bucket // without a limiter: no limit
}

// limit sets the bound; 0, negative, or absurd: none.
func (e *egress) limit(perSecond float64) {
	if perSecond > 0 && perSecond <= highestRate*10 {
		perSecond = max(lowestRate, perSecond)
		e.bucket = newBucket(perSecond, max(1, int(math.Ceil(perSecond/10))))
	}
}

// take takes one request, or says when there will be one.
func (e *egress) take(now time.Time) (at time.Time, ok bool) {
	if e.bucket.lim == nil {
		return now, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bucket.take(now) {
		return now, true
	}
	return e.bucket.opensAt(now), false
}

// charge takes requests that go all the same.
func (e *egress) charge(now time.Time, n int) {
	if e.bucket.lim == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bucket.charge(now, n)
}

func (e *egress) giveBack() {
	if e.bucket.lim == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bucket.giveBack()
}
