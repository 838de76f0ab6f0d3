// The gate of one process.

package ratelimit

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultParallel is how many requests may be on their way to one portal.
	DefaultParallel = 4
	// DefaultTicketTTL is when a ticket that is not given back expires: about
	// twice what a request may take.
	DefaultTicketTTL = 2 * time.Minute
	// mostParallel keeps a portal's state small.
	mostParallel = 1000
	// mostRows bounds what one request may ask leave for; portals take 50.
	mostRows = 1000
	// defaultMarkFor is how long a mark stands when the request does not say:
	// REQUEST_TIMEOUT, the 60 s that a portal may go on working, and 5 s.
	defaultMarkFor = 130 * time.Second
	mostMarkFor    = 24 * time.Hour
	// unmarkWithin bounds the cleaning up after marks could not be set.
	unmarkWithin = time.Second
)

// Config says how a [Local] works. The zero value is usable.
type Config struct {
	// Parallel is how many requests may be on their way to one portal.
	// Defaults to DefaultParallel. It is lowered for portals whose burst
	// is smaller.
	Parallel int
	// TicketTTL is how long after Acquire a ticket that was not given back
	// expires. It must be longer than any request takes. Defaults to
	// DefaultTicketTTL.
	TicketTTL time.Duration
	// Marks keeps the sending marks. Defaults to NewMemoryMarks(Now).
	Marks Marks
	// MaxRPS bounds the requests a second of the whole process, over all
	// portals. 0, negative or absurd: no bound.
	MaxRPS float64
	// Now tells the time. Defaults to time.Now. It is called while locks are held.
	Now func() time.Time
}

// Local is the gate of one process. It keeps its state in memory; what can no
// longer matter goes by itself. It needs no closing.
type Local struct {
	cfg    Config
	owner  string // names this process in sending marks
	ticket atomic.Uint64
	seed   maphash.Seed
	shards [shards]shard
	egress egress
}

var _ Gate = (*Local)(nil)

// shards is how many locks the portals share. Nothing waits under one.
const shards = 64

type shard struct {
	mu      sync.Mutex
	portals map[string]*portal
	tidy    tidy
}

// NewLocal returns a gate that knows no portal yet.
func NewLocal(cfg Config) *Local {
	if cfg.Parallel <= 0 {
		cfg.Parallel = DefaultParallel
	}
	cfg.Parallel = min(cfg.Parallel, mostParallel)
	if cfg.TicketTTL <= 0 {
		cfg.TicketTTL = DefaultTicketTTL
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Marks == nil {
		cfg.Marks = NewMemoryMarks(cfg.Now)
	}
	l := &Local{cfg: cfg, owner: rand.Text() + "-", seed: maphash.MakeSeed()}
	l.egress.limit(cfg.MaxRPS)
	for i := range l.shards {
		l.shards[i].portals = make(map[string]*portal)
	}
	return l
}

// Acquire implements [Gate].
func (l *Local) Acquire(ctx context.Context, r Request) (Decision, error) {
	if err := r.check(ctx); err != nil {
		return Decision{}, err
	}
	d := l.admit(&r)
	if d.Ticket.Rows == 0 {
		return d, nil
	}
	if len(r.Codes) > 0 {
		d, err := l.mark(ctx, &r, d)
		l.leaveLine(r.Portal, d.Ticket.Codes)
		return d, err
	}
	d.Go = make([]int, d.Ticket.Rows)
	for i := range d.Go {
		d.Go[i] = i
	}
	return d, nil
}

// admit takes what the next request of r needs, marks apart, and returns the
// ticket for as many rows as may go. Reason and Until are those of the rest.
func (l *Local) admit(r *Request) Decision {
	s := l.shard(r.Portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := l.cfg.Now()
	p := l.portal(s, now, r.Portal, r.Limits)
	key := budgetKey{r.Credential, r.Method, r.Batched}
	b := p.budget(now, key)
	v := p.look(now, b, r.Rows, l.cfg.TicketTTL)
	if v.rows > 0 {
		if at, ok := l.egress.take(now); !ok {
			v = shut(Egress, at)
		} else if !p.bucket.take(now) { // look saw a token
			l.egress.giveBack()
			v = shut(Rate, now.Add(time.Millisecond))
		}
	}
	if v.rows == 0 {
		return p.put(now, v)
	}
	t := Ticket{
		ID: l.ticket.Add(1), Portal: r.Portal, Credential: r.Credential, Method: r.Method,
		Batched: r.Batched, Rows: v.rows, At: now,
	}
	p.start(now, t.ID, key, v)
	if v.rows == r.Rows {
		return Decision{Ticket: t}
	}
	return l.rest(now, p, key, r.Rows-v.rows, v, t)
}

// rest says when and why the rows that a request leaves behind go.
func (l *Local) rest(now time.Time, p *portal, key budgetKey, rows int, v verdict, t Ticket) Decision {
	next := p.look(now, p.budget(now, key), rows, l.cfg.TicketTTL)
	if next.rows > 0 {
		next = shut(v.reason, now) // in another request, at once
	}
	d := p.refuse(next)
	if next.reason == Silent {
		d.Others = p.silence.parked(now)
	}
	d.Ticket = t
	return d
}

// put is the decision for a request of which no row may go. The first row that
// comes to a silent portal before its next probe is told to be that probe.
func (p *portal) put(now time.Time, v verdict) Decision {
	s := &p.silence
	if v.reason == Silent && s.probe == 0 {
		if s.booked {
			v.until = s.parked(now)
		}
		s.booked = true
	}
	d := p.refuse(v)
	if v.reason == Silent {
		d.Others = s.parked(now)
	}
	return d
}

// refuse is the decision that follows from a verdict by which no row may go.
func (p *portal) refuse(v verdict) Decision {
	d := Decision{Reason: v.reason, Until: v.until}
	switch {
	case v.reason == Held && p.hold != nil:
		h := *p.hold
		d.Hold = &h
	case v.reason == Silent:
		d.Hold = p.silence.hold()
	}
	return d
}

// Charge implements [Gate].
func (l *Local) Charge(ctx context.Context, r Request, requests int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("charge portal %q: %w", r.Portal, err)
	}
	if requests < 1 {
		return nil
	}
	s := l.shard(r.Portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := l.cfg.Now()
	l.egress.charge(now, requests)
	l.portal(s, now, r.Portal, r.Limits).bucket.charge(now, requests)
	return nil
}

// leaveLine takes rows that go out of the line.
func (l *Local) leaveLine(portal string, codes []string) {
	s := l.shard(portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.portals[portal]
	if p == nil || len(p.line.seats) == 0 {
		return
	}
	for _, code := range codes {
		p.line.leave(code)
	}
}

// Observe implements [Gate]. The ticket is given back even when an error says
// that its marks could not be cleared; they end by themselves.
func (l *Local) Observe(ctx context.Context, t Ticket, a Answer) error {
	err := a.check(t.Portal)
	if err != nil {
		a = Answer{Outcome: NoAnswer, Unsure: true}
	}
	l.land(t, a)
	if err != nil || a.Unsure || len(t.Codes) == 0 {
		return err
	}
	return l.cfg.Marks.Clear(ctx, t.Portal, t.Codes, l.ownerOf(t.ID))
}

// land takes a request's end into the portal's state. A ticket that is unknown,
// or no longer known, changes nothing.
func (l *Local) land(t Ticket, a Answer) {
	s := l.shard(t.Portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.portals[t.Portal]
	if p == nil {
		return
	}
	now := l.cfg.Now()
	p.advance(now, l.cfg.TicketTTL)
	i := p.find(t.ID)
	if i < 0 {
		return
	}
	if a.Outcome == NotSent {
		l.egress.giveBack()
	}
	p.observe(now, i, budgetKey{t.Credential, t.Method, t.Batched}, a)
}

// Place implements [Gate].
func (l *Local) Place(ctx context.Context, r LineRequest) ([]Place, error) {
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	s := l.shard(r.Portal)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := l.cfg.Now()
	p := l.portal(s, now, r.Portal, r.Limits)
	return p.place(now, &r, l.cfg.TicketTTL), nil
}

// Hold implements [Gate].
func (l *Local) Hold(_ context.Context, id string, h Hold) error {
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.portals[id]
	if p == nil {
		p = newPortal(id, Limits{}, l.cfg.Parallel)
		s.portals[id] = p
	}
	if h.Since.IsZero() {
		h.Since = l.cfg.Now()
		if p.hold != nil {
			h.Since = p.hold.Since
		}
	}
	p.hold = &h
	return nil
}

// Release implements [Gate]. Limits and costs that were learned stay.
func (l *Local) Release(_ context.Context, id string) error {
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.portals[id]; p != nil {
		p.release()
	}
	return nil
}

// ClearMark implements [Gate].
func (l *Local) ClearMark(ctx context.Context, portal, code string) error {
	return l.cfg.Marks.Clear(ctx, portal, []string{code}, "")
}

func (l *Local) shard(portal string) *shard {
	return &l.shards[maphash.String(l.seed, portal)%shards]
}

// portal returns a portal's state, made if need be and brought to now.
func (l *Local) portal(s *shard, now time.Time, id string, limits Limits) *portal {
	if s.tidy.due(now, len(s.portals)) {
		s.sweep(now, l.cfg.TicketTTL)
	}
	p := s.portals[id]
	if p == nil {
		p = newPortal(id, limits, l.cfg.Parallel)
		s.portals[id] = p
		return p
	}
	p.advance(now, l.cfg.TicketTTL)
	p.setLimits(now, limits, l.cfg.Parallel)
	return p
}

// sweep drops the state of portals that can no longer matter.
func (s *shard) sweep(now time.Time, ttl time.Duration) {
	for id, p := range s.portals {
		p.advance(now, ttl)
		if p.idle(now) {
			delete(s.portals, id)
		}
	}
	s.tidy.done(now, len(s.portals))
}

func (l *Local) ownerOf(ticket uint64) string {
	return l.owner + strconv.FormatUint(ticket, 36)
}
