// The line of a portal: rows that have to wait, in the order in which they were
// queued. A row keeps its place however often it asks.

package ratelimit

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// farthest bounds the line, whatever is put in it.
const farthest = 365 * 24 * time.Hour

// seatKept is how long after the time at which it was to ask again a row that
// did not ask keeps its place: it was cancelled, or its worker died.
const seatKept = 2 * time.Minute

// seat is one row's place.
type seat struct {
	order int64
	code  string
}

func bySeat(a, b seat) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.code, b.code)) }

// taken is what is known of a seat.
type taken struct {
	order int64
	ask   time.Time // when the row was told to ask again
}

// line holds the waiting rows of one portal.
type line struct {
	seats []seat // sorted
	codes map[string]taken
	told  tellings
}

// telling is that a row was told to ask again at a time; it may have asked since.
type telling struct {
	code string
	ask  time.Time
}

// tellings is a heap, the earliest first.
type tellings []telling

func (h tellings) Len() int           { return len(h) }
func (h tellings) Less(i, j int) bool { return h[i].ask.Before(h[j].ask) }
func (h tellings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *tellings) Push(x any) {
	*h = append(*h, x.(telling)) //nolint:forcetypeassert // only tell pushes
}

// Pop implements [heap.Interface].
func (h *tellings) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = telling{} // let its code go
	*h = (*h)[:last]
	return t
}

// join gives a row its place and returns how many stand before it.
func (l *line) join(code string, order int64) int {
	old, there := l.codes[code]
	if there && old.order != order { // queued anew
		l.leave(code)
		there = false
	}
	i, _ := slices.BinarySearchFunc(l.seats, seat{order, code}, bySeat)
	if !there {
		if l.codes == nil {
			l.codes = make(map[string]taken)
		}
		l.seats = slices.Insert(l.seats, i, seat{order, code})
		l.codes[code] = taken{order: order}
	}
	return i
}

// tell notes when a row in line is to ask again.
func (l *line) tell(code string, ask time.Time) {
	l.codes[code] = taken{order: l.codes[code].order, ask: ask}
	heap.Push(&l.told, telling{code, ask})
}

// leave takes a row out of the line, if it is there.
func (l *line) leave(code string) {
	old, there := l.codes[code]
	if !there {
		return
	}
	delete(l.codes, code)
	if i, ok := slices.BinarySearchFunc(l.seats, seat{old.order, code}, bySeat); ok {
		l.seats = slices.Delete(l.seats, i, i+1)
	}
}

// tidy takes out the rows that have not asked when they were to.
func (l *line) tidy(now time.Time) {
	for len(l.told) > 0 && now.Sub(l.told[0].ask) > seatKept {
		t := heap.Pop(&l.told).(telling) //nolint:forcetypeassert // only tell pushes
		if l.codes[t.code].ask.Equal(t.ask) {
			l.leave(t.code)
		}
	}
}

// place gives the rows of a request their places in line.
func (p *portal) place(now time.Time, r *LineRequest, ttl time.Duration) []Place {
	notBefore := later(now, r.NotBefore)
	places := make([]Place, max(1, len(r.Codes)))
	if p.hold != nil || p.silence.active() {
		for i := range places {
			places[i] = Place{Ask: notBefore, Expected: notBefore}
		}
		return places
	}
	p.line.tidy(now)
	f := p.forecast(now, budgetKey{r.Credential, r.Method, r.Batched}, r.Batch, r.PerSecond, ttl)
	for i := range places {
		before := 0
		if len(r.Codes) > 0 {
			before = p.line.join(r.Codes[i], r.Order[i])
		}
		places[i] = f.place(notBefore, before, r.Ahead)
		if len(r.Codes) > 0 {
			p.line.tell(r.Codes[i], places[i].Ask)
		}
	}
	return places
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
