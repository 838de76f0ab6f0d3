// One portal whose operating budget binds.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
)

const (
	mostBudget = 1.10
	// budgetScale shortens a window of 10 minutes with 480 s of work to one
	// of 60 s with 48 s.
	budgetScale = 0.1
	// budgetWindows is how many windows' work there is.
	budgetWindows = 2.8
	// rowTakes is the work of a row, before periods are shortened. It is long
	// because what the portal's timers add counts as work too: at 5 % more the
	// work would be that of more than three windows.
	rowTakes = 2 * time.Second
)

func (b *bench) budgetOne(ctx context.Context) ([]figure, error)  { return b.budgetBinds(ctx, 1) }
func (b *bench) budgetFour(ctx context.Context) ([]figure, error) { return b.budgetBinds(ctx, 4) }

// budgetBinds is a cloud portal on a standard plan.
func (b *bench) budgetBinds(ctx context.Context, workers int) ([]figure, error) {
	like := sandbox.Cloud("")
	like.ServiceTime = rowTakes
	windows := budgetWindows * b.share
	rows := max(1, int(windows*float64(like.OperatingLimit/rowTakes)))
	unscaled := budgetBound(rows, rowTakes, lessMargin(like.OperatingLimit), like.OperatingWindow, portalParallel)
	ideal := time.Duration(budgetScale * float64(unscaled))
	window := time.Duration(budgetScale * float64(like.OperatingWindow))
	what := "operating budget binds, " + workersText(workers)
	b.sayf("%s: %d rows for %.1f windows, ideal %.1f s", what, rows, windows, ideal.Seconds())

	f, err := b.newFleet(ctx, budgetScale, 1, like)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rows = registrations(f.entries[0].Name, rows)
	if err := f.connect(ctx); err != nil {
		return nil, err
	}
	if err := f.start(ctx, workers); err != nil {
		return nil, err
	}
	s, err := b.makespan(ctx, f, what, patience(ideal))
	if err != nil {
		return nil, err
	}
	refused := refusedWork(f.box.Portals()[0])
	fault := ""
	if most := mostPerWindow(s.first, window, refused); most > 1 {
		fault = fmt.Sprintf("%d answers 429 in one window", most)
	}
	g := ratioFigure(what, s, ideal, mostBudget, rows, "one 429 a window", fault, noRefusals(s.stats))
	g.value += fmt.Sprintf("; %d answers 429", len(refused))
	if workers > 1 {
		return []figure{g}, nil
	}
	return []figure{g, estimateFigure(what, ratelimit.EstimateInput{
		Limits: limitsOf(like, budgetScale), Rows: rows, Batch: batchRows, Cost: time.Duration(budgetScale * float64(rowTakes)),
	}, s)}, nil
}
