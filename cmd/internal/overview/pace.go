// Whether runs move, from one look to the next.

package overview

import (
	"sync"
	"time"

	"botfleet/tasks/runs"
)

// pace remembers how many rows of each unfinished run were done, and since when
// it has been that many.
type pace struct {
	mu   sync.Mutex
	runs map[string]mark
}

type mark struct {
	done int
	at   time.Time
}

func newPace() *pace { return &pace{runs: map[string]mark{}} }

// note takes in the runs as they are now; those that are not among them are
// forgotten. It returns since when no row of any of them was done: zero when
// nothing was seen before, or rows were done since the last look.
func (p *pace) note(now time.Time, list []runs.Info) (still time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]mark, len(list))
	moved := false
	for i := range list {
		r := &list[i]
		if r.Finished() {
			continue
		}
		last, seen := p.runs[r.ID]
		if done := r.Counts.Done(); !seen || last.done != done {
			moved = moved || seen
			last = mark{done, now}
		}
		next[r.ID] = last
		if last.at.After(still) {
			still = last.at
		}
	}
	p.runs = next
	if moved || !still.Before(now) {
		return time.Time{}
	}
	return still
}
