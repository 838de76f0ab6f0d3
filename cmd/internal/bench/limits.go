// The limit cases: how close to its limits a fleet runs, and never over.

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
)

// limitCases are measured with built workers on portals in a box. The ideals
// are those of ideal.go.
var limitCases = []benchCase{
	{"rate", (*bench).rateBinds},
	{"batching", (*bench).batching},
	{"budget", (*bench).budgetOne},
	{"budget4", (*bench).budgetFour},
	{"shuffled", (*bench).shuffled},
	{"slots", (*bench).twoWorkers},
	{"fair", (*bench).fair},
	{"shared-ip", (*bench).sharedIP},
	{"fetches", (*bench).fetches},
}

// part is the share of a case's rows that is asked for.
func (b *bench) part(rows int) int { return max(1, int(float64(rows)*b.share)) }

// makespan runs rows of single portals through workers and returns what came
// of it. It is measured from the first request that a portal sees to the last
// recorded registration: the workers are up before the rows are queued, and
// rows are worked on while later ones are still being queued.
func (b *bench) makespan(ctx context.Context, f *fleet, what string, most time.Duration) (sight, error) {
	if err := f.submit(ctx, runID, f.rows); err != nil {
		return sight{}, err
	}
	err := f.await(ctx, runID, len(f.rows), most)
	if err := b.trace(f, what); err != nil {
		return sight{}, err
	}
	if err != nil {
		return sight{}, fmt.Errorf("%w; the portals saw %v", err, f.look())
	}
	ends, err := f.registered(ctx, runID)
	if err != nil {
		return sight{}, err
	}
	s := f.look()
	for _, end := range ends {
		s.last = later(s.last, end)
	}
	if err := f.checkOnce(len(f.rows)); err != nil {
		return s, err
	}
	f.stop()
	b.sayf("  %v", s)
	b.sayf("  %s", f.spent(ctx))
	return s, nil
}

// ratioFigure is a makespan against its ideal, and what must not have happened
// beside: each of faults is a text, empty if all is well.
func ratioFigure(what string, s sight, ideal time.Duration, most float64, rows int, also string, faults ...string) figure {
	ratio := s.took().Seconds() / ideal.Seconds()
	f := figure{
		what: what,
		value: fmt.Sprintf("%.3f of the ideal (%.1f s of %.1f s; %d rows in %d requests)",
			ratio, s.took().Seconds(), ideal.Seconds(), rows, s.stats.Requests),
		must: fmt.Sprintf("at most %.2f", most),
		ok:   ratio <= most,
	}
	if also != "" {
		f.must += ", " + also
	}
	for _, fault := range faults {
		if fault != "" {
			f.value += "; " + fault
			f.ok = false
		}
	}
	return f
}

// mostEstimateOff is how far an estimate may be off what then happens, either way.
const mostEstimateOff = 0.15

// estimateFigure compares what `enqueue check` reckons with, told what a row's
// work is, with how long rows of one portal took.
func estimateFigure(what string, in ratelimit.EstimateInput, s sight) figure {
	e := in.Estimate()
	ratio := e.Duration.Seconds() / s.took().Seconds()
	return figure{
		what:  what + ": estimate",
		value: fmt.Sprintf("%.2f of what it took (%.1f s; binds: %s)", ratio, e.Duration.Seconds(), cmp.Or(string(e.Binds), "nothing")),
		must:  fmt.Sprintf("%.2f to %.2f", 1-mostEstimateOff, 1+mostEstimateOff),
		ok:    ratio >= 1-mostEstimateOff && ratio <= 1+mostEstimateOff,
	}
}

// noRefusals is empty, or says how often the request rate was exceeded.
func noRefusals(s sandbox.Stats) string {
	if n := s.Errors[overRate]; n > 0 {
		return fmt.Sprintf("%d answers 503", n)
	}
	return ""
}

// workersText is "1 worker" or "2 workers".
func workersText(n int) string {
	return strings.TrimSuffix(fmt.Sprintf("%d workers", n), map[bool]string{true: "s"}[n == 1])
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
