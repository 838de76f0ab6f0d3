// What others pay for a portal with many rows, and for portals that are silent.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/tasks"
)

const (
	// mostUnfair is what a portal's few rows may wait longer because of others.
	mostUnfair    = 2 * time.Second
	crowdRows     = 100_000
	besidePortals = 100
	silentPortals = 20
	othersRun     = "others"
)

// fair measures, with workers as delivered, when the rows of well-behaved
// portals are registered: by themselves, and behind others' rows.
func (b *bench) fair(ctx context.Context) ([]figure, error) {
	alone, err := b.behindCrowd(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("by themselves: %w", err)
	}
	crowd := b.part(crowdRows)
	behind, err := b.behindCrowd(ctx, crowd)
	if err != nil {
		return nil, fmt.Errorf("behind %d rows: %w", crowd, err)
	}
	figures := []figure{fairFigure(fmt.Sprintf("%d portals × %d behind %d rows of one", besidePortals, fewRows, crowd), alone, behind)}
	if alone, err = b.besideSilent(ctx, false); err != nil {
		return figures, fmt.Errorf("by themselves: %w", err)
	}
	silent := b.part(silentPortals)
	beside, err := b.besideSilent(ctx, true)
	if err != nil {
		return figures, fmt.Errorf("beside %d silent portals: %w", silent, err)
	}
	what := fmt.Sprintf("%d portals × %d beside %d silent ones", b.part(manyPortals)-silent, fewRows, silent)
	return append(figures, fairFigure(what, alone, beside)), nil
}

// fairFigure compares two 95th percentiles of the time from the beginning of
// the submission to a row's registration.
func fairFigure(what string, alone, with []time.Duration) figure {
	a, w := percentile(95, alone), percentile(95, with)
	return figure{
		what: what,
		value: fmt.Sprintf("%+.2f s at the 95th percentile (%.2f s, alone %.2f s); the last %+.2f s",
			(w - a).Seconds(), w.Seconds(), a.Seconds(), (percentile(100, with) - percentile(100, alone)).Seconds()),
		must: fmt.Sprintf("at most %+.0f s", mostUnfair.Seconds()),
		ok:   w-a <= mostUnfair,
	}
}

// behindCrowd queues crowd rows of one portal and then a few of each of others,
// starts a worker when all are queued, and returns how long the others' took.
func (b *bench) behindCrowd(ctx context.Context, crowd int) ([]time.Duration, error) {
	like := sandbox.Cloud("")
	like.ServiceTime = callTakes
	f, err := b.newFleet(ctx, 1, 1+besidePortals, like)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.connect(ctx); err != nil {
		return nil, err
	}
	if crowd > 0 {
		if err := f.submit(ctx, runID, registrations(f.entries[0].Name, crowd)); err != nil {
			return nil, err
		}
	}
	return b.others(ctx, f, shuffledRows(f.entries[1:], fewRows))
}

// besideSilent queues a few rows for each of many portals, those of some that
// never answer ahead of the others', and returns how long the others' took.
// Without the silent ones it is the same work for the others.
func (b *bench) besideSilent(ctx context.Context, withSilent bool) ([]time.Duration, error) {
	like := sandbox.Cloud("")
	like.ServiceTime = slowCall
	f, err := b.newFleet(ctx, 1, b.part(manyPortals), like)
	if err != nil {
		return nil, err
	}
	defer f.close()
	silent := b.part(silentPortals)
	for _, st := range f.box.Portals()[:silent] {
		if err := st.Inject(sandbox.Fault{Kind: sandbox.Silence}); err != nil {
			return nil, err
		}
	}
	if err := f.connect(ctx); err != nil {
		return nil, err
	}
	if withSilent { // ahead, so that they hold what they can hold from the start
		if err := f.submit(ctx, runID, shuffledRows(f.entries[:silent], fewRows)); err != nil {
			return nil, err
		}
	}
	return b.others(ctx, f, shuffledRows(f.entries[silent:], fewRows))
}

// others queues rows, starts a worker, and returns how long each row took from
// the beginning of the submission to its registration.
func (b *bench) others(ctx context.Context, f *fleet, rows []tasks.Registration) ([]time.Duration, error) {
	if _, err := b.build(ctx, "worker"); err != nil { // before the clock runs
		return nil, err
	}
	began := time.Now()
	if err := f.submit(ctx, othersRun, rows); err != nil {
		return nil, err
	}
	if err := f.start(ctx, 1); err != nil {
		return nil, err
	}
	if err := f.await(ctx, othersRun, len(rows), 2*time.Minute); err != nil {
		return nil, fmt.Errorf("%w; the portals saw %v", err, f.look())
	}
	ends, err := f.registered(ctx, othersRun)
	if err != nil {
		return nil, err
	}
	f.stop()
	took := make([]time.Duration, len(ends))
	for i, end := range ends {
		took[i] = end.Sub(began)
	}
	b.sayf("  %d rows: median %.2f s, p95 %.2f s, last %.2f s; the portals saw %v; %s", len(rows),
		percentile(50, took).Seconds(), percentile(95, took).Seconds(), percentile(100, took).Seconds(), f.look(), f.spent(ctx))
	return took, nil
}
