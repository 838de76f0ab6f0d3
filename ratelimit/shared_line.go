// Places in the line of a portal. Redis keeps the line; when its rows will go
// is forecast here, from the state that comes with the places.

package ratelimit

import (
	"context"
	"fmt"
	"time"
)

// Place implements [Gate]. It takes two round trips for every 1,000 rows: one
// for the places, and one to note when the rows are to ask again.
func (s *Shared) Place(ctx context.Context, r LineRequest) ([]Place, error) {
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	var all []Place
	for codes, order := r.Codes, r.Order; ; codes, order = codes[len(r.Codes):], order[len(r.Codes):] {
		r.Codes, r.Order = codes[:min(mostRows, len(codes))], order[:min(mostRows, len(order))]
		places, err := s.place(ctx, &r)
		if err != nil {
			return nil, fmt.Errorf("ask for a place in the line of portal %q: %w", r.Portal, err)
		}
		all = append(all, places...)
		if len(codes) <= mostRows {
			return all, nil
		}
	}
}

func (s *Shared) place(ctx context.Context, r *LineRequest) ([]Place, error) {
	keys := keysOf(r.Portal)
	key := budgetKey{r.Credential, r.Method, r.Batched}
	other := budgetKey{r.Credential, r.Method, !r.Batched}
	args := append(s.base(r.Limits), key.field(), other.field())
	for i, code := range r.Codes {
		args = append(args, code, r.Order[i])
	}
	reply, err := lineScript.Run(ctx, s.cfg.Redis, []string{keys.gate, keys.line, keys.asks}, args...).Slice()
	if err != nil {
		return nil, err
	}
	p, before, err := s.readLine(r.Portal, reply)
	if err != nil {
		return nil, err
	}
	if n := len(before); n != 0 && n != len(r.Codes) {
		return nil, fmt.Errorf("%w: %d places for %d rows", errReply, len(before), len(r.Codes))
	}
	places := p.places(r, before, s.cfg.TicketTTL)
	if len(before) == 0 {
		return places, nil
	}
	return places, s.tell(ctx, keys, p, r.Codes, places)
}

// readLine reads what line.lua answers.
func (s *Shared) readLine(portal string, reply []any) (stored, []int, error) {
	if len(reply) != 3 {
		return stored{}, nil, fmt.Errorf("%w: it has %d parts", errReply, len(reply))
	}
	var r reader
	clock := r.time("the time", reply[0])
	fields := make(map[string]string)
	for pairs := r.list("the state", reply[1]); len(pairs) >= 2; pairs = pairs[2:] {
		fields[r.text("a field", pairs[0])] = r.text("a value", pairs[1])
	}
	var before []int
	for _, n := range r.list("the places", reply[2]) {
		before = append(before, int(r.number("a place", n)))
	}
	if r.err != nil {
		return stored{}, nil, r.err
	}
	return s.readPortal(portal, fields, clock), before, nil
}

// places says when rows go that have so many before them, one for each row;
// without any, while there is no line, or when no rows are given.
func (p stored) places(r *LineRequest, before []int, ttl time.Duration) []Place {
	notBefore := later(p.now, r.NotBefore.Add(p.ahead))
	places := make([]Place, max(1, len(r.Codes)))
	shut := p.hold != nil || p.silence.active() || len(before) < len(r.Codes)
	var f forecast
	if !shut {
		f = p.forecast(p.now, budgetKey{r.Credential, r.Method, r.Batched}, r.Batch, r.PerSecond, ttl)
	}
	for i := range places {
		n := 0
		if i < len(before) {
			n = before[i]
		}
		if shut {
			places[i] = Place{Ask: notBefore, Expected: notBefore}
		} else {
			places[i] = f.place(notBefore, n, r.Ahead)
		}
		places[i].Ask, places[i].Expected = places[i].Ask.Add(-p.ahead), places[i].Expected.Add(-p.ahead)
	}
	return places
}

// tell notes when rows are to ask again: a row that does not ask loses its
// place some time later. The line stands until the last of them has.
func (s *Shared) tell(ctx context.Context, keys portalKeys, p stored, codes []string, places []Place) error {
	last := p.now
	args := make([]any, 1, 1+2*len(codes))
	for i, code := range codes {
		ask := places[i].Ask.Add(p.ahead)
		last = later(last, ask)
		args = append(args, code, ask.UnixMicro())
	}
	args[0] = (last.Sub(p.now) + seatKept + time.Minute).Milliseconds()
	return askScript.Run(ctx, s.cfg.Redis, []string{keys.line, keys.asks}, args...).Err()
}
