// How fast a portal is, as a lane learns it: how many rows make a batch, and
// how many jobs keep the portal busy.

package dispatch

import (
	"math"
	"time"
)

// pace learns how long a portal takes: for a request with one row, for each
// further row of a batch, and for a request on the whole. All are moving means,
// and 0 while nothing is known. One row alone says little of what a batch
// takes: most of its time may be the way there and back.
type pace struct {
	single, further, request time.Duration
}

const (
	// firstRows is how many rows travel together at most while nothing is known
	// of batches, and firstLength how long they are meant to take.
	firstRows   = 5
	firstLength = time.Second
	// batchShare: a batch is meant to end within this share of the time after
	// which the portal cuts it off (20 of 60 s).
	batchShare = 3
	// paceWeight is the weight of what was known against a new measurement.
	paceWeight = 0.7
)

// learn takes in how long a request took, and the rows that it ran.
func (p *pace) learn(rows int, took time.Duration) {
	if rows <= 0 {
		return
	}
	p.request = mean(p.request, took)
	if rows == 1 {
		p.single = mean(p.single, took)
		return
	}
	each := took / time.Duration(rows)
	if p.single > 0 {
		// A single call that was slow by chance must not make a row look free.
		each = max((took-p.single)/time.Duration(rows-1), each/4)
	}
	p.further = mean(p.further, each)
}

// perRow is how long the portal works on a row, as far as can be told.
func (p *pace) perRow() time.Duration {
	if p.further > 0 {
		return p.further
	}
	return p.single
}

// steady is what a row takes while many of them wait; 0 while not known. What a
// single call takes says little of what batches get done, and a row that is put
// off for too long costs more than one that comes too early.
func (p *pace) steady(b Batching) time.Duration {
	if p.further == 0 && b == Off {
		return p.single
	}
	return p.further
}

func mean(known, measured time.Duration) time.Duration {
	if known == 0 {
		return max(measured, 1)
	}
	return max(time.Duration(paceWeight*float64(known)+(1-paceWeight)*float64(measured)), 1)
}

// rows is how many rows may travel together to a portal that works at most
// serverTimeout on a request; at least 1.
func (p *pace) rows(serverTimeout time.Duration) int {
	switch {
	case p.further > 0:
		return rowsWithin(serverTimeout/batchShare, p.further)
	case p.single > 0:
		return min(max(rowsWithin(firstLength, p.single), 2), firstRows)
	}
	return firstRows
}

// enough is how many rows make a batch that gives the portal all the work it
// can get done: more would only make requests longer. It must be enough for
// parallel requests, begun at rate a second, to keep the portal at work, and for
// the rows of a request to outweigh the way there and back. A request that stays
// short all the same may be larger: each one costs both sides something.
func (p *pace) enough(rate float64, parallel int) int {
	if p.further == 0 || !(rate > 0) {
		return math.MaxInt
	}
	const (
		outweigh = 4 // a fifth of the time may go to the way
		short    = 100 * time.Millisecond
	)
	byRate := float64(parallel) / (p.further.Seconds() * rate)
	byWay := outweigh * float64(max(p.single-p.further, 0)) / float64(p.further)
	bySize := float64(short) / float64(p.further)
	return int(min(max(byRate, byWay, bySize), math.MaxInt32)) + 1
}

const (
	// quickBatch is what a batch may take that leaves although no limit binds.
	// Nobody feels it, and both sides save requests.
	quickBatch = 50 * time.Millisecond
	// gatherQuick is for how long rows gather for such a batch.
	gatherQuick = 2 * gatherFor
)

// quick is how many rows may travel together although nothing binds: more than
// one only where a portal is so quick that they do not wait for each other.
func (p *pace) quick(most int) int {
	perRow := p.perRow()
	if perRow == 0 {
		return 1
	}
	return min(most, rowsWithin(quickBatch, perRow))
}

// rowsWithin is how many rows of perRow fit into d, at least 1.
func rowsWithin(d, perRow time.Duration) int { return max(int(d/perRow), 1) }
