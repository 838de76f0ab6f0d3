package ratelimit

import (
	"testing"
	"time"
)

func (b *bench) place(r Request, notBefore time.Time, batch int) time.Duration {
	b.t.Helper()
	at, err := b.Place(b.t.(*testing.T).Context(), r, notBefore, batch)
	if err != nil {
		b.t.Fatal(err)
	}
	return at.Sub(b.now)
}

func TestPlace(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 2, Burst: 50}
	for i, want := range []time.Duration{0, 500, 1000, 1500} {
		if got := b.place(rows(l, 1), time.Time{}, 1); got != want*time.Millisecond {
			t.Fatalf("place %d in %s, want %d ms", i, got, want)
		}
	}
	if got := b.place(rows(l, 50), b.now, 50); got != 2*time.Second {
		t.Fatalf("batch in %s", got)
	}
	if got := b.place(rows(l, 1), b.now, 50); got != 2500*time.Millisecond {
		t.Fatalf("after 50 rows in batches of 50: %s, want half a second more", got)
	}
	// Who must wait for long anyway does not push the others back.
	for i, want := range []time.Duration{100_000, 100_500} {
		if got := b.place(rows(l, 1), b.now.Add(100*time.Second), 1); got != want*time.Millisecond {
			t.Fatalf("late place %d in %s", i, got)
		}
	}
	if got := b.place(rows(l, 1), b.now, 1); got != 2510*time.Millisecond {
		t.Fatalf("next place in %s", got)
	}
	b.pass(time.Hour)
	if got := b.place(rows(l, 1), b.now.Add(-time.Hour), 1); got != 0 {
		t.Fatalf("in the past: %s", got)
	}
}

func TestPlaceBehindABudget(t *testing.T) {
	b := newBench(t, Config{})
	r := rows(standard, 5)
	b.round(r, operating(0, 5))
	b.round(r, operating(10*time.Second, 5))
	b.round(r, operating(480*time.Second, 5)) // mean cost 37 s
	wait := b.refused(rows(standard, 1), Budget)
	cost := b.state().Budgets[0].Cost
	perRow := time.Duration(float64(cost) * 600 / 470.4)
	for i := range 3 {
		got, want := b.place(rows(standard, 1), time.Time{}, 50), wait+time.Duration(i)*perRow
		if (got - want).Abs() > time.Microsecond {
			t.Fatalf("place %d in %s, want %s", i, got, want)
		}
	}
}

func TestNoPlaceWhileClosed(t *testing.T) {
	b := newBench(t, Config{})
	for range 3 {
		b.round(rows(wide, 1), Answer{Outcome: NoAnswer})
	}
	for range 2 {
		if got := b.place(rows(wide, 1), b.now.Add(time.Minute), 1); got != time.Minute {
			t.Fatalf("silent: %s", got)
		}
	}
	if err := b.Hold(t.Context(), "p", Hold{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if got := b.place(rows(wide, 1), time.Time{}, 1); got != 0 {
		t.Fatalf("held: %s", got)
	}
}

func TestEstimate(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		in       EstimateInput
		requests int
		lasts    time.Duration
		binds    Reason
	}{
		"nothing":          {EstimateInput{Limits: standard}, 0, 0, None},
		"a few":            {EstimateInput{Limits: standard, Rows: 4, Batch: 1, Cost: second}, 4, second, None},
		"rate":             {EstimateInput{Limits: standard, Rows: 2046, Batch: 1}, 2046, 1000 * second, Rate},
		"batches":          {EstimateInput{Limits: standard, Rows: 5000, Batch: 50}, 100, 27 * second, Rate},
		"the portal":       {EstimateInput{Limits: Limits{Rate: 2, Burst: 50}, Rows: 1000, Batch: 50, Cost: second}, 20, 250 * second, InFlight},
		"budget":           {EstimateInput{Limits: standard, Rows: 1000, Batch: 50, Cost: second}, 20, 1250 * second, Budget},
		"too slow for it":  {EstimateInput{Limits: Limits{Rate: .1, Burst: 50, Operating: 480 * second, OperatingWindow: 600 * second}, Rows: 1046, Batch: 1, Cost: second}, 1046, 10_001 * second, Rate},
		"absurd":           {EstimateInput{Limits: Limits{Rate: -1}, Rows: -1, Batch: -1, Cost: -1, Latency: -1, Parallel: -1}, 0, 0, None},
		"longer than ever": {EstimateInput{Limits: Limits{Rate: .01}, Rows: 1 << 62, Batch: 1}, 1 << 62, longestEstimate, Rate},
	} {
		got := c.in.Estimate()
		if got.Requests != c.requests || got.Binds != c.binds || (got.Duration-c.lasts).Abs() > c.lasts/50 {
			t.Errorf("%s: %+v, want %d requests, %s, %q", name, got, c.requests, c.lasts, c.binds)
		}
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add(2.0, 50, 0.0, int64(480e9), int64(600e9), 1000, 50, int64(1e9), 4)
	f.Add(-1.0, -1, 2.0, int64(-1), int64(-1), -1, -1, int64(-1), -1)
	f.Add(1e300, 1<<62, 0.99, int64(1), int64(1e7), 1<<62, 1<<62, int64(1<<62), 1<<62)
	f.Add(1e300, 1<<62, 0.99, int64(0), int64(1e7), 1<<62+68, 1<<62, int64(1<<62), 1<<62) // rows + batch overflows
	f.Fuzz(func(t *testing.T, rate float64, burst int, headroom float64, work, window int64, rows, batch int, cost int64, parallel int) {
		got := EstimateInput{
			Limits: Limits{Rate: rate, Burst: burst, Headroom: headroom, Operating: time.Duration(work), OperatingWindow: time.Duration(window)},
			Rows:   rows, Batch: batch, Cost: time.Duration(cost), Parallel: parallel,
		}.Estimate()
		if got.Requests < 0 || got.Requests > max(0, rows) || got.Duration < 0 || got.Duration > longestEstimate {
			t.Fatalf("%+v", got)
		}
	})
}
