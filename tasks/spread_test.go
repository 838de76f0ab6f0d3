package tasks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// lineOf is a spread over a gate, both on one clock.
type lineOf struct {
	now time.Time
	*spread
	orders int64
}

func newLineOf(batch int) *lineOf {
	l := &lineOf{now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)}
	now := func() time.Time { return l.now }
	l.spread = newSpread(ratelimit.NewLocal(ratelimit.Config{Now: now}), batch, now)
	return l
}

// submit plans n rows of one portal and returns for when.
func (l *lineOf) submit(t interface{ Fatal(args ...any) }, p portals.Portal, n int) []time.Time {
	items := make([]item, n)
	for i := range items {
		l.orders++
		items[i] = item{
			reg: &Registration{Bot: bitrix.Bot{Code: fmt.Sprint("Code", l.orders)}}, receipt: &Receipt{}, portal: p, order: l.orders,
		}
	}
	if err := l.plan(context.Background(), items); err != nil {
		t.Fatal(err)
	}
	at := make([]time.Time, n)
	for i := range items {
		at[i] = items[i].at
		if at[i].IsZero() {
			at[i] = l.now
		}
	}
	return at
}

func slowPortal(id string) portals.Portal {
	return portals.Portal{ID: id, Name: id, Limits: ratelimit.Limits{Rate: 2, Burst: 10}}
}

func TestRowsThatGoSoonAreQueuedAtOnce(t *testing.T) {
	l := newLineOf(1)
	for i, at := range l.submit(t, slowPortal("p"), 20) { // 10, and 5 s at 2 a second
		if !at.Equal(l.now) {
			t.Fatalf("row %d is put off until %s", i, at)
		}
	}
	if at := l.submit(t, slowPortal("other"), 1); !at[0].Equal(l.now) {
		t.Fatal("another portal's row is put off")
	}
}

func TestRowsThatGoLaterAreQueuedForThen(t *testing.T) {
	l := newLineOf(1)
	at := l.submit(t, slowPortal("p"), 1000)
	for i := 21; i < len(at); i++ {
		if at[i].Before(at[i-1]) {
			t.Fatalf("row %d is queued for %s, before row %d", i, at[i], i-1)
		}
		if at[i].Nanosecond() != 0 && !at[i].Equal(l.now) {
			t.Fatalf("row %d is queued for a part of a second: %s", i, at[i])
		}
	}
	// Six go at once, and then two a second; a long wait ends a quarter early.
	goes := time.Duration(1000-6) * time.Second / 2
	if got := at[999].Sub(l.now); got < goes*3/4-time.Second || got > goes {
		t.Fatalf("the last row is queued for +%s, it goes at +%s", got, goes)
	}
	// Whoever comes next stands behind them.
	l.now = l.now.Add(time.Minute)
	if more := l.submit(t, slowPortal("p"), 5); more[0].Sub(l.now) < 300*time.Second {
		t.Fatalf("a row that came last is queued for +%s", more[0].Sub(l.now))
	}
	l.now = l.now.Add(2 * time.Hour)
	if at := l.submit(t, slowPortal("p"), 5); !at[4].Equal(l.now) {
		t.Fatal("rows are put off behind a line that is long gone")
	}
}

func TestBacklogsAreForgotten(t *testing.T) {
	l := newLineOf(1)
	for i := range 1000 {
		l.submit(t, slowPortal(fmt.Sprint("p", i)), 1)
	}
	l.now = l.now.Add(2 * forgotten)
	l.submit(t, slowPortal("p"), 1)
	if n := len(l.portals); n != 1 {
		t.Fatalf("%d portals are remembered", n)
	}
}

// However rows come, those that are queued at once are never more than the
// portal takes soon at its best.
func TestNeverTooManyAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batch := rapid.IntRange(1, 50).Draw(t, "batch")
		l := newLineOf(batch)
		p := slowPortal("p")
		p.Limits.Rate = rapid.Float64Range(0.1, 50).Draw(t, "rate")
		p.Limits.Burst = rapid.IntRange(1, 100).Draw(t, "burst")
		began, queued := l.now, 0
		for range rapid.IntRange(1, 20).Draw(t, "submissions") {
			for _, at := range l.submit(t, p, rapid.IntRange(1, 300).Draw(t, "rows")) {
				if at.Equal(l.now) {
					queued++
				}
			}
			// What the line itself sends at once are rows that go within 2 s.
			most := float64(batch) * (2*float64(p.Limits.Burst) + p.Limits.Rate*(l.now.Sub(began)+soon+2*notSoon).Seconds() + 2)
			if float64(queued) > most {
				t.Fatalf("%d rows are queued at once, at most %.0f go soon", queued, most)
			}
			l.now = l.now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
		}
	})
}
