// The ideals: how long rows take at the edge of a portal's limits, computed
// from these alone. Nothing here asks the gate or its estimates.

package main

import "time"

// batchRows is how many commands one batch may hold: public page of batch.
const batchRows = 50

// requestsFor is how many requests rows need, so many in each.
func requestsFor(rows, each int) int { return (rows + each - 1) / each }

// rateBound is how long requests take that a leaky bucket of burst admits at
// perSecond, and of which the last takes call.
func rateBound(requests, burst int, perSecond float64, call time.Duration) time.Duration {
	waiting := max(0, requests-burst)
	return time.Duration(float64(waiting)/perSecond*float64(time.Second)) + call
}

// workBound is how long rows of each take with so many worked on at once: those
// of a portal that works on one command of a request after another and on so
// many requests at once, or those of a worker with so many slots.
func workBound(rows int, each time.Duration, atOnce int) time.Duration {
	return time.Duration(float64(rows) * float64(each) / float64(atOnce))
}

// lessMargin takes off an operating limit what is never used of it, 2 %.
func lessMargin(limit time.Duration) time.Duration { return limit - limit/50 }

// budgetBound is how long rows of each take whose work is limited to limit in
// every window: as many whole windows as are used up before the last rows, and
// what these take at the portal's own pace, so many requests at once.
func budgetBound(rows int, each, limit, window time.Duration, atOnce int) time.Duration {
	perWindow := max(1, int(limit/each))
	windows := max(0, rows-1) / perWindow
	return time.Duration(windows)*window + workBound(rows-windows*perWindow, each, atOnce)
}
