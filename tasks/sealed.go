// Rows whose portal's credentials do not open: how long a worker puts them off.

package tasks

import (
	"math"
	"sync"
	"time"
)

// A row whose portal's credentials this worker cannot open waits for a person, who
// imports the portal again or gives the worker another key, or for a worker that
// has the key. Rows that came back all at once would all be taken by the worker
// that is done with them first, which is the one that cannot open them: each wait is
// drawn anew. It grows with how many such rows the worker hands back, so that many
// cost little: 30,000 of one worker come back every 4 min on average.
const (
	sealedLeast  = 5 * time.Second
	sealedPerRow = 30 * time.Millisecond // for each that was handed back of late
	sealedMost   = 10 * time.Minute
	sealedOfLate = time.Minute
)

// sealedRows counts the rows that a worker hands back sealed. Its zero value has
// counted none.
type sealedRows struct {
	mu sync.Mutex
	// ofLate are those handed back before last, each counting the less the older
	// it is: at a steady rate, as many as there are in sealedOfLate.
	ofLate float64
	last   time.Time
}

// wait is how long one more row is put off, from half to three halves of what is
// due. draw is a random number in [0, 1).
func (s *sealedRows) wait(now time.Time, draw float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.last); since > 0 {
		s.ofLate *= math.Exp(-since.Seconds() / sealedOfLate.Seconds())
		s.last = now
	}
	s.ofLate++
	due := min(sealedLeast+time.Duration(s.ofLate*float64(sealedPerRow)), sealedMost)
	return due/2 + time.Duration(draw*float64(due))
}
