// The request rate: a leaky bucket per source address.

package sandbox

import "time"

// bucket is a leaky bucket. Each request adds 1, rate a second drain off.
type bucket struct {
	level float64
	at    time.Time
}

// levelAt is what is left in the bucket.
func (b bucket) levelAt(now time.Time, rate float64) float64 {
	return max(0, b.level-rate*now.Sub(b.at).Seconds())
}

// add takes one more request in, or says that it would exceed burst. A refused
// request adds nothing.
func (b *bucket) add(now time.Time, rate float64, burst int) bool {
	level := b.levelAt(now, rate)
	// A rounding error must not refuse a request that comes exactly in time.
	const rounding = 1e-9
	ok := level+1 <= float64(burst)+rounding
	if ok {
		level++
	}
	b.level, b.at = level, now
	return ok
}

// maxSources bounds the buckets kept per portal; drained ones are dropped
// when it is reached.
const maxSources = 1024

// sources are a portal's buckets by source address.
type sources map[string]*bucket

// add takes in a request from an address and returns the bucket's level.
func (s sources) add(from string, now time.Time, rate float64, burst int) (level float64, ok bool) {
	b := s[from]
	if b == nil {
		if len(s) >= maxSources {
			s.prune(now, rate)
		}
		b = &bucket{at: now}
		s[from] = b
	}
	ok = b.add(now, rate, burst)
	return b.level, ok
}

// prune drops what is drained; if nothing is, everything.
func (s sources) prune(now time.Time, rate float64) {
	for k, b := range s {
		if b.levelAt(now, rate) == 0 {
			delete(s, k)
		}
	}
	if len(s) >= maxSources {
		clear(s)
	}
}
