// Which portals this process has asked for lately.

package ratelimit

import (
	"container/list"
	"slices"
	"sync"
	"time"
)

const (
	// recentFor is how long after it was asked for a portal is told of.
	recentFor = 10 * time.Minute
	// mostKnown bounds what is remembered.
	mostKnown = 10 * MostRecent
)

// recent remembers portals by when they were asked for last.
type recent struct {
	mu    sync.Mutex
	order list.List // of *asked, the latest first
	byID  map[string]*list.Element
}

type asked struct {
	portal string
	at     time.Time
	closed bool // by the last answer
}

// note remembers that a portal was asked for, and why its rows wait.
func (r *recent) note(now time.Time, portal string, why Reason) {
	closed := why == Held || why == Silent || why == Refused
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[portal]; e != nil {
		a := e.Value.(*asked) //nolint:forcetypeassert // the list holds nothing else
		a.at, a.closed = now, closed
		r.order.MoveToFront(e)
		return
	}
	if r.byID == nil {
		r.byID = make(map[string]*list.Element)
	}
	r.byID[portal] = r.order.PushFront(&asked{portal: portal, at: now, closed: closed})
	if r.order.Len() > mostKnown {
		r.forget(r.order.Back())
	}
}

func (r *recent) forget(e *list.Element) {
	r.order.Remove(e)
	delete(r.byID, e.Value.(*asked).portal) //nolint:forcetypeassert // the list holds nothing else
}

// portals are those that were closed when they were last asked for, and the
// latest of the others.
func (r *recent) portals(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.order.Back(); e != nil && now.Sub(e.Value.(*asked).at) > recentFor; e = r.order.Back() { //nolint:forcetypeassert // the list holds nothing else
		r.forget(e)
	}
	var all []string
	open := 0
	for e := r.order.Front(); e != nil; e = e.Next() {
		a := e.Value.(*asked) //nolint:forcetypeassert // the list holds nothing else
		if !a.closed {
			open++
		}
		if a.closed || open <= MostRecent {
			all = append(all, a.portal)
		}
	}
	slices.Sort(all)
	return all
}
