// The last step of Acquire: sending marks for the rows that may go.

package ratelimit

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// mark sets the sending marks of as many rows as the ticket is for, in order,
// and passes over those whose CODE is marked already. If that leaves none, the
// ticket is given back.
func (l *Local) mark(ctx context.Context, r *Request, d Decision) (Decision, error) {
	m := marking{owner: l.ownerOf(d.Ticket.ID), now: d.Ticket.At, ttl: r.markFor(), want: d.Ticket.Rows}
	if err := m.run(ctx, l.cfg.Marks, r); err != nil {
		l.unmark(ctx, r.Portal, m)
		l.land(d.Ticket, Answer{Outcome: NotSent})
		return Decision{}, fmt.Errorf("ask leave for portal %q: %w", r.Portal, err)
	}
	if len(m.going) == 0 {
		l.land(d.Ticket, Answer{Outcome: NotSent})
		return Decision{Reason: Marked, Until: m.earliest(), Marked: m.marked}, nil
	}
	if len(m.going) < d.Ticket.Rows {
		l.trim(d.Ticket, len(m.going))
	}
	d.Go, d.Marked = m.going, m.marked
	d.Ticket.Codes, d.Ticket.Rows = m.codes, len(m.going)
	if len(m.going)+len(m.marked) == r.Rows {
		d.Reason, d.Until, d.Hold, d.Others = None, time.Time{}, nil, time.Time{}
		if len(m.marked) > 0 {
			d.Reason, d.Until = Marked, m.earliest()
		}
	}
	return d, nil
}

// unmark takes back, as far as possible, marks of a request that will not go.
// The caller's context may be what ended, so it has a bound of its own.
func (l *Local) unmark(ctx context.Context, portal string, m marking) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkWithin)
	defer cancel()
	// What cannot be cleared ends by itself; the error that matters is the first.
	_ = l.cfg.Marks.Clear(ctx, portal, m.asked, m.owner)
}

func (l *Local) trim(t Ticket, rows int) {
	s := l.shard(t.Portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.portals[t.Portal]; p != nil {
		p.trim(t.ID, rows)
	}
}

// marking is the setting of one request's marks.
type marking struct {
	owner string
	now   time.Time
	ttl   time.Duration
	want  int

	asked  []string // codes that were asked for
	going  []int
	codes  []string // of going
	marked map[int]time.Time
}

// run asks for as many codes as are wanting until enough are marked or none is left.
func (m *marking) run(ctx context.Context, marks Marks, r *Request) error {
	for next := 0; len(m.going) < m.want && next < len(r.Codes); {
		from := next
		next = min(len(r.Codes), next+m.want-len(m.going))
		if err := m.ask(ctx, marks, r, from, next); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for the codes of the rows from ≤ row < to.
func (m *marking) ask(ctx context.Context, marks Marks, r *Request, from, to int) error {
	var rows, repeats []int
	asked := len(m.asked)
	for row := from; row < to; row++ {
		if slices.Contains(r.Codes[:row], r.Codes[row]) {
			repeats = append(repeats, row)
			continue
		}
		rows = append(rows, row)
		m.asked = append(m.asked, r.Codes[row])
	}
	var taken map[int]time.Time
	if len(rows) > 0 {
		var err error
		if taken, err = marks.Set(ctx, r.Portal, m.asked[asked:], m.owner, m.ttl); err != nil {
			return err
		}
	}
	for i, row := range rows {
		if until, other := taken[i]; other {
			m.mark(row, until)
			continue
		}
		m.going = append(m.going, row)
		m.codes = append(m.codes, r.Codes[row])
	}
	for _, row := range repeats { // one CODE, one call, within a request as well
		until, other := m.marked[slices.Index(r.Codes, r.Codes[row])]
		if !other {
			until = m.now.Add(m.ttl)
		}
		m.mark(row, until)
	}
	return nil
}

func (m *marking) mark(row int, until time.Time) {
	if m.marked == nil {
		m.marked = make(map[int]time.Time)
	}
	m.marked[row] = until
}

// earliest is the first end of another's mark.
func (m *marking) earliest() (at time.Time) {
	for _, until := range m.marked {
		if at.IsZero() || until.Before(at) {
			at = until
		}
	}
	return at
}
