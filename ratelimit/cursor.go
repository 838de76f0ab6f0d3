// The place in line: when rows that are put off are expected to be served.

package ratelimit

import "time"

// farthest bounds the line, whatever is put in it.
const farthest = 365 * 24 * time.Hour

// cursor is the end of a portal's line, in expected times.
type cursor struct {
	line time.Time // rows that may go as soon as it is their turn
	// late is the line of rows that may not go before some time after the
	// first line's end. It is apart, so that one row that waits for long does
	// not push the others behind it.
	late time.Time
}

// take takes the next place: width long, not before from, when the portal
// opens, nor before notBefore. Each line's places follow one another.
func (c *cursor) take(from, notBefore time.Time, width time.Duration) time.Time {
	at := later(from, c.line)
	if !notBefore.After(at) {
		c.line = earlier(at.Add(width), from.Add(farthest))
		return at
	}
	at = later(notBefore, c.late)
	c.late = earlier(at.Add(width), from.Add(farthest))
	return at
}

func (c *cursor) past(now time.Time) bool { return !c.line.After(now) && !c.late.After(now) }

// width is how long one row takes at the best rate the limits allow: perSecond
// requests of batch rows, and, where a row's cost is known, work per window.
func width(perSecond float64, batch int, cost, work, window time.Duration) time.Duration {
	w := time.Duration(float64(time.Second) / (perSecond * float64(max(1, batch))))
	if cost > 0 && work > 0 {
		perRow := float64(window) / float64(work) * float64(cost)
		w = max(w, time.Duration(min(perRow, float64(window))))
	}
	return max(1, w)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
