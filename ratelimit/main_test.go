// What the tests share: a clock that is set by hand, and a gate on it.

package ratelimit

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is a whole minute, as portals' buckets are minutes of the clock.
var epoch = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// bench is a gate whose clock is set by hand.
type bench struct {
	t      failer
	now    time.Time
	window time.Duration // of the operating budget that places are expected behind
	*Local
}

// failer is a test, ordinary or of properties.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

func newBench(t failer, cfg Config) *bench {
	b := &bench{t: t, now: epoch}
	cfg.Now = func() time.Time { return b.now }
	b.Local = NewLocal(cfg)
	return b
}

func (b *bench) pass(d time.Duration) { b.now = b.now.Add(d) }

// ask acquires, which must not fail.
func (b *bench) ask(r Request) Decision {
	b.t.Helper()
	d, err := b.Acquire(context.Background(), r)
	if err != nil {
		b.t.Fatalf("Acquire: %v", err)
	}
	if (len(d.Go) > 0) != (d.Ticket.ID != 0) || len(d.Go) != d.Ticket.Rows {
		b.t.Fatalf("Go %v with ticket %+v", d.Go, d.Ticket)
	}
	if len(d.Go) == 0 && d.Reason == None {
		b.t.Fatalf("nothing may go, without a reason: %+v", d)
	}
	return d
}

// granted asks for r and wants every row of it to go.
func (b *bench) granted(r Request) Ticket {
	b.t.Helper()
	d := b.ask(r)
	if len(d.Go) != max(1, r.Rows) {
		b.t.Fatalf("%d of %d rows go: %s until +%s", len(d.Go), r.Rows, d.Reason, d.Until.Sub(b.now))
	}
	return d.Ticket
}

// refused asks for r, wants nothing to go for that reason, and returns for how long.
func (b *bench) refused(r Request, why Reason) time.Duration {
	b.t.Helper()
	d := b.ask(r)
	if len(d.Go) != 0 || d.Reason != why {
		b.t.Fatalf("got %d rows, %q until +%s; want none, %q", len(d.Go), d.Reason, d.Until.Sub(b.now), why)
	}
	return d.Until.Sub(b.now)
}

func (b *bench) tell(t Ticket, a Answer) {
	b.t.Helper()
	if err := b.Observe(context.Background(), t, a); err != nil {
		b.t.Fatalf("Observe: %v", err)
	}
}

// round sends one request and ends it so.
func (b *bench) round(r Request, a Answer) {
	b.t.Helper()
	b.tell(b.granted(r), a)
}

func (b *bench) state() Snapshot {
	b.t.Helper()
	s, ok, err := b.State(b.t.Context(), "p")
	if !ok || err != nil {
		b.t.Fatal("the portal has no state")
	}
	return s
}

// wide are limits that do not bind.
var wide = Limits{Rate: 1000, Burst: 10_000}

// standard is a standard plan.
var standard = Limits{Rate: 2, Burst: 50, Operating: 480 * time.Second, OperatingWindow: 10 * time.Minute}

func rows(l Limits, n int) Request {
	return Request{Portal: "p", Limits: l, Credential: "c", Method: "imbot.register", Rows: n}
}

func coded(l Limits, codes ...string) Request {
	r := rows(l, len(codes))
	r.Codes, r.MarkFor = codes, 130*time.Second
	return r
}

var answered = Answer{Outcome: Answered, Ran: 1}
