package ratelimit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestInFlight(t *testing.T) {
	b := newBench(t, Config{Parallel: 2, TicketTTL: time.Minute})
	first := b.granted(rows(wide, 1))
	b.pass(time.Second)
	second := b.granted(rows(wide, 1))
	// What a request takes is not known yet: a quarter of what has passed.
	if wait := b.refused(rows(wide, 1), InFlight); wait != 250*time.Millisecond {
		t.Fatalf("the first is expected back in %s", wait)
	}
	b.pass(time.Second)
	b.tell(second, answered)
	b.granted(rows(wide, 1))
	if wait := b.refused(rows(wide, 1), InFlight); wait != 500*time.Millisecond {
		t.Fatalf("a late one is expected back in %s", wait)
	}
	b.pass(57*time.Second + 500*time.Millisecond)
	if wait := b.refused(rows(wide, 1), InFlight); wait != 500*time.Millisecond {
		t.Fatalf("expected back in %s, later than it expires", wait)
	}
	b.refused(rows(wide, 1), InFlight)
	b.pass(500 * time.Millisecond) // the first ticket expires
	third := b.granted(rows(wide, 1))
	b.tell(first, answered)
	b.tell(first, Answer{Outcome: BlockedByBX})
	b.refused(rows(wide, 1), InFlight)
	b.tell(third, answered)
	fourth := b.granted(rows(wide, 1))
	b.pass(200 * time.Millisecond)
	if wait := b.refused(rows(wide, 1), InFlight); wait <= 0 || wait > time.Second {
		t.Fatalf("with a mean of some 1 s one of 200 ms is expected back in %s", wait)
	}
	b.tell(fourth, answered)
}

func TestSilence(t *testing.T) {
	b := newBench(t, Config{Parallel: 4, TicketTTL: 2 * time.Minute})
	r, miss := rows(wide, 5), Answer{Outcome: NoAnswer, Unsure: true}
	late := b.granted(r)
	b.round(r, miss)
	b.round(r, miss)
	b.round(r, answered) // not in a row
	b.round(r, miss)
	b.round(r, miss)
	b.round(r, miss)
	since := b.now
	for failed, wait := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
		wait *= time.Second
		parked := heldFor(b.now.Sub(since))
		d := b.ask(r)
		if len(d.Go) != 0 || d.Reason != Silent || d.Until.Sub(b.now) != wait {
			t.Fatalf("after %d probes: %+v, want silent for %s", failed, d, wait)
		}
		if d.Hold == nil || d.Hold.Probes != failed || !d.Hold.Since.Equal(since) {
			t.Fatalf("after %d probes: hold %+v", failed, d.Hold)
		}
		if others := max(wait, parked); d.Others.Sub(b.now) != others {
			t.Fatalf("after %d probes: others in %s, want %s", failed, d.Others.Sub(b.now), others)
		}
		if next := b.refused(r, Silent); next != max(wait, parked) { // one was told to be the probe
			t.Fatalf("the next row is told to come in %s", next)
		}
		b.pass(wait)
		parked = heldFor(b.now.Sub(since))
		if failed == 3 { // a probe that is given up tells nothing
			probe := b.ask(r)
			b.tell(probe.Ticket, Answer{Outcome: NotSent})
		}
		probe := b.ask(r)
		if len(probe.Go) != 1 || probe.Reason != Silent {
			t.Fatalf("probe: %+v", probe)
		}
		if wait := b.refused(r, Silent); wait != parked {
			t.Fatalf("while the probe is out: %s", wait)
		}
		b.tell(probe.Ticket, miss)
	}
	b.tell(late, answered) // expired long ago
	b.refused(r, Silent)
	b.pass(5 * time.Minute)
	b.tell(b.ask(r).Ticket, Answer{Outcome: RateRefused}) // any answer ends it
	b.pass(time.Second)
	b.granted(r)
}

func TestSilenceEndsByALateAnswer(t *testing.T) {
	b := newBench(t, Config{})
	late := b.granted(rows(wide, 1))
	for range 3 {
		b.round(rows(wide, 1), Answer{Outcome: NoAnswer})
	}
	b.refused(rows(wide, 1), Silent)
	b.tell(late, answered)
	b.granted(rows(wide, 1))
}

func TestSilenceIsForgotten(t *testing.T) {
	b := newBench(t, Config{})
	for range 3 {
		b.round(rows(wide, 1), Answer{Outcome: NoAnswer})
	}
	b.pass(5 * time.Second)
	b.ask(rows(wide, 1)) // a probe that never comes back
	b.pass(2 * time.Hour)
	if _, ok, _ := b.State(t.Context(), "p"); ok {
		t.Fatal("a silence of two hours ago is remembered")
	}
	b.granted(rows(wide, 5))
}

func TestRateRefused(t *testing.T) {
	l := Limits{Rate: 2, Burst: 50}
	b := newBench(t, Config{Parallel: 4})
	refuse := Answer{Outcome: RateRefused}
	four := []Ticket{b.granted(rows(l, 1)), b.granted(rows(l, 1)), b.granted(rows(l, 1)), b.granted(rows(l, 1))}
	for _, ticket := range four { // one incident
		b.tell(ticket, refuse)
	}
	if wait := b.refused(rows(l, 1), Refused); wait != time.Second {
		t.Fatalf("closed for %s, want 1s", wait)
	}
	if got := b.state(); got.Rate != 1.4 || got.Planned != 2 {
		t.Fatalf("rate %v of %v, want 1.4 of 2", got.Rate, got.Planned)
	}
	want := []time.Duration{2, 4, 8, 16, 30, 30}
	for i, closed := range want {
		b.pass(30 * time.Second) // longer than any closing, shorter than a minute
		b.round(rows(l, 1), refuse)
		if wait := b.refused(rows(l, 1), Refused); wait != closed*time.Second {
			t.Fatalf("refusal %d: closed for %s, want %ds", i+2, wait, closed)
		}
	}
	if got := b.state().Rate; got != 0.2 {
		t.Fatalf("rate %v, want the floor 0.2", got)
	}
	b.pass(30 * time.Second)
	b.round(rows(l, 1), answered)
	b.pass(time.Second * 29)
	if got := b.state().Rate; got != 0.2 {
		t.Fatalf("rate %v before a minute of peace", got)
	}
	b.pass(time.Second)
	if got := b.state().Rate; got != 0.3 {
		t.Fatalf("rate %v after a minute of peace, want 0.3", got)
	}
	b.pass(5 * time.Second)
	b.round(rows(l, 1), refuse)
	if wait := b.refused(rows(l, 1), Refused); wait != time.Second {
		t.Fatalf("closed for %s after an answer in between, want 1s", wait)
	}
	b.pass(time.Hour)
	if _, ok, _ := b.State(t.Context(), "p"); ok {
		t.Fatal("state is kept after an hour of peace")
	}
}

// A waiting request is told the exact time although the rate rises meanwhile.
func TestRateRisesWhileWaiting(t *testing.T) {
	l := Limits{Rate: 0.01, Burst: 50}
	b := newBench(t, Config{})
	b.round(rows(l, 1), Answer{Outcome: RateRefused})
	b.pass(time.Second)
	wait := b.refused(rows(l, 1), Rate)
	// 60 s at 70 %, 60 s at 75 %, the rest of 100 s' worth at 80 %.
	want := 119*time.Second + time.Duration((1-0.42-0.45)/0.008*float64(time.Second))
	if d := wait - want; d.Abs() > time.Microsecond {
		t.Fatalf("opens in %s, want %s", wait, want)
	}
	b.pass(wait - time.Millisecond)
	b.refused(rows(l, 1), Rate)
	b.pass(time.Millisecond)
	b.granted(rows(l, 1))
}

func TestHold(t *testing.T) {
	b := newBench(t, Config{})
	late := b.granted(rows(wide, 1))
	b.round(rows(wide, 1), Answer{Outcome: BlockedByBX, Code: "OVERLOAD_LIMIT", Text: "too much"})
	since := b.now
	for _, c := range []struct{ elapsed, wait time.Duration }{
		{0, 10 * time.Second}, {time.Second, 10 * time.Second}, {time.Minute, time.Minute}, {24 * time.Hour, 15 * time.Minute},
	} {
		b.now = since.Add(c.elapsed)
		d := b.ask(rows(wide, 1))
		if d.Reason != Held || d.Until.Sub(b.now) != c.wait || d.Hold == nil || d.Hold.Reason != "OVERLOAD_LIMIT: too much" {
			t.Fatalf("held for %s: %+v", c.elapsed, d)
		}
	}
	b.now = since.Add(time.Minute)
	if closed, _ := b.Recent(t.Context()); len(closed) != 1 || closed[0].Closed != Held || closed[0].Portal != "p" {
		t.Fatalf("Closed: %+v", closed)
	}
	if err := b.Hold(t.Context(), "p", Hold{Reason: "by hand"}); err != nil {
		t.Fatal(err)
	}
	if h := b.state().Hold; h.Reason != "by hand" || !h.Since.Equal(since) {
		t.Fatalf("hold %+v, want the new reason since the old time", h)
	}
	if err := b.Release(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	b.tell(late, Answer{Outcome: BlockedByBX}) // sent before the release
	b.granted(rows(wide, 1))
	if err := b.Release(t.Context(), "never seen"); err != nil {
		t.Fatal(err)
	}
}

func TestReleaseForgetsWhatClosed(t *testing.T) {
	miss := Answer{Outcome: NoAnswer}
	for name, end := range map[string][]Answer{
		"silent": {miss, miss, miss}, "refused": {{Outcome: RateRefused}}, "work refused": {{Outcome: WorkRefused}},
		"held": {{Outcome: BlockedByBX}},
	} {
		b := newBench(t, Config{})
		tickets := []Ticket{b.granted(rows(wide, 1)), b.granted(rows(wide, 1)), b.granted(rows(wide, 1)), b.granted(rows(wide, 1))}
		for i, a := range end {
			b.tell(tickets[i], a)
		}
		if d := b.ask(rows(wide, 1)); len(d.Go) != 0 {
			t.Fatalf("%s: open", name)
		}
		if err := b.Release(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		b.tell(tickets[3], end[len(end)-1]) // sent before the release
		b.pass(time.Second)
		b.granted(rows(wide, 1))
	}
}

func TestHoldReasonIsBounded(t *testing.T) {
	for _, c := range []struct{ code, text, want string }{
		{"A", "b", "A: b"}, {"A", "", "A"}, {"", "b", "b"}, {"", "", "blocked by the portal"},
	} {
		if got := holdReason(c.code, c.text); got != c.want {
			t.Errorf("%q, %q: %q", c.code, c.text, got)
		}
	}
	if got := holdReason("A", strings.Repeat("ж", 10_000)); len(got) > 510 || !strings.HasSuffix(got, "ж…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestBadQuestions(t *testing.T) {
	b := newBench(t, Config{})
	ctx := context.Background()
	bad := rows(wide, 3)
	bad.Codes = []string{"a", "b"}
	if _, err := b.Acquire(ctx, bad); err == nil {
		t.Error("3 rows with 2 codes went")
	}
	if _, err := b.Acquire(ctx, rows(wide, 1<<30)); err == nil {
		t.Error("2^30 rows went")
	}
	if d, err := b.Acquire(ctx, rows(wide, -5)); err != nil || len(d.Go) != 1 {
		t.Errorf("-5 rows: %+v, %v", d, err)
	}
	if err := b.Observe(ctx, b.granted(rows(wide, 1)), Answer{Outcome: "no such"}); err == nil {
		t.Error("an unknown outcome was taken")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Acquire(gone, rows(wide, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := b.Observe(ctx, Ticket{ID: 99, Portal: "never seen"}, answered); err != nil {
		t.Error(err)
	}
}

func TestNotSentGivesEverythingBack(t *testing.T) {
	b := newBench(t, Config{Parallel: 1})
	l := Limits{Rate: 0.1, Burst: 3}
	for range 20 {
		b.round(rows(l, 1), Answer{Outcome: NotSent})
		b.pass(time.Millisecond)
	}
	b.round(rows(l, 1), answered)
	b.round(rows(l, 1), answered)
	b.refused(rows(l, 1), Rate)
}

// State goes by itself, holds stay.
func TestStateGoes(t *testing.T) {
	b := newBench(t, Config{})
	for i := range 20_000 {
		r := coded(standard, "x")
		r.Portal = time.Duration(i).String()
		b.tell(b.granted(r), Answer{Outcome: Answered, Ran: 1, HasOperating: true, Operating: time.Second})
		b.pass(time.Second)
	}
	if err := b.Hold(t.Context(), "held", Hold{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if n := b.held(); n > 3*3700+shards*tidyLeast {
		t.Fatalf("%d portals kept; an hour's are 3600", n)
	}
	b.pass(24 * time.Hour)
	b.granted(rows(wide, 1))
	if got, _ := b.Recent(t.Context()); len(got) != 2 || got[0].Portal != "held" || got[1].Portal != "p" {
		t.Fatalf("after a day: %+v", got)
	}
	if n := b.held(); n != 2 {
		t.Fatalf("%d portals kept after a day", n)
	}
}

// held counts the portals in memory.
func (b *bench) held() (n int) {
	for i := range b.shards {
		n += len(b.shards[i].portals)
	}
	return n
}
