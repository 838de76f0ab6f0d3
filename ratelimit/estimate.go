// How long rows will take on one portal, from its limits alone.

package ratelimit

import "time"

// EstimateInput is what an estimate is made from.
type EstimateInput struct {
	Limits Limits
	Rows   int
	Batch  int // rows per request; 1, or less, for single calls
	// Cost is the work of one row, as the portal counts it and as long as it
	// takes. 0 = unknown: then only the request rate binds.
	Cost time.Duration
	// Latency is what a request takes beside its rows' work.
	Latency  time.Duration
	Parallel int // requests on their way at once; 0 = DefaultParallel
}

// Estimate is what rows of one portal will take.
type Estimate struct {
	Requests int
	Duration time.Duration // from the first request to the last answer
	// Binds is the limit that makes it so long: Rate, InFlight (the portal's
	// own speed at that many requests at once), Budget, or None when a single
	// round of requests does.
	Binds Reason
}

// longestEstimate is where estimates end.
const longestEstimate = farthest

// Estimate computes when the last of the rows will be done, at the edge of
// the limits, starting on a portal at rest. It is the forecast by which the gate
// gives places in line.
func (in EstimateInput) Estimate() Estimate {
	in = in.usable()
	p := newPortal("", in.Limits, in.Parallel)
	batch := in.Batch
	if p.plan.work > 0 && in.Cost > 0 {
		batch = max(1, min(batch, int(min(p.plan.work/in.Cost, time.Duration(batch)))))
	}
	e := Estimate{Requests: requests(in.Rows, batch)}
	if in.Rows == 0 {
		return e
	}
	var now time.Time
	work := in.Latency + time.Duration(batch)*in.Cost // of one request
	perSecond := 0.0
	if work > 0 {
		perSecond = float64(p.plan.parallel) * float64(batch) / work.Seconds()
	}
	f := p.forecast(now, budgetKey{}, batch, perSecond, DefaultTicketTTL)
	if f.cost = in.Cost; f.cost > 0 && p.plan.work > 0 {
		f.budgeted(now, nil, p.plan)
	}
	at, binds := f.at(in.Rows - 1)
	e.Binds = binds
	last := in.Latency + time.Duration(min(batch, requests(in.Rows, p.plan.parallel)))*in.Cost
	switch {
	case binds == Budget: // paced row by row
		e.Duration = at.Sub(now) + in.Latency + in.Cost
	case binds != InFlight:
		e.Duration = at.Sub(now) + last
	case e.Requests <= p.plan.parallel:
		e.Duration, e.Binds = last, None
	default:
		e.Duration = max(last, seconds(float64(in.Rows)/f.pace))
	}
	e.Duration = min(e.Duration, longestEstimate)
	return e
}

// usable has defaults for what is missing or absurd.
func (in EstimateInput) usable() EstimateInput {
	if in.Parallel <= 0 {
		in.Parallel = DefaultParallel
	}
	in.Parallel = min(in.Parallel, mostParallel)
	in.Rows = max(0, in.Rows)
	in.Batch = max(1, min(in.Batch, in.Rows, mostRows))
	in.Cost = max(0, min(in.Cost, mostOperating))
	in.Latency = max(0, min(in.Latency, mostOperating))
	return in
}

// requests rounds up; it adds last, as rows + batch may overflow.
func requests(rows, batch int) int {
	n := rows / batch
	if rows%batch > 0 {
		n++
	}
	return n
}
