package ratelimit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"botfleet/ratelimit/redistest"
)

// One random story is told to both gates, which must say the same.
func TestSharedDecidesAsLocal(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		story := 0
		rapid.Check(t, func(rt *rapid.T) {
			story++
			w := newTwins(rt, client, story)
			for range rapid.SampledFrom([]int{5, 50, 150}).Draw(rt, "steps") {
				w.step()
			}
			for _, portal := range w.portals {
				if !w.vary {
					w.compareState(portal)
				}
			}
		})
	})
}

// twins are two gates on one clock.
type twins struct {
	t       *rapid.T
	ctx     context.Context
	now     time.Time
	worked  time.Duration // operating time as a portal would tell it
	local   *Local
	shared  *Shared
	portals []string
	limits  map[string]Limits
	orders  map[string]int64 // of codes, while they wait
	queued  int64
	out     []pair
	until   time.Time
	// vary: windows change within the story. What is no longer remembered then
	// depends on who looked when, so nobody looks at what is not asked for.
	vary  bool
	mood  []Outcome // what mostly happens to requests
	share int64     // rows whose work fills a window
	held  bool
}

type pair struct {
	local, shared Ticket
	req           Request
}

func newTwins(t *rapid.T, client redis.UniversalClient, story int) *twins {
	w := &twins{t: t, ctx: context.Background(), now: epoch, limits: map[string]Limits{}, orders: map[string]int64{}}
	parallel := rapid.SampledFrom([]int{1, 2, 4, 20}).Draw(t, "parallel")
	ttl := rapid.SampledFrom([]time.Duration{0, time.Second, 10 * time.Minute}).Draw(t, "ticket ttl")
	w.vary = rapid.IntRange(0, 3).Draw(t, "windows vary") == 0
	w.mood = rapid.SampledFrom([][]Outcome{
		{Answered}, {Answered, Answered, WorkRefused}, {NoAnswer}, {NoAnswer, NoAnswer, NoAnswer, NotSent}, {RateRefused, Answered},
		{Answered, Answered, Answered, Answered, RateRefused, WorkRefused, NoAnswer, NotSent},
	}).Draw(t, "mood")
	w.share = rapid.SampledFrom([]int64{2000, 100, 30, 7}).Draw(t, "rows in a window")
	clock := func() time.Time { return w.now }
	w.local = NewLocal(Config{Parallel: parallel, TicketTTL: ttl, Now: clock})
	for i := range w.local.shards { // nothing is forgotten but by the clock
		w.local.shards[i].tidy = tidy{size: math.MaxInt32, at: epoch.Add(1e6 * time.Hour)}
	}
	w.shared = NewShared(SharedConfig{Redis: client, Parallel: parallel, TicketTTL: ttl, Now: clock})
	for i := range rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "portals") {
		portal := fmt.Sprintf("%d-%d", story, i)
		w.portals = append(w.portals, portal)
		w.limits[portal] = w.drawLimits()
	}
	return w
}

func (w *twins) drawLimits() Limits {
	t := w.t
	l := Limits{
		Rate:     rapid.SampledFrom([]float64{2, 5, 0.5, 50, 0.01, 1000, 0, -1, math.NaN(), math.Inf(1)}).Draw(t, "rate"),
		Burst:    rapid.SampledFrom([]int{50, 10, 1, 2, 5, 250, 100_000, 0, -5, math.MaxInt}).Draw(t, "burst"),
		Headroom: rapid.SampledFrom([]float64{0, 0, 0, 0.3, 0.5, 0.99, 1, -1}).Draw(t, "headroom"),
	}
	if rapid.Bool().Draw(t, "operating counted") {
		l.Operating = rapid.SampledFrom([]time.Duration{480 * time.Second, 10 * time.Second, 1234567, -1, 100 * time.Hour}).Draw(t, "operating")
		l.OperatingWindow = rapid.SampledFrom([]time.Duration{10 * time.Minute, time.Minute, 7777777777, 0, 20 * time.Millisecond, 24 * time.Hour}).Draw(t, "window")
	}
	return l
}

func (w *twins) drawRequest() Request {
	t := w.t
	portal := rapid.SampledFrom(w.portals).Draw(t, "portal")
	if rapid.IntRange(0, 30).Draw(t, "limits change") == 0 {
		l := w.drawLimits()
		if !w.vary {
			l.Operating, l.OperatingWindow = w.limits[portal].Operating, w.limits[portal].OperatingWindow
		}
		w.limits[portal] = l
	}
	r := Request{
		Portal: portal, Limits: w.limits[portal],
		Credential: rapid.SampledFrom([]string{"app", "app", "app", "hook; 1|x y"}).Draw(t, "credential"),
		Method:     rapid.SampledFrom([]string{"imbot.register", "imbot.register", "imbot.register", "imbot.update"}).Draw(t, "method"),
		Batched:    rapid.IntRange(0, 4).Draw(t, "batched") == 0,
		Rows:       rapid.IntRange(1, 8).Draw(t, "rows"),
		MarkFor:    rapid.SampledFrom([]time.Duration{0, 20 * time.Second, 100 * time.Hour}).Draw(t, "mark for"),
	}
	if rapid.IntRange(0, 3).Draw(t, "codes") > 0 {
		w.name(&r)
	}
	return r
}

// name gives the rows of a request their codes and places.
func (w *twins) name(r *Request) {
	r.Codes, r.Order = nil, nil
	for range r.Rows {
		code := strconv.Itoa(rapid.IntRange(0, 25).Draw(w.t, "code"))
		order, waits := w.orders[r.Portal+code]
		if !waits || rapid.IntRange(0, 50).Draw(w.t, "queued anew") == 0 {
			w.queued += int64(rapid.IntRange(1, 3).Draw(w.t, "order"))
			order = w.queued
			w.orders[r.Portal+code] = order
		}
		r.Codes, r.Order = append(r.Codes, code), append(r.Order, order)
	}
}

func (w *twins) step() {
	switch n := rapid.IntRange(0, 19).Draw(w.t, "step"); {
	case n < 7:
		w.acquire(w.drawRequest())
	case n < 12:
		w.observe()
	case n < 15:
		w.pass()
	case n == 15:
		w.charge()
	case n == 16 || w.held:
		w.hold()
	case w.vary:
	case n < 19:
		w.place()
	default:
		w.compareState(rapid.SampledFrom(w.portals).Draw(w.t, "portal"))
	}
}

func (w *twins) pass() {
	if w.until.After(w.now) && rapid.Bool().Draw(w.t, "until") {
		w.now = w.until.Add(time.Millisecond - 1).Truncate(time.Millisecond)
		return
	}
	most := rapid.SampledFrom([]int{10, 1000, 5000, 60_000, 600_000, 10_000_000}).Draw(w.t, "pass at most")
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, most).Draw(w.t, "pass")) * time.Millisecond)
}

func (w *twins) fatal(what string, local, shared any) {
	w.t.Helper()
	w.t.Fatalf("%s at +%s\nlocal:  %+v\nshared: %+v", what, w.now.Sub(epoch), local, shared)
}

// near says that two times are the same, but for a millisecond.
func near(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && (a.IsZero() || a.Sub(b).Abs() <= time.Millisecond)
}

func sameHold(a, b *Hold) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Reason == b.Reason && near(a.Since, b.Since) && a.Probes == b.Probes
}

func (w *twins) acquire(r Request) {
	a, errA := w.local.Acquire(w.ctx, r)
	b, errB := w.shared.Acquire(w.ctx, r)
	if errA != nil || errB != nil {
		w.fatal("Acquire fails", errA, errB)
	}
	same := slices.Equal(a.Go, b.Go) && a.Reason == b.Reason && near(a.Until, b.Until) && near(a.Others, b.Others) &&
		len(a.Marked) == len(b.Marked) && sameHold(a.Hold, b.Hold) &&
		a.Ticket.Rows == b.Ticket.Rows && slices.Equal(a.Ticket.Codes, b.Ticket.Codes)
	for row, until := range a.Marked {
		same = same && near(until, b.Marked[row])
	}
	if !same {
		w.fatal(fmt.Sprintf("Acquire %+v", r), a, b)
	}
	w.until, w.held = a.Until, a.Reason == Held
	if !w.vary {
		w.compareState(r.Portal)
	}
	if len(a.Go) > 0 {
		w.out = append(w.out, pair{local: a.Ticket, shared: b.Ticket, req: r})
		for _, code := range a.Ticket.Codes {
			delete(w.orders, r.Portal+code)
		}
	}
}

func (w *twins) drawAnswer(r Request) Answer {
	t := w.t
	a := Answer{
		Outcome:      rapid.SampledFrom(w.mood).Draw(t, "outcome"),
		HasOperating: rapid.IntRange(0, 3).Draw(t, "operating told") > 0,
		Unsure:       rapid.IntRange(0, 4).Draw(t, "unsure") == 0,
		Code:         rapid.SampledFrom([]string{"", "OVERLOAD_LIMIT", "кот"}).Draw(t, "error code"),
	}
	if rapid.IntRange(0, 9).Draw(t, "otherwise") == 0 {
		a.Outcome = rapid.SampledFrom([]Outcome{
			Answered, RateRefused, WorkRefused, WorkRefused, NoAnswer, NoAnswer, NotSent, BlockedByBX,
		}).Draw(t, "outcome")
	}
	limit := max(int64(r.Limits.Operating), int64(time.Second))
	if rapid.IntRange(0, 7).Draw(t, "a row's work is told") > 0 {
		w.worked += time.Duration(limit / w.share * int64(r.Rows) * int64(rapid.IntRange(8, 12).Draw(t, "work")) / 10)
		if w.worked > time.Duration(limit) && rapid.Bool().Draw(t, "work leaves") {
			w.worked = time.Duration(limit / w.share)
		}
		a.Ran = r.Rows
		a.Operating = w.worked
		return w.drawReset(r, a)
	}
	a.Ran = rapid.IntRange(-1, r.Rows+1).Draw(t, "ran")
	a.Operating = time.Duration(rapid.OneOf(
		rapid.Int64Range(0, limit), rapid.Int64Range(limit*9/10, limit*11/10),
		rapid.SampledFrom([]int64{0, -1, math.MinInt64, math.MaxInt64, int64(24 * time.Hour)}),
	).Draw(t, "operating"))
	return w.drawReset(r, a)
}

func (w *twins) drawReset(r Request, a Answer) Answer {
	t := w.t
	window := max(int64(r.Limits.OperatingWindow), int64(time.Second))
	if rapid.Bool().Draw(t, "reset told") {
		a.ResetAt = w.now.Add(time.Duration(rapid.OneOf(
			rapid.Int64Range(0, window*12/10), rapid.SampledFrom([]int64{window * 105 / 100, window, -int64(time.Hour), int64(365 * 24 * time.Hour), math.MaxInt64}),
		).Draw(t, "reset in"))).Truncate(time.Millisecond)
	}
	return a
}

func (w *twins) observe() {
	if len(w.out) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.out)-1).Draw(w.t, "which")
	p := w.out[i]
	if rapid.IntRange(0, 9).Draw(w.t, "given back twice") > 0 {
		w.out = slices.Delete(w.out, i, i+1)
	}
	if rapid.IntRange(0, 14).Draw(w.t, "lost") == 0 {
		return
	}
	a := w.drawAnswer(p.req)
	errA := w.local.Observe(w.ctx, p.local, a)
	errB := w.shared.Observe(w.ctx, p.shared, a)
	if errA != nil || errB != nil {
		w.fatal(fmt.Sprintf("Observe %+v fails", a), errA, errB)
	}
	if !w.vary {
		w.compareState(p.req.Portal)
	}
}

func (w *twins) charge() {
	r := w.drawRequest()
	n := rapid.SampledFrom([]int{1, 1, 2, 7, 60, 5000, 0, -1}).Draw(w.t, "requests without a ticket")
	errA, errB := w.local.Charge(w.ctx, r, n), w.shared.Charge(w.ctx, r, n)
	if errA != nil || errB != nil {
		w.fatal("Charge fails", errA, errB)
	}
	if !w.vary {
		w.compareState(r.Portal)
	}
}

func (w *twins) hold() {
	portal := rapid.SampledFrom(w.portals).Draw(w.t, "portal")
	var errA, errB error
	switch rapid.IntRange(0, 3).Draw(w.t, "hold") {
	case 0:
		h := Hold{Reason: rapid.SampledFrom([]string{"", "a person\nmust 1 2"}).Draw(w.t, "reason")}
		if rapid.Bool().Draw(w.t, "since") {
			h.Since = w.now.Add(-time.Hour)
		}
		errA, errB = w.local.Hold(w.ctx, portal, h), w.shared.Hold(w.ctx, portal, h)
	case 1:
		code := strconv.Itoa(rapid.IntRange(0, 25).Draw(w.t, "code"))
		errA, errB = w.local.ClearMark(w.ctx, portal, code), w.shared.ClearMark(w.ctx, portal, code)
	default:
		errA, errB = w.local.Release(w.ctx, portal), w.shared.Release(w.ctx, portal)
	}
	if errA != nil || errB != nil {
		w.fatal("a hold fails", errA, errB)
	}
}

func (w *twins) place() {
	r := LineRequest{Request: w.drawRequest()}
	r.Batch = rapid.SampledFrom([]int{0, 1, 7, 50}).Draw(w.t, "batch")
	r.PerSecond = rapid.SampledFrom([]float64{0, 0, 3, 1000}).Draw(w.t, "per second")
	r.Ahead = rapid.SampledFrom([]int{0, 0, 10, 1_000_000}).Draw(w.t, "ahead")
	if rapid.IntRange(0, 3).Draw(w.t, "not before") == 0 {
		r.NotBefore = w.now.Add(time.Duration(rapid.IntRange(-10, 1000).Draw(w.t, "in")) * time.Second)
	}
	a, errA := w.local.Place(w.ctx, r)
	b, errB := w.shared.Place(w.ctx, r)
	if errA != nil || errB != nil {
		w.fatal(fmt.Sprintf("Place %+v fails", r), errA, errB)
	}
	if !slices.EqualFunc(a, b, func(a, b Place) bool {
		return a.Before == b.Before && a.Binds == b.Binds && near(a.Ask, b.Ask) && near(a.Expected, b.Expected)
	}) {
		w.fatal(fmt.Sprintf("Place %+v", r), a, b)
	}
}

func (w *twins) compareState(portal string) {
	a, knownA, errA := w.local.State(w.ctx, portal)
	b, knownB, errB := w.shared.State(w.ctx, portal)
	if errA != nil || errB != nil || knownA != knownB {
		w.fatal("State", fmt.Sprint(a, knownA, errA), fmt.Sprint(b, knownB, errB))
	}
	same := a.Portal == b.Portal && a.InFlight == b.InFlight && math.Abs(a.Tokens-b.Tokens) < 1e-4 &&
		math.Abs(a.Rate-b.Rate) < 1e-6 && math.Abs(a.Planned-b.Planned) < 1e-6 && (a.Parallel == b.Parallel) &&
		near(a.ClosedUntil, b.ClosedUntil) && a.Closed == b.Closed && sameHold(a.Hold, b.Hold) && a.Waiting == b.Waiting
	same = same && slices.EqualFunc(a.Budgets, b.Budgets, func(a, b BudgetSnapshot) bool {
		return a.Credential == b.Credential && a.Method == b.Method && a.Batched == b.Batched &&
			a.Operating == b.Operating && a.Reserved == b.Reserved && a.Limit == b.Limit && a.Cost == b.Cost &&
			near(a.ResetAt, b.ResetAt) && near(a.ClosedUntil, b.ClosedUntil)
	})
	if !same {
		w.fatal("State", fmt.Sprintf("%+v %+v", a, a.Hold), fmt.Sprintf("%+v %+v", b, b.Hold))
	}
}
