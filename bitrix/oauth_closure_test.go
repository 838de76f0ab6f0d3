// The closure and the pace by themselves, under any course of events.

package bitrix

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestClosureProperties: never two probes at a time; shut only after three
// failures in a row; no longer than five minutes; open after an answer.
func TestClosureProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c closure
		now := time.Unix(1800000000, 0)
		var out []pass
		probes, inARow := 0, 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "s")) * time.Second)
			if len(out) == 0 || rapid.Bool().Draw(t, "enter") {
				p, shut := c.enter(now)
				switch {
				case shut != nil && inARow < illInARow:
					t.Fatalf("shut after %d failures", inARow)
				case shut != nil && (!shut.wait.Until.After(now) || shut.wait.Until.Sub(now) > maxClosure || shut.wait.Since.After(now) || shut.last == nil):
					t.Fatalf("%+v at %s", shut.wait, now)
				case shut == nil:
					out = append(out, p)
				}
				if p.probe {
					probes++
				}
			} else {
				i := rapid.IntRange(0, len(out)-1).Draw(t, "who")
				p := out[i]
				out = append(out[:i], out[i+1:]...)
				if p.probe {
					probes--
				}
				h := rapid.SampledFrom([]health{untold, well, ill, refuses}).Draw(t, "health")
				wait := c.leave(p, h, &Error{}, now)
				switch h {
				case well:
					inARow = 0
				case ill, refuses:
					inARow++
				case untold:
				}
				mustWait := h == refuses || h == ill && inARow >= illInARow
				if (wait != nil) != mustWait || wait != nil && (!wait.Until.After(now) || wait.Since.After(now)) {
					t.Fatalf("%v after %d failures: %+v", h, inARow, wait)
				}
			}
			if probes < 0 || probes > 1 {
				t.Fatalf("%d probes at a time", probes)
			}
		}
		// Whatever came before, the way opens in time and an answer clears it.
		for _, p := range out {
			c.leave(p, untold, nil, now)
		}
		p, shut := c.enter(now.Add(maxClosure))
		if shut != nil {
			t.Fatalf("shut for ever: %+v", shut.wait)
		}
		c.leave(p, well, nil, now)
		if _, shut := c.enter(now); shut != nil {
			t.Fatal("shut after an answer")
		}
	})
}

func TestClosureDoubles(t *testing.T) {
	var c closure
	now := time.Unix(1800000000, 0)
	for range illInARow {
		c.leave(pass{}, ill, &Error{}, now)
	}
	c.leave(pass{}, ill, &Error{}, now) // it began before the closure
	for _, want := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		if got := c.until.Sub(now); got != time.Duration(want)*time.Second {
			t.Errorf("closed for %s, want %d s", got, want)
		}
		now = c.until
		p, shut := c.enter(now)
		if shut != nil || !p.probe {
			t.Fatal("no probe at the end of the closure")
		}
		c.leave(p, ill, &Error{}, now)
	}
}

// TestPace: 20 at once and 40 more within 2 s. Those who are sent away cost no
// turn: when they are told to come back there are as many turns as ever.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(20)
		begun := time.Now()
		const callers = 500
		left, served := callers, 0
		for left > 0 {
			round := time.Now()
			waits := make(chan *Wait, left)
			for range left {
				go func() {
					wait, err := p.turn(t.Context(), time.Now())
					if err != nil {
						t.Error(err)
					}
					waits <- wait
				}()
			}
			var until time.Time
			for range left {
				wait := <-waits
				if wait == nil {
					served++
					continue
				}
				until = wait.Until
				if !wait.Since.Equal(round) || until.Sub(round) <= patience || until.Sub(round) > patience+time.Second/10 {
					t.Errorf("told to wait for %s since %s", until.Sub(round), wait.Since)
				}
			}
			if took := time.Since(round); took > patience {
				t.Errorf("waited for %s", took)
			}
			left = callers - served
			time.Sleep(time.Until(until)) //nolint:forbidigo // the bubble's clock
		}
		if took := time.Since(begun); took > 26*time.Second || took < 22*time.Second {
			t.Errorf("%d took %s", callers, took)
		}
	})
}

func TestPaceGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(1)
		_, _ = p.turn(t.Context(), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if wait, err := p.turn(ctx, time.Now()); wait == nil || err != nil || !wait.Until.Equal(time.Now().Add(time.Second)) {
			t.Errorf("a caller without the time waits: %v, %v", wait, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/4, stop)
		if wait, err := p.turn(ctx, time.Now()); wait != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", wait, err)
		}
		// Nothing was taken by those who left.
		if wait, err := p.turn(t.Context(), time.Now()); wait != nil || err != nil {
			t.Errorf("%v, %v", wait, err)
		}
		if now := time.Now(); p.limiter.TokensAt(now) < -0.01 {
			t.Errorf("%f tokens left", p.limiter.TokensAt(now))
		}
	})
}
