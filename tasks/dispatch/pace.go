// How fast a portal is, as a lane learns it: how many rows make a batch, and
// how many jobs keep the portal busy.

package dispatch

import "time"

// pace learns how long a portal works on one row and on one request, so that a
// batch ends well before the portal cuts a request off. Both are moving means,
// and 0 while nothing is known.
type pace struct {
	perRow, perRequest time.Duration
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
	p.perRow = mean(p.perRow, took/time.Duration(rows))
	p.perRequest = mean(p.perRequest, took)
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
	if p.perRow == 0 {
		return firstRows
	}
	return rowsWithin(serverTimeout/batchShare, p.perRow)
}

// rowsWithin is how many rows of perRow fit into d, at least 1.
func rowsWithin(d, perRow time.Duration) int { return max(int(d/perRow), 1) }
