// Ratios over alternating rounds.

package main

import (
	"fmt"
	"slices"
	"time"
)

// race is one measured thing beside the baseline of the same rounds.
type race struct {
	n    int
	ours []time.Duration
	bare []time.Duration
}

func (r *race) add(ours, bare time.Duration) {
	r.ours = append(r.ours, ours)
	r.bare = append(r.bare, bare)
}

// inTurn runs both sides of a round, each first in every other round: what the
// first leaves behind (heat, caches) must not always meet the same one.
func inTurn(round int, a, b func() error) error {
	if round%2 == 1 {
		a, b = b, a
	}
	if err := a(); err != nil {
		return err
	}
	return b()
}

// ratio is the median of the rounds' ratios of rates.
func (r *race) ratio() float64 {
	ratios := make([]float64, len(r.ours))
	for i := range r.ours {
		ratios[i] = r.bare[i].Seconds() / r.ours[i].Seconds()
	}
	return median(ratios)
}

// figure is the ratio against the least it must be; 0: it is only told.
func (r *race) figure(what, more string, least float64) figure {
	rate := func(took []time.Duration) float64 { return float64(r.n) / median(took).Seconds() }
	f := figure{what: what, value: fmt.Sprintf("%.2f of bare asynq (%.0f of %.0f rows/s%s)", r.ratio(), rate(r.ours), rate(r.bare), more)}
	if least > 0 {
		f.must, f.ok = fmt.Sprintf("at least %.2f", least), r.ratio() >= least
	}
	return f
}

// median is the middle value, the lower one of two.
func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}
