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
// the limits, starting on a portal at rest.
func (in EstimateInput) Estimate() Estimate {
	if in.Parallel <= 0 {
		in.Parallel = DefaultParallel
	}
	in.Rows = max(0, in.Rows)
	in.Batch = max(1, min(in.Batch, in.Rows))
	in.Cost = max(0, min(in.Cost, mostOperating))
	in.Latency = max(0, min(in.Latency, mostOperating))
	p := newPlan(in.Limits, in.Parallel)
	batch := in.Batch
	if p.work > 0 && in.Cost > 0 && batch > 1 {
		batch = max(1, min(batch, int(min(p.work/in.Cost, time.Duration(batch)))))
	}
	e := Estimate{Requests: requests(in.Rows, batch)}
	e.Duration, e.Binds = unbudgeted(p, in, batch, in.Rows)
	if p.work <= 0 || in.Cost <= 0 || in.Rows == 0 {
		return e
	}
	perWindow := max(1, int(min(p.work/in.Cost, time.Duration(in.Rows))))
	windows := (in.Rows - 1) / perWindow // that must pass before the last rows may go
	first, _ := unbudgeted(p, in, batch, perWindow)
	if windows == 0 || first >= p.window {
		return e
	}
	rest, _ := unbudgeted(p, in, batch, in.Rows-windows*perWindow)
	budgeted := capped(float64(windows)*float64(p.window) + float64(rest))
	if budgeted > e.Duration {
		e.Duration, e.Binds = budgeted, Budget
	}
	return e
}

// unbudgeted is how long rows take where the operating budget does not bind.
func unbudgeted(p plan, in EstimateInput, batch, rows int) (time.Duration, Reason) {
	n := requests(rows, batch)
	if n == 0 {
		return 0, None
	}
	one := float64(in.Latency) + float64(min(batch, rows))*float64(in.Cost)
	byRate := float64(max(0, n-p.burst)) / p.rate * float64(time.Second)
	work := float64(rows)*float64(in.Cost) + float64(n)*float64(in.Latency)
	bySpeed := max(one, work/float64(p.parallel))
	switch {
	case byRate > 0 && byRate+one >= bySpeed:
		return capped(byRate + one), Rate
	case n > p.parallel:
		return capped(bySpeed), InFlight
	}
	return capped(one), None
}

// requests rounds up; it adds last, as rows + batch may overflow.
func requests(rows, batch int) int {
	n := rows / batch
	if rows%batch > 0 {
		n++
	}
	return n
}

func capped(ns float64) time.Duration {
	return time.Duration(min(ns, float64(longestEstimate)))
}
