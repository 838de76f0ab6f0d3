// Operating time: how much work a method has done for a credential lately.

package sandbox

import "time"

const (
	// buckets is how many parts the operating window has: ten of one minute
	// (public REST limits page).
	buckets = 10
	// maxCounters bounds a portal's counters; those that have run out are
	// dropped when it is reached.
	maxCounters = 4096
)

// counter sums work in ten buckets.
type counter struct {
	part [buckets]struct {
		index int64         // which period since the epoch
		used  time.Duration // charged in it
		last  time.Time     // of the latest charge
	}
}

// period numbers the bucket that now falls into.
func period(now time.Time, window time.Duration) int64 {
	return now.UnixNano() / int64(window/buckets)
}

func (c *counter) charge(now time.Time, window, used time.Duration) {
	i := period(now, window)
	p := &c.part[i%buckets]
	if p.index != i {
		p.index, p.used = i, 0
	}
	p.used += used
	p.last = now
}

// sum is the work in the window that ends with now's bucket.
func (c *counter) sum(now time.Time, window time.Duration) (used time.Duration) {
	i := period(now, window)
	for _, p := range c.part {
		if p.index > i-buckets {
			used += p.used
		}
	}
	return used
}

// resetAt is when the oldest bucket leaves the window, in unix seconds rounded
// up: exactly when (late false), or as portals' sources tell it (late true), a
// window after its last charge, up to a bucket's length too late.
func (c *counter) resetAt(now time.Time, window time.Duration, late bool) int64 {
	i := period(now, window)
	reset := now.Add(window)
	oldest := i + 1
	for _, p := range c.part {
		if p.index > i-buckets && p.used > 0 && p.index < oldest {
			oldest = p.index
			reset = time.Unix(0, (oldest+buckets)*int64(window/buckets))
			if late {
				reset = p.last.Add(window)
			}
		}
	}
	return reset.Add(time.Second - time.Nanosecond).Unix()
}

// counters are a portal's counters by credential and method.
type counters map[string]*counter

func (cs counters) used(key string, now time.Time, window time.Duration) time.Duration {
	if c := cs[key]; c != nil {
		return c.sum(now, window)
	}
	return 0
}

func (cs counters) charge(key string, now time.Time, window, used time.Duration) {
	c := cs[key]
	if c == nil {
		if len(cs) >= maxCounters {
			cs.prune(now, window)
		}
		c = &counter{}
		cs[key] = c
	}
	c.charge(now, window, used)
}

func (cs counters) prune(now time.Time, window time.Duration) {
	for k, c := range cs {
		if c.sum(now, window) == 0 {
			delete(cs, k)
		}
	}
	if len(cs) >= maxCounters {
		clear(cs)
	}
}

// fixedFrom is how much work of one method in one HTTP request is needed for
// it to count at all, by the portal's sources.
const fixedFrom = 100 * time.Millisecond

// tally gathers the work of one HTTP request per counter, because by the
// sources it counts only when it exceeds fixedFrom.
type tally map[string]struct{ done, counted time.Duration }

// due adds work and returns how much of it is to be charged now.
func (t tally) due(key string, work, from time.Duration) time.Duration {
	e := t[key]
	e.done += work
	owed := e.done - e.counted
	if e.done <= from {
		owed = 0
	}
	e.counted += owed
	t[key] = e
	return owed
}
