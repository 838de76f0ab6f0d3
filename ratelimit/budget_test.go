package ratelimit

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// workshop is a portal that counts operating time in ten buckets, which are
// parts of the window by its own clock.
type workshop struct {
	window, limit time.Duration
	skew          time.Duration // of its clock
	late          bool          // it tells the reset a window after the oldest bucket's last charge
	work          map[int64]time.Duration
	last          map[int64]time.Time
	refusals      int
}

func (s *workshop) period(now time.Time) int64 {
	return now.Add(s.skew).UnixNano() / int64(s.window/steps)
}

func (s *workshop) sum(now time.Time) (sum time.Duration, oldest int64) {
	oldest = s.period(now)
	for i, work := range s.work {
		if i <= s.period(now)-steps {
			delete(s.work, i)
			continue
		}
		sum += work
		oldest = min(oldest, i)
	}
	return sum, oldest
}

func (s *workshop) starts(now time.Time) bool {
	sum, _ := s.sum(now)
	if sum > s.limit {
		s.refusals++
		return false
	}
	return true
}

func (s *workshop) ends(now time.Time, work time.Duration, ran int) Answer {
	s.work[s.period(now)] += work
	s.last[s.period(now)] = now
	sum, oldest := s.sum(now)
	reset := time.Unix(0, (oldest+steps)*int64(s.window/steps)).Add(-s.skew)
	if s.late {
		reset = s.last[oldest].Add(s.window)
	}
	reset = time.Unix(reset.Add(s.skew+time.Second-1).Unix(), 0)
	return Answer{Outcome: Answered, Ran: ran, HasOperating: true, Operating: sum, ResetAt: reset}
}

// job is a call of the simulation.
type job struct {
	ticket  Ticket
	work    time.Duration
	ends    time.Time
	refused bool
}

// plant works off rows on a workshop through a gate, as fast as the gate allows.
type plant struct {
	*bench
	shop   *workshop
	req    Request
	batch  int
	rowNow func() time.Duration // what the next row costs
	left   int
	jobs   []job
}

// run returns when the last row is done.
func (w *plant) run(most time.Duration) time.Duration {
	asked := 0
	for end := epoch.Add(most); w.left > 0 || len(w.jobs) > 0; asked++ {
		if w.now.After(end) || asked > 200_000 {
			w.t.Fatalf("%d rows left at +%s after %d questions", w.left, w.now.Sub(epoch), asked)
		}
		until := end.Add(time.Second)
		if w.left > 0 {
			r := w.req
			r.Rows = min(w.left, w.batch)
			if d := w.ask(r); len(d.Go) > 0 {
				w.start(d.Ticket)
				continue
			} else if until = d.Until; d.Reason == Budget && d.Until.Sub(w.now) > w.shop.window {
				w.t.Fatalf("shut for %s, longer than a window: %s", d.Until.Sub(w.now), d.Reason)
			}
		}
		w.now = w.finish(until)
	}
	return w.now.Sub(epoch)
}

func (w *plant) start(t Ticket) {
	j := job{ticket: t, ends: w.now.Add(10 * time.Millisecond)}
	if !w.shop.starts(w.now) {
		j.refused = true
	} else {
		w.left -= t.Rows
		for range t.Rows {
			j.work += w.rowNow()
		}
		j.ends = j.ends.Add(j.work)
	}
	w.jobs = append(w.jobs, j)
}

// finish ends the first job to end before until, and returns the time.
func (w *plant) finish(until time.Time) time.Time {
	first := -1
	for i, j := range w.jobs {
		if !j.ends.After(until) {
			first, until = i, j.ends
		}
	}
	if first < 0 {
		return until
	}
	j := w.jobs[first]
	w.jobs = slices.Delete(w.jobs, first, first+1)
	w.now = until
	if j.refused {
		w.tell(j.ticket, Answer{Outcome: WorkRefused})
		return until
	}
	w.tell(j.ticket, w.shop.ends(until, j.work, j.ticket.Rows))
	return until
}

func newPlant(t *rapid.T, window time.Duration) *plant {
	cost := time.Duration(rapid.Int64Range(int64(20*time.Millisecond), int64(2*time.Second)).Draw(t, "cost"))
	cost = max(window/1000, min(cost, window/300))
	limit := time.Duration(float64(window) * rapid.Float64Range(0.5, 0.9).Draw(t, "limit"))
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	rough := rapid.SampledFrom([]float64{0, 0, 0.2}).Draw(t, "roughness")
	w := &plant{
		bench: newBench(t, Config{Parallel: rapid.IntRange(2, 6).Draw(t, "parallel")}),
		shop:  &workshop{window: window, limit: limit, work: map[int64]time.Duration{}, last: map[int64]time.Time{}},
		batch: rapid.SampledFrom([]int{1, 10, 50}).Draw(t, "batch"),
		rowNow: func() time.Duration {
			return time.Duration(float64(cost) * (1 + rough*(2*random.Float64()-1)))
		},
		left: int(2.8 * float64(limit) / float64(cost)),
	}
	w.batch = max(1, min(w.batch, int(window/steps/3/cost))) // 20 s of a minute
	w.req = rows(Limits{Rate: 1000, Burst: 10_000, Operating: limit, OperatingWindow: window}, 1)
	w.req.Batched = w.batch > 1
	return w
}

// ideal is when the work could be done at the earliest: two windows of work go,
// and each must leave before as much more may come. The margin counts.
func (w *plant) ideal(rows int, cost time.Duration) time.Duration {
	perWindow := int(lessMargin(w.shop.limit) / cost)
	whole := (rows - 1) / perWindow
	rest := rows - whole*perWindow
	return time.Duration(whole)*w.shop.window + time.Duration(rest)*cost/time.Duration(w.cfg.Parallel)
}

// Work for 2.8 windows is done at the edge of the budget, and the portal never
// has to refuse.
func TestBudgetIsKeptAndUsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPlant(t, rapid.SampledFrom([]time.Duration{time.Minute, 10 * time.Minute}).Draw(t, "window"))
		w.shop.late = rapid.Bool().Draw(t, "late reset")
		rows := w.left
		took := w.run(6 * w.shop.window)
		if w.shop.refusals > 0 {
			t.Fatalf("%d refusals", w.shop.refusals)
		}
		cost := time.Duration(2.8 * float64(w.shop.limit) / float64(rows))
		if most := w.ideal(rows, cost)*108/100 + w.shop.window/20; took > most {
			t.Fatalf("took %s, ideal %s", took, w.ideal(rows, cost))
		}
	})
}

// A clock that is wrong by up to a minute, or a limit lower than configured,
// costs at most one refusal a window. Only the first time, with no warning, each
// request on its way may be refused.
func TestBudgetOfAnotherClockOrLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPlant(t, 10*time.Minute)
		w.shop.skew = time.Duration(rapid.IntRange(-60, 60).Draw(t, "skew")) * time.Second
		w.shop.late = rapid.Bool().Draw(t, "late reset")
		w.shop.limit = time.Duration(float64(w.shop.limit) * rapid.SampledFrom([]float64{1, 1, 0.85, 0.6}).Draw(t, "real limit"))
		took := w.run(12 * w.shop.window)
		if windows := int(took/w.shop.window) + 1; w.shop.refusals > windows+w.cfg.Parallel {
			t.Fatalf("%d refusals in %d windows", w.shop.refusals, windows)
		}
	})
}

func operating(d time.Duration, rows int) Answer {
	return Answer{Outcome: Answered, Ran: rows, HasOperating: true, Operating: d}
}

func TestUnknownCostGoesInFives(t *testing.T) {
	b := newBench(t, Config{})
	r := rows(standard, 50)
	d := b.ask(r)
	if len(d.Go) != 5 || d.Reason != Budget || !d.Until.Equal(b.now) {
		t.Fatalf("cost unknown: %+v", d)
	}
	b.tell(d.Ticket, operating(100*time.Second, 5)) // most of it may be from before
	d = b.ask(r)
	if len(d.Go) != 5 {
		t.Fatalf("one answer does not tell the cost: %+v", d)
	}
	b.tell(d.Ticket, operating(110*time.Second, 5))
	if got := b.state().Budgets[0]; got.Cost != 2*time.Second || got.Operating != 110*time.Second {
		t.Fatalf("%+v", got)
	}
	t1 := b.granted(r) // 100 s reserved
	if got := b.state().Budgets[0].Reserved; got != 100*time.Second {
		t.Fatalf("reserved %s", got)
	}
	t2 := b.granted(r)
	t3 := b.granted(r)
	d = b.ask(r) // 470.4 - 110 - 300 = 60.4 s left
	if len(d.Go) != 30 || d.Reason != InFlight {
		t.Fatalf("the rest of the budget: %+v", d)
	}
	b.refused(r, InFlight)
	b.tell(t1, operating(210*time.Second, 50))
	b.tell(t3, operating(410*time.Second, 50)) // overtakes t2
	b.tell(t2, operating(310*time.Second, 50))
	b.tell(d.Ticket, operating(470*time.Second, 30))
	if got := b.state().Budgets[0]; got.Reserved != 0 || got.Operating != 470*time.Second || got.Cost < 19*time.Second/10 || got.Cost > 21*time.Second/10 {
		t.Fatalf("%+v", got)
	}
	if wait := b.refused(r, Budget); wait != 601*time.Second && wait != 600*time.Second {
		t.Fatalf("shut for %s", wait)
	}
	direct := r
	direct.Batched = true
	if d := b.ask(direct); len(d.Go) != 5 {
		t.Fatalf("batched calls are counted apart: %+v", d)
	}
}

// The first requests end together: whichever answer comes first tells of the
// work of some or all, so that other rows would seem free, or dear.
func TestTheFirstAnswersDoNotTellTheCost(t *testing.T) {
	for _, sums := range [][]int{{10, 10, 10, 10}, {7, 10, 10, 9}, {2, 10, 7, 5}} {
		b := newBench(t, Config{})
		r := rows(standard, 50)
		var tickets []Ticket
		for range sums {
			tickets = append(tickets, b.ask(r).Ticket)
		}
		for i, sum := range sums {
			b.tell(tickets[i], operating(time.Duration(sum)*time.Second, 5))
		}
		if d := b.ask(r); len(d.Go) != 5 {
			t.Fatalf("%v: %d rows go while the cost is unknown", sums, len(d.Go))
		} else {
			b.tell(d.Ticket, operating(12*time.Second, 5))
		}
		if got := b.state().Budgets[0].Cost; got != 400*time.Millisecond {
			t.Errorf("%v: a row seems to cost %s", sums, got)
		}
	}
}

func TestFewerRowsGoWithMarks(t *testing.T) {
	b := newBench(t, Config{})
	r := rows(standard, 5)
	b.round(r, operating(0, 5))
	b.round(r, operating(50*time.Second, 5))
	b.granted(coded(standard, "a", "b"))
	b.granted(coded(standard, "c"))
	if d := b.ask(coded(standard, "a", "d", "b", "e")); len(d.Go) != 2 {
		t.Fatalf("%+v", d)
	}
	if got := b.state().Budgets[0].Reserved; got != 50*time.Second {
		t.Fatalf("reserved %s, want 10s for each of 5 rows", got)
	}
}

func TestRowsDearerThanAWindow(t *testing.T) {
	b := newBench(t, Config{Parallel: 1})
	l := Limits{Rate: 100, Burst: 100, Operating: time.Second, OperatingWindow: time.Minute}
	b.round(rows(l, 1), operating(0, 1))
	b.round(rows(l, 1), operating(5*time.Second, 1))
	for range 3 {
		wait := b.refused(rows(l, 3), Budget)
		if wait <= 50*time.Second || wait > time.Minute {
			t.Fatalf("shut for %s", wait)
		}
		b.pass(wait - 1)
		b.refused(rows(l, 3), Budget)
		b.pass(1)
		d := b.ask(rows(l, 3))
		if len(d.Go) != 1 {
			t.Fatalf("in an empty window: %+v", d)
		}
		b.tell(d.Ticket, operating(5*time.Second, 1))
	}
}

func TestNoOperatingInAnswers(t *testing.T) {
	b := newBench(t, Config{})
	for range uncountedAfter {
		b.tell(b.ask(rows(standard, 50)).Ticket, Answer{Outcome: Answered, Ran: 5})
	}
	b.round(rows(standard, 50), Answer{Outcome: WorkRefused})
	if wait := b.refused(rows(standard, 50), Refused); wait != time.Minute {
		t.Fatalf("closed for %s, want a tenth of the window", wait)
	}
	b.pass(time.Minute)
	probe := b.ask(rows(standard, 50))
	if len(probe.Go) != 1 || probe.Reason != Refused {
		t.Fatalf("probe: %+v", probe)
	}
	if wait := b.refused(rows(standard, 50), Refused); wait != probeSoonest {
		t.Fatalf("while the probe is out: %s", wait)
	}
	other := rows(standard, 1)
	other.Credential = "another"
	b.round(other, answered)
	b.tell(probe.Ticket, Answer{Outcome: WorkRefused})
	if wait := b.refused(rows(standard, 50), Refused); wait != time.Minute {
		t.Fatalf("closed for %s", wait)
	}
	b.pass(time.Minute)
	b.tell(b.ask(rows(standard, 50)).Ticket, answered)
	b.granted(rows(standard, 50))
}

func TestWorkRefusedUntilTheReset(t *testing.T) {
	for name, l := range map[string]Limits{"counted": standard, "off": {Rate: 2, Burst: 50}} {
		b := newBench(t, Config{})
		first, second := b.granted(rows(l, 5)), b.granted(rows(l, 5))
		a := operating(10*time.Second, 5)
		a.ResetAt = b.now.Add(5 * time.Minute)
		b.round(rows(l, 5), a)
		b.tell(first, Answer{Outcome: WorkRefused})
		b.pass(time.Second)
		b.tell(second, Answer{Outcome: WorkRefused}) // the same incident
		want := 5*time.Minute - time.Second
		if name == "off" {
			want = time.Minute - time.Second // nothing is kept of answers
		}
		if wait := b.refused(rows(l, 5), Refused); wait != want {
			t.Errorf("%s: closed for %s, want %s", name, wait, want)
		}
	}
}

func TestLowerLimitIsLearnedAndRises(t *testing.T) {
	b := newBench(t, Config{})
	r := rows(standard, 5)
	b.round(r, operating(0, 5))
	b.round(r, operating(300*time.Second, 5)) // one call is dearer than thought
	if got := b.state().Budgets[0].Limit; got != 480*time.Second {
		t.Fatalf("limit %s", got)
	}
	d := b.ask(r)
	b.tell(d.Ticket, Answer{Outcome: WorkRefused})
	if got := b.state().Budgets[0].Limit; got != 285*time.Second {
		t.Fatalf("limit %s, want a twentieth less than was done when it refused", got)
	}
	b.pass(30 * time.Minute)
	b.tell(b.ask(r).Ticket, operating(0, 1))
	if got := b.state().Budgets[0].Limit; got != 285*time.Second+3*4800*time.Millisecond {
		t.Fatalf("limit %s after three windows, want 3 %% of 480 s more", got)
	}
}

func TestAbsurdOperatingStallsForAWindowAtMost(t *testing.T) {
	year := 365 * 24 * time.Hour
	for _, op := range []time.Duration{math.MinInt64, -1, 0, 481 * time.Second, 10 * time.Hour, math.MaxInt64} {
		for _, reset := range []time.Duration{-year, 0, time.Second, 599 * time.Second, year} {
			b := newBench(t, Config{})
			for range 3 {
				d := b.ask(rows(standard, 50))
				if len(d.Go) == 0 {
					break
				}
				a := operating(op, len(d.Go))
				a.ResetAt = b.now.Add(reset)
				b.tell(d.Ticket, a)
			}
			if d := b.ask(rows(standard, 50)); len(d.Go) == 0 {
				if wait := d.Until.Sub(b.now); wait <= 0 || wait > 10*time.Minute {
					t.Errorf("operating %s, reset in %s: shut for %s", op, reset, wait)
				}
				b.now = d.Until
			}
			for asked := 0; len(b.ask(rows(standard, 50)).Go) == 0; asked++ {
				b.pass(time.Minute)
				if asked > 10 {
					t.Fatalf("operating %s, reset in %s: shut", op, reset)
				}
			}
		}
	}
}

// What a lost call may have cost is counted until an answer tells better.
func TestLostCallsAreCounted(t *testing.T) {
	b := newBench(t, Config{TicketTTL: time.Minute})
	r := rows(standard, 10)
	b.tell(b.ask(r).Ticket, operating(0, 5))
	b.tell(b.ask(r).Ticket, operating(10*time.Second, 5))
	b.round(r, Answer{Outcome: NoAnswer, Unsure: true})
	b.granted(r) // and this one never comes back
	b.pass(time.Minute)
	if got := b.state().Budgets[0]; got.Operating != 50*time.Second || got.Reserved != 0 {
		t.Fatalf("%+v", got)
	}
	b.round(r, operating(30*time.Second, 10))
	if got := b.state().Budgets[0].Operating; got != 30*time.Second {
		t.Fatalf("%s after an answer that told 30s", got)
	}
}

// Whatever portals say, sums stay sums, waits end within a window, and the
// number of rows is one that was asked for.
func FuzzBudget(f *testing.F) {
	f.Add(int64(480e9), int64(600e9), []byte{0, 5, 10, 1, 200, 3, 2, 9, 9, 3, 0, 1})
	f.Add(int64(-1), int64(0), []byte{255, 255, 255, 254, 0, 0})
	f.Add(int64(1), int64(1e7), []byte{1, 1, 1, 2, 2, 2, 0, 255, 3})
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), []byte{0, 255, 0, 0, 128, 2})
	f.Fuzz(func(t *testing.T, limit, window int64, story []byte) {
		p := newPlan(Limits{Operating: time.Duration(limit), OperatingWindow: time.Duration(window)}, 4)
		if p.work <= 0 {
			return
		}
		b, now := &budget{}, epoch
		story = story[:min(len(story), 3000)]
		for ; len(story) >= 3; story = story[3:] {
			size := time.Duration(1) << (story[1] % 63)
			rows := 1 + int(story[2])
			switch story[0] % 6 {
			case 0:
				b.tell(now, min(size, mostOperating), rows, b.grown, p)
			case 1:
				b.tell(now, min(size, mostOperating), rows-1, b.grown-min(b.grown, size), p)
			case 2:
				now = now.Add(min(size, 2*p.window))
			case 3:
				now = now.Add(-min(size, 2*p.window))
			case 4:
				b.told(now, now.Add(size), p)
				b.refused(now, b.sum, p)
			case 5:
				b.add(now, min(size, mostOperating), p)
			}
			checkBudget(t, b, now, rows, p)
		}
	})
}

func checkBudget(t *testing.T, b *budget, now time.Time, rows int, p plan) {
	t.Helper()
	r := b.room(now, rows, p)
	var sum time.Duration
	for _, c := range b.cells {
		sum += c.work
		if c.work < 0 || c.leaves.Sub(now) > p.window {
			t.Fatalf("cell %+v at %s", c, now)
		}
	}
	perRow, _ := b.cost.perRow()
	if sum != b.sum || sum < 0 || b.left < 0 || perRow < 0 || len(b.cells) > steps+2 {
		t.Fatalf("%+v, cells hold %s", b, sum)
	}
	if limit := b.limit(now, p); limit < 0 || limit > p.full {
		t.Fatalf("limit %s of %s", limit, p.full)
	}
	if r.rows < 0 || r.rows > rows || r.rows == 0 && (r.until.Sub(now) > p.window || !r.until.After(now)) {
		t.Fatalf("room %+v for %d rows at %s: %+v", r, rows, now, b)
	}
}
