// What a lane learns of a portal's speed, and what follows for its batches.

package dispatch

import (
	"testing"
	"time"
)

func TestBatchesFitAPortalsSpeed(t *testing.T) {
	const parallel = 4
	for _, c := range []struct {
		name         string
		latency, row time.Duration // what a request takes beside its rows, and what a row takes
		rate         float64
		from, to     int // rows of a batch, once learned
	}{
		{"fast, far away", 100 * time.Millisecond, time.Millisecond, 2, 50, 50},
		{"fast, far away, no rate to speak of", 100 * time.Millisecond, time.Millisecond, 50, 50, 50},
		{"fast, far away, no rate at all", 100 * time.Millisecond, time.Millisecond, 10_000, 50, 50},
		{"slow rows", 10 * time.Millisecond, 1200 * time.Millisecond, 2, 2, 3},
		{"slow rows, high rate", 10 * time.Millisecond, 1200 * time.Millisecond, 20, 1, 2},
		{"20 ms rows", 30 * time.Millisecond, 20 * time.Millisecond, 2, 50, 50},
		{"rows of 10 s", 10 * time.Millisecond, 10 * time.Second, 2, 1, 2},
	} {
		var p pace
		if n := p.rows(time.Minute); n != firstRows {
			t.Errorf("%s: %d rows while nothing is known", c.name, n)
		}
		p.learn(1, c.latency+c.row)
		n := firstRows
		for range 20 {
			p.learn(n, c.latency+time.Duration(n)*c.row)
			n = min(50, p.rows(time.Minute), p.enough(c.rate, parallel))
		}
		if n < c.from || n > c.to {
			t.Errorf("%s: batches of %d, want %d to %d", c.name, n, c.from, c.to)
		}
	}
}

func TestASlowSingleCallMakesNoRowLookFree(t *testing.T) {
	var p pace
	p.learn(1, 5*time.Second) // by chance
	p.learn(5, 4*time.Second)
	if n := p.rows(time.Minute); n > 100 {
		t.Errorf("%d rows of 0.8 s in one batch", n)
	}
}
