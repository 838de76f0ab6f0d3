// How often a row is taken from the queue while it waits for an hour: the gate
// alone, on a clock of its own, asked by a row that comes back when it is told to.

package main

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"botfleet/ratelimit"
)

const (
	mostFetches = 12
	longestWait = time.Hour
	// laneWait is how long a row may wait for its turn in a worker without
	// going back to the queue.
	laneWait = 2 * time.Second
	// probeTakes is how long a request to a silent portal is waited for:
	// REQUEST_TIMEOUT as delivered.
	probeTakes = 65 * time.Second
)

// waiter is a gate, a clock, and a row that waits.
type waiter struct {
	gate *ratelimit.Local
	now  time.Time
	at   ratelimit.Request // what the row asks for
}

func newWaiter() *waiter {
	w := &waiter{now: time.Unix(1_790_000_000, 0)}
	w.gate = ratelimit.NewLocal(ratelimit.Config{Now: func() time.Time { return w.now }})
	w.at = ratelimit.Request{
		Portal: "portal", Credential: "webhook", Method: "imbot.register", Rows: 1,
		Limits: ratelimit.Limits{Rate: 2, Burst: 50}, // a standard plan
	}
	return w
}

// row is the request of the n-th row of the line.
func (w *waiter) row(n int) ratelimit.Request {
	r := w.at
	r.Codes, r.Order = []string{fmt.Sprintf("helper%06d", n)}, []int64{int64(n)}
	return r
}

// due is when the queue hands out a row that is to come at a time: it knows
// whole seconds only, and no row comes early.
func due(at time.Time) time.Time {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		return whole.Add(time.Second)
	}
	return at
}

func (b *bench) fetches(ctx context.Context) ([]figure, error) {
	var figures []figure
	for _, c := range []struct {
		what  string
		count func(context.Context) (int, time.Duration, error)
	}{
		{"fetches in 1 h behind a long line", newWaiter().behindLine},
		{"fetches in 1 h of a held portal", newWaiter().whileHeld},
		{"fetches in 1 h of a silent portal", newWaiter().whileSilent},
	} {
		n, waited, err := c.count(ctx)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", c.what, err)
		}
		figures = append(figures, figure{
			what: c.what, value: fmt.Sprintf("%d (it went after %.0f s)", n, waited.Seconds()),
			must: fmt.Sprintf("at most %d", mostFetches), ok: n <= mostFetches,
		})
	}
	return figures, nil
}

// behindLine is the last row of a line that takes an hour at the portal's
// rate. All rows of it come when they are told to, and wait for their turn in a
// worker when that is near.
func (w *waiter) behindLine(ctx context.Context) (fetches int, waited time.Duration, err error) {
	last := int(longestWait.Seconds()*w.at.Limits.Rate) + w.at.Limits.Burst
	began := w.now
	queue := &dueRows{}
	for n := range last + 1 {
		heap.Push(queue, dueRow{at: began, row: n})
	}
	var lane []int // rows whose turn is near, in the line's order
	opens := began
	for queue.Len()+len(lane) > 0 {
		if len(lane) > 0 && (queue.Len() == 0 || !opens.After((*queue)[0].at)) {
			w.now = later(w.now, opens)
			if opens, err = w.send(ctx, lane[0]); err != nil {
				return 0, 0, err
			}
			if opens.IsZero() {
				lane, opens = lane[1:], w.now
			}
			continue
		}
		next := heap.Pop(queue).(dueRow)
		w.now = later(w.now, next.at)
		if next.row == last {
			fetches++
		}
		p, err := w.place(ctx, next.row)
		if err != nil {
			return 0, 0, err
		}
		if p.Expected.Sub(w.now) > laneWait {
			heap.Push(queue, dueRow{at: due(p.Ask), row: next.row})
			continue
		}
		i, _ := slices.BinarySearch(lane, next.row)
		lane = slices.Insert(lane, i, next.row)
	}
	return fetches, w.now.Sub(began), nil
}

// dueRow is a row that the queue hands out at a time.
type dueRow struct {
	at  time.Time
	row int
}

// dueRows is a heap of them; of those that are due together, the order of their
// numbers stands for that of their ids, which is any.
type dueRows []dueRow

func (q dueRows) Len() int { return len(q) }
func (q dueRows) Less(i, k int) bool {
	return q[i].at.Before(q[k].at) || q[i].at.Equal(q[k].at) && q[i].row < q[k].row
}
func (q dueRows) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *dueRows) Push(x any)   { *q = append(*q, x.(dueRow)) }
func (q *dueRows) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// place asks for the place of a row.
func (w *waiter) place(ctx context.Context, n int) (ratelimit.Place, error) {
	places, err := w.gate.Place(ctx, ratelimit.LineRequest{Request: w.row(n), Batch: 1})
	if err != nil {
		return ratelimit.Place{}, err
	}
	return places[0], nil
}

// send lets a row go, or returns when to ask again.
func (w *waiter) send(ctx context.Context, n int) (again time.Time, err error) {
	d, err := w.gate.Acquire(ctx, w.row(n))
	if err != nil {
		return again, err
	}
	if len(d.Go) > 0 {
		return again, w.gate.Observe(ctx, d.Ticket, ratelimit.Answer{Outcome: ratelimit.Answered, Ran: 1})
	}
	if !d.Until.After(w.now) {
		return again, fmt.Errorf("the gate is shut for %q until a time that is past", d.Reason)
	}
	return d.Until, nil
}

// whileHeld is a row of a portal that is released after an hour.
func (w *waiter) whileHeld(ctx context.Context) (fetches int, waited time.Duration, err error) {
	began := w.now
	if err := w.gate.Hold(ctx, w.at.Portal, ratelimit.Hold{Reason: "OVERLOAD_LIMIT"}); err != nil {
		return 0, 0, err
	}
	for {
		fetches++
		d, err := w.gate.Acquire(ctx, w.row(0))
		if err != nil {
			return 0, 0, err
		}
		if len(d.Go) > 0 {
			return fetches, w.now.Sub(began), nil
		}
		w.now = due(d.Until)
		if w.now.Sub(began) >= longestWait {
			if err := w.gate.Release(ctx, w.at.Portal); err != nil {
				return 0, 0, err
			}
		}
	}
}

// whileSilent is a row of a portal that answers nobody for an hour. Somebody
// else of the portal probes whenever that is allowed.
func (w *waiter) whileSilent(ctx context.Context) (fetches int, waited time.Duration, err error) {
	if err := w.silence(ctx); err != nil {
		return 0, 0, err
	}
	began := w.now
	mine, theirs := began, began // when who asks next
	var probe ratelimit.Ticket   // theirs, on its way until then
	for {
		if theirs.After(mine) {
			w.now = mine
			fetches++
			d, err := w.gate.Acquire(ctx, w.row(0))
			if err != nil || len(d.Go) > 0 {
				return fetches, w.now.Sub(began), err
			}
			mine = due(later(d.Until, d.Others)) // it is not the first of those who wait
			continue
		}
		w.now = theirs
		if probe.ID != 0 {
			if err := w.gate.Observe(ctx, probe, w.answer(began)); err != nil {
				return 0, 0, err
			}
		}
		if probe, theirs, err = w.probe(ctx); err != nil {
			return 0, 0, err
		}
	}
}

// silence makes the portal a silent one.
func (w *waiter) silence(ctx context.Context) error {
	for {
		t, until, err := w.probe(ctx)
		if err != nil || t.ID == 0 {
			return err
		}
		w.now = until
		if err := w.gate.Observe(ctx, t, ratelimit.Answer{Outcome: ratelimit.NoAnswer}); err != nil {
			return err
		}
	}
}

// probe sends a request that changes nothing on the portal, if the gate lets
// it. It returns when the portal has had its time to answer, or when to ask again.
func (w *waiter) probe(ctx context.Context) (ratelimit.Ticket, time.Time, error) {
	r := w.at
	r.Method = "imbot.bot.list"
	d, err := w.gate.Acquire(ctx, r)
	if err != nil || len(d.Go) == 0 {
		return ratelimit.Ticket{}, later(d.Until, w.now.Add(time.Millisecond)), err
	}
	return d.Ticket, w.now.Add(probeTakes), nil
}

// answer is what a probe comes to.
func (w *waiter) answer(began time.Time) ratelimit.Answer {
	if w.now.Sub(began) < longestWait {
		return ratelimit.Answer{Outcome: ratelimit.NoAnswer}
	}
	return ratelimit.Answer{Outcome: ratelimit.Answered, Ran: 1}
}
