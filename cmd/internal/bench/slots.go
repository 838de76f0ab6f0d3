// Many portals with a few rows each: the workers' slots bind.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
)

const (
	mostShuffled   = 1.3
	mostTwoWorkers = 0.65
	manyPortals    = 1000
	fewRows        = 5
	slowCall       = 100 * time.Millisecond
	// slots is CONCURRENCY where slots are to bind: 640 calls a second, which
	// two processors can work on beside portals, Redis and producer.
	slots = 64
)

// slotsEnv gives each worker its slots.
var slotsEnv = []string{"CONCURRENCY=64"}

// shuffled is the shape of an import over a fleet of portals.
func (b *bench) shuffled(ctx context.Context) ([]figure, error) {
	ideal := workBound(b.part(manyPortals)*fewRows, slowCall, slots)
	s, rows, err := b.manyPortals(ctx, 1)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d portals × %d rows, shuffled, 1 worker", rows/fewRows, fewRows)
	return []figure{ratioFigure(what, s, ideal, mostShuffled, rows, "no answer 503", noRefusals(s.stats))}, nil
}

// twoWorkers compares two workers with one.
func (b *bench) twoWorkers(ctx context.Context) ([]figure, error) {
	one, rows, err := b.manyPortals(ctx, 1)
	if err != nil {
		return nil, err
	}
	two, _, err := b.manyPortals(ctx, 2)
	if err != nil {
		return nil, err
	}
	f := ratioFigure("2 workers ÷ 1, CONCURRENCY=64", two, one.took(), mostTwoWorkers, rows, "")
	return []figure{f}, nil
}

// manyPortals times a few rows each of many cloud portals.
func (b *bench) manyPortals(ctx context.Context, workers int) (sight, int, error) {
	like := sandbox.Cloud("")
	like.ServiceTime = slowCall
	f, err := b.newFleet(ctx, 1, b.part(manyPortals), like)
	if err != nil {
		return sight{}, 0, err
	}
	defer f.close()
	f.rows = shuffledRows(f.entries, fewRows)
	ideal := workBound(len(f.rows), slowCall, slots*workers)
	b.sayf("%d portals × %d rows, %s: ideal %.1f s", len(f.entries), fewRows, workersText(workers), ideal.Seconds())
	if err := f.connect(ctx, slotsEnv...); err != nil {
		return sight{}, 0, err
	}
	if err := f.start(ctx, workers, slotsEnv...); err != nil {
		return sight{}, 0, err
	}
	s, err := b.makespan(ctx, f, "shuffled, "+workersText(workers), patience(ideal))
	return s, len(f.rows), err
}
