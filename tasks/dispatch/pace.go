// How many rows a lane puts into one batch.

package dispatch

import "time"

// pace learns how long a portal works on one row, so that a batch ends well
// before the portal cuts a request off.
type pace struct {
	perRow time.Duration // moving mean; 0 while nothing is known
}

const (
	// firstRows is how many rows travel together while nothing is known.
	firstRows = 5
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
	each := took / time.Duration(rows)
	if p.perRow == 0 {
		p.perRow = max(each, 1)
		return
	}
	p.perRow = max(time.Duration(paceWeight*float64(p.perRow)+(1-paceWeight)*float64(each)), 1)
}

// rows is how many rows may travel together to a portal that works at most
// serverTimeout on a request; at least 1.
func (p *pace) rows(serverTimeout time.Duration) int {
	if p.perRow == 0 {
		return firstRows
	}
	return max(int(serverTimeout/batchShare/p.perRow), 1)
}
