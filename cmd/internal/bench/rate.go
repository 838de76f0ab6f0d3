// One portal whose request rate binds, or whose own pace does.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
)

const (
	rateRows     = 2000
	mostRate     = 1.05
	batchingRows = 20_000
	mostBatching = 1.15
	// portalParallel is PORTAL_PARALLEL as delivered.
	portalParallel = 4
	// callTakes is how long a portal works on a registration.
	callTakes = 20 * time.Millisecond
)

// rateBinds is a portal of 50 requests/s, a standard plan's 2 with periods
// shortened 25 times: every row is a request.
func (b *bench) rateBinds(ctx context.Context) ([]figure, error) {
	like := sandbox.Portal{Rate: 50, Burst: 10, ServiceTime: callTakes}
	rows := b.part(rateRows)
	ideal := rateBound(rows, like.Burst, like.Rate, callTakes)
	var figures []figure
	for _, workers := range []int{1, 2} {
		what := "rate binds, BATCH=off, " + workersText(workers)
		b.sayf("%s: %d rows, ideal %.1f s", what, rows, ideal.Seconds())
		s, err := b.onePortal(ctx, what, 1, like, rows, workers, ideal, "BATCH=off")
		if err != nil {
			return figures, fmt.Errorf("%s: %w", workersText(workers), err)
		}
		figures = append(figures, ratioFigure(what, s, ideal, mostRate, rows, "no answer 503", noRefusals(s.stats)))
		if workers == 1 {
			figures = append(figures, estimateFigure(what, ratelimit.EstimateInput{
				Limits: limitsOf(like, 1), Rows: rows, Batch: 1, Cost: callTakes,
			}, s))
		}
	}
	return figures, nil
}

// batching is a portal that takes full batches, once with the request rate as
// its limit and once with its own pace.
func (b *bench) batching(ctx context.Context) ([]figure, error) {
	rows := b.part(batchingRows)
	var figures []figure
	for _, c := range []struct {
		what        string
		rate, scale float64
	}{
		// A standard plan: 195 s at 2/s, and 100 s of work on four requests at
		// once, with periods shortened 2.5 times.
		{"batching, the rate binds", 2, 0.4},
		// Five times as many requests, as an operator may have set on a portal
		// of his own: 39 s, so that the work binds. Not shortened: of a shorter
		// call the portal's own timers would make too much.
		{"batching, the portal's pace binds", 10, 1},
	} {
		like := sandbox.Portal{Rate: c.rate, Burst: 10, ServiceTime: callTakes}
		byRate := time.Duration(c.scale * float64(rateBound(requestsFor(rows, batchRows), like.Burst, like.Rate, batchRows*callTakes)))
		byWork := time.Duration(c.scale * float64(workBound(rows, callTakes, portalParallel)))
		ideal := max(byRate, byWork)
		b.sayf("%s: %d rows, ideal by rate %.1f s, by work %.1f s", c.what, rows, byRate.Seconds(), byWork.Seconds())
		s, err := b.onePortal(ctx, c.what, c.scale, like, rows, 1, ideal)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", c.what, err)
		}
		figures = append(figures, ratioFigure(c.what, s, ideal, mostBatching, rows, ""), estimateFigure(c.what, ratelimit.EstimateInput{
			Limits: limitsOf(like, c.scale), Rows: rows, Batch: batchRows, Cost: time.Duration(c.scale * float64(callTakes)),
		}, s))
	}
	return figures, nil
}

// onePortal times rows of one portal.
func (b *bench) onePortal(ctx context.Context, what string, scale float64, like sandbox.Portal, rows, workers int, ideal time.Duration, env ...string) (sight, error) {
	f, err := b.newFleet(ctx, scale, 1, like)
	if err != nil {
		return sight{}, err
	}
	defer f.close()
	f.rows = registrations(f.entries[0].Name, rows)
	if err := f.connect(ctx, env...); err != nil {
		return sight{}, err
	}
	if err := f.start(ctx, workers, env...); err != nil {
		return sight{}, err
	}
	return b.makespan(ctx, f, what, patience(ideal))
}

// patience is how long a case may take before it is given up.
func patience(ideal time.Duration) time.Duration { return 3*ideal + time.Minute }
