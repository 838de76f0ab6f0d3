// The ideals, on cases that can be reckoned by hand.

package main

import (
	"testing"
	"time"
)

func TestIdeals(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		what string
		got  time.Duration
		want time.Duration
	}{
		{"a burst takes one call", rateBound(10, 10, 2, 20*ms), 20 * ms},
		{"one more waits for one drain", rateBound(11, 10, 2, 20*ms), 520 * ms},
		{"2,000 calls at 50/s", rateBound(2000, 10, 50, 0), 39800 * ms},
		{"20,000 rows in full batches at 2/s", rateBound(requestsFor(20_000, batchRows), 10, 2, 0), 195 * time.Second},
		{"a last batch that is not full", rateBound(requestsFor(51, batchRows), 1, 1, 0), time.Second},
		{"20,000 rows of 20 ms on four requests", workBound(20_000, 20*ms, 4), 100 * time.Second},
		{"5,000 rows of 100 ms in 64 slots", workBound(5000, 100*ms, 64), 7812500 * time.Microsecond},
		{"one window's work", budgetBound(10, time.Second, 10*time.Second, time.Minute, 2), 5 * time.Second},
		{"one row more", budgetBound(11, time.Second, 10*time.Second, time.Minute, 2), time.Minute + 500*ms},
		{"2.8 windows' work", budgetBound(28, time.Second, 10*time.Second, time.Minute, 4), 2*time.Minute + 2*time.Second},
		{"a row that costs more than a window", budgetBound(3, 20*time.Second, 10*time.Second, time.Minute, 4), 2*time.Minute + 5*time.Second},
		{"the margin of 48 s", lessMargin(48 * time.Second), 47040 * ms},
	} {
		if diff := (c.got - c.want).Abs(); diff > time.Microsecond {
			t.Errorf("%s: %v, not %v", c.what, c.got, c.want)
		}
	}
}
