package ratelimit

import (
	"context"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"botfleet/ratelimit/redistest"
)

// onBoth runs a test with a gate of each kind on a clock set by hand.
func onBoth(t *testing.T, run func(t *testing.T, gate Gate, now *time.Time)) {
	t.Helper()
	t.Run("local", func(t *testing.T) {
		now := epoch
		run(t, NewLocal(Config{Now: func() time.Time { return now }}), &now)
	})
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		now := epoch
		run(t, NewShared(SharedConfig{Redis: client, Now: func() time.Time { return now }}), &now)
	})
}

func charge(t failer, gate Gate, r Request, requests int) {
	t.Helper()
	if err := gate.Charge(context.Background(), r, requests); err != nil {
		t.Fatalf("Charge: %v", err)
	}
}

// sends asks until nothing may go, and returns how many went and for how long
// the rate is shut.
func sends(t failer, gate Gate, r Request) (n int, wait time.Duration) {
	t.Helper()
	for {
		d, err := gate.Acquire(context.Background(), r)
		if err != nil {
			t.Fatalf("Acquire: %v", err)
		}
		if len(d.Go) == 0 {
			if d.Reason != Rate {
				t.Fatalf("shut: %+v", d)
			}
			return n, d.Until.Sub(now(gate)).Round(time.Millisecond)
		}
		if err := gate.Observe(context.Background(), d.Ticket, answered); err != nil {
			t.Fatalf("Observe: %v", err)
		}
		n++
	}
}

func now(gate Gate) time.Time {
	if s, ok := gate.(*Shared); ok {
		return s.now()
	}
	return gate.(*Local).cfg.Now()
}

func TestChargeIsOwed(t *testing.T) {
	onBoth(t, func(t *testing.T, gate Gate, now *time.Time) {
		r := rows(Limits{Rate: 2, Burst: 50}, 1)
		charge(t, gate, r, 6) // nobody knows the portal yet
		if s, known, err := gate.State(t.Context(), "p"); err != nil || !known || s.Tokens != 40 || s.InFlight != 0 {
			t.Fatalf("%+v, %v, %v", s, known, err)
		}
		if n, wait := sends(t, gate, r); n != 40 || wait != 500*time.Millisecond {
			t.Fatalf("%d went, shut for %s", n, wait)
		}
		charge(t, gate, r, 3)
		if _, wait := sends(t, gate, r); wait != 2*time.Second {
			t.Fatalf("three are owed: shut for %s", wait)
		}
		if s, _, _ := gate.State(t.Context(), "p"); s.Tokens != 0 {
			t.Fatalf("%v tokens are shown", s.Tokens)
		}
		*now = now.Add(2 * time.Second)
		if n, _ := sends(t, gate, r); n != 1 {
			t.Fatalf("%d went when the debt had drained", n)
		}
		charge(t, gate, r, 10)
		*now = now.Add(time.Hour)
		if n, _ := sends(t, gate, r); n != 46 {
			t.Fatalf("%d went from a full bucket", n)
		}
	})
}

func TestChargeIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, gate Gate, now *time.Time) {
		r := rows(Limits{Rate: 2, Burst: 50}, 1)
		for _, n := range []int{0, -1, math.MinInt} {
			charge(t, gate, r, n)
			if _, known, _ := gate.State(t.Context(), "p"); known {
				t.Fatalf("%d requests were charged", n)
			}
		}
		for _, n := range []int{math.MaxInt, 1, MostOwed + 46} {
			charge(t, gate, r, n)
			if _, wait := sends(t, gate, r); wait != (MostOwed+1)*time.Second/2 {
				t.Fatalf("after %d shut for %s", n, wait)
			}
		}
		*now = now.Add(time.Second / 4) // a part of a token
		charge(t, gate, r, 1)
		if _, wait := sends(t, gate, r); wait != (MostOwed+1)*time.Second/2 {
			t.Fatalf("shut for %s", wait)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := gate.Charge(ended, r, 1); err == nil || err.Error() != `charge portal "p": context canceled` {
			t.Errorf("%v", err)
		}
	})
}

// A debt stands while limits change, and when the portal refuses.
func TestDebtStays(t *testing.T) {
	onBoth(t, func(t *testing.T, gate Gate, now *time.Time) {
		small, big := rows(Limits{Rate: 1, Burst: 10}, 1), rows(Limits{Rate: 5, Burst: 54}, 1)
		sends(t, gate, small)
		charge(t, gate, small, 9)
		if _, wait := sends(t, gate, big); wait != 2*time.Second {
			t.Fatalf("shut for %s when the bucket grew", wait)
		}
		if _, wait := sends(t, gate, small); wait != 10*time.Second {
			t.Fatalf("shut for %s when it shrank", wait)
		}
		*now = now.Add(10 * time.Second)
		d, err := gate.Acquire(t.Context(), small)
		if err != nil || len(d.Go) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		charge(t, gate, small, 5)
		if err := gate.Observe(t.Context(), d.Ticket, Answer{Outcome: RateRefused}); err != nil {
			t.Fatal(err)
		}
		s, _, _ := gate.State(t.Context(), "p")
		*now = s.ClosedUntil
		_, wait := sends(t, gate, small)
		if want := time.Duration(6/s.Rate*float64(time.Second)) - time.Second; (wait - want).Abs() > 2*time.Millisecond {
			t.Fatalf("shut for %s after a refusal, want %s at %v a second", wait, want, s.Rate)
		}
	})
}

func TestPlaceBehindADebt(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 2, Burst: 50}
	b.spend(l)
	charge(t, b, rows(l, 1), 3)
	half := 500 * time.Millisecond
	got := b.places(inLine(l, 1), 10, 20, 30)
	for i, p := range got {
		b.expects("behind a debt", p, half*time.Duration(4+i), i, Rate)
	}
	b.pass(250 * time.Millisecond)
	b.expects("a part of it has drained", b.places(inLine(l, 1), 10)[0], 4*half-250*time.Millisecond, 0, Rate)
}

// A portal that is closed for its rate opens before its debt has drained.
func TestPlaceBehindARefusalAndADebt(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 2, Burst: 50}
	b.spend(l)
	b.pass(500 * time.Millisecond)
	d := b.granted(rows(l, 1))
	charge(t, b, rows(l, 1), 6)
	b.tell(d, Answer{Outcome: RateRefused}) // 1 s, and 1.4 a second
	b.expects("then", b.places(inLine(l, 1), 10)[0], 5*time.Second, 0, Rate)
}

func TestChargeOfTheProcess(t *testing.T) {
	b := newBench(t, Config{MaxRPS: 20})
	charge(t, b, rows(wide, 1), 4) // it holds two
	other := rows(wide, 1)
	other.Portal = "q"
	if wait := b.refused(other, Egress); wait != 150*time.Millisecond {
		t.Fatalf("opens in %s, want 150ms", wait)
	}
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		s := NewShared(SharedConfig{Redis: client, MaxRPS: 20, Now: func() time.Time { return epoch }})
		charge(t, s, rows(wide, 1), 4)
		d, err := s.Acquire(t.Context(), other)
		if err != nil || d.Reason != Egress || d.Until.Sub(epoch) != 150*time.Millisecond {
			t.Fatalf("%+v, %v", d, err)
		}
	})
}

// Whatever is sent with leave and without: nothing gets leave that would be too
// much with all that was sent, and nothing is refused that would not be.
func TestChargedRequestsCount(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			at := epoch
			clock := func() time.Time { return at }
			r := rows(Limits{Rate: rapid.Float64Range(0.2, 50).Draw(t, "rate"), Burst: rapid.IntRange(25, 60).Draw(t, "burst")}, 1)
			r.Portal = strconv.Itoa(n)
			p := newPlan(r.Limits, DefaultParallel)
			for _, gate := range []Gate{NewLocal(Config{Now: clock}), NewShared(SharedConfig{Redis: client, Now: clock})} {
				chargedStory(t, gate, r, p, &at)
				r.Portal += "-"
			}
		})
	})
}

// rounded is the part of a token that a script may lose: it knows no less than a
// microsecond.
const rounded = 1e-4

func chargedStory(t *rapid.T, gate Gate, r Request, p plan, at *time.Time) {
	var sent []time.Time
	for range rapid.IntRange(1, 80).Draw(t, "requests") {
		d, err := gate.Acquire(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		over := excess(sent, *at, p)
		switch {
		case len(d.Go) > 0 && over > rounded:
			t.Fatalf("%T lets one go at +%s: %.6f too many", gate, at.Sub(epoch), over)
		case len(d.Go) == 0 && (d.Reason != Rate || over < -rounded):
			t.Fatalf("%T is shut at +%s without need: %+v, %.6f left", gate, at.Sub(epoch), d, -over)
		case len(d.Go) == 0 && rapid.Bool().Draw(t, "wait"):
			*at = d.Until
			continue
		case len(d.Go) > 0:
			sent = append(sent, *at)
			if err := gate.Observe(context.Background(), d.Ticket, answered); err != nil {
				t.Fatal(err)
			}
		}
		if more := rapid.SampledFrom([]int{0, 0, 0, 1, 3, 30}).Draw(t, "repeats"); more > 0 {
			charge(t, gate, r, more)
			for range more {
				sent = append(sent, *at)
			}
		}
		*at = at.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause")) * time.Millisecond)
	}
}

// excess is by how much one more request now would be more than burst + rate·t
// in the time t that ends now in which it is most.
func excess(sent []time.Time, now time.Time, p plan) float64 {
	most := float64(1 - p.burst)
	for i, from := range sent {
		most = max(most, float64(len(sent)-i+1)-float64(p.burst)-p.rate*now.Sub(from).Seconds())
	}
	return most
}
