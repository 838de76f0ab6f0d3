// The gate of a fleet: what every worker asks, in Redis.

package ratelimit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// DefaultEgress names the source address of workers that give no other.
const DefaultEgress = "default"

// longestEgress bounds a name that becomes part of a portal's state.
const longestEgress = 200

// SharedConfig says how a [Shared] works.
type SharedConfig struct {
	// Redis keeps the state: Redis 6.2 or later, a cluster, or what speaks its
	// protocol. The gate does not close it.
	Redis redis.UniversalClient
	// Parallel is how many requests of all workers together may be on their
	// way to one portal. Defaults to DefaultParallel. It is lowered for
	// portals whose burst is smaller. All workers give the same.
	Parallel int
	// TicketTTL is how long after Acquire a ticket that was not given back
	// expires. It must be longer than any request takes. Defaults to
	// DefaultTicketTTL.
	TicketTTL time.Duration
	// Egress names the source address that portals see, which they count
	// requests by. Workers behind one address give one name. Defaults to
	// DefaultEgress.
	Egress string
	// MaxRPS bounds the requests a second of this process, over all portals.
	// 0, negative or absurd: no bound.
	MaxRPS float64
	// Now replaces Redis' clock, for tests and rehearsals.
	Now func() time.Time
}

// Shared is the gate of a fleet: all workers that share a Redis share its
// state, which outlives them. It decides as [Local] does, with one round trip
// before a request and one after it. What can no longer matter expires.
//
// Time is Redis' own. If its clock is set back, a portal's time stands still
// for that moment and goes on from there; if it is set forward, as after the
// loss of all data, at most one burst goes too early for each portal.
//
// It needs no closing.
type Shared struct {
	cfg    SharedConfig
	owner  string // names this process in sending marks
	ticket atomic.Uint64
	egress egress
	recent recent
}

var _ Gate = (*Shared)(nil)

// NewShared returns a gate whose state is in cfg.Redis.
func NewShared(cfg SharedConfig) *Shared {
	if cfg.Parallel <= 0 {
		cfg.Parallel = DefaultParallel
	}
	cfg.Parallel = min(cfg.Parallel, mostParallel)
	if cfg.TicketTTL <= 0 {
		cfg.TicketTTL = DefaultTicketTTL
	}
	cfg.TicketTTL = min(cfg.TicketTTL, mostTicketTTL)
	if cfg.Egress == "" {
		cfg.Egress = DefaultEgress
	}
	if len(cfg.Egress) > longestEgress {
		cfg.Egress = hashed(cfg.Egress)
	}
	s := &Shared{cfg: cfg, owner: rand.Text() + "-"}
	s.ticket.Store(randomNumber())
	s.egress.limit(cfg.MaxRPS)
	return s
}

// mostTicketTTL keeps a portal's state from standing for ever.
const mostTicketTTL = 24 * time.Hour

// ticketBits is the size of a ticket's id: what Lua's numbers hold exactly.
const ticketBits = 53

func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}

// newTicket is an id that no other process gives: each begins counting at a
// random number. It is known before Redis is asked, so that the script tells a
// repeated question from a new one.
func (s *Shared) newTicket() uint64 {
	for {
		if id := s.ticket.Add(1) & (1<<ticketBits - 1); id != 0 {
			return id
		}
	}
}

func (s *Shared) ownerOf(ticket uint64) string {
	return s.owner + strconv.FormatUint(ticket, 36)
}

// now is the process's own clock, for what concerns the process alone.
func (s *Shared) now() time.Time {
	if s.cfg.Now != nil {
		return s.cfg.Now()
	}
	return time.Now()
}

// base are the arguments that all scripts begin with.
func (s *Shared) base(l Limits) []any {
	now := ""
	if s.cfg.Now != nil {
		now = micros(s.cfg.Now().UnixMicro())
	}
	return []any{
		now, micros(s.cfg.TicketTTL.Microseconds()), s.cfg.Egress,
		newPlan(l, s.cfg.Parallel).text(s.cfg.TicketTTL),
	}
}

func micros(n int64) string { return strconv.FormatInt(n, 10) }

// Acquire implements [Gate].
func (s *Shared) Acquire(ctx context.Context, r Request) (Decision, error) {
	if err := r.check(ctx); err != nil {
		return Decision{}, err
	}
	if at, ok := s.egress.take(s.now()); !ok {
		return Decision{Reason: Egress, Until: at}, nil
	}
	t := Ticket{
		ID: s.newTicket(), Portal: r.Portal, Credential: r.Credential, Method: r.Method,
		Batched: r.Batched, At: s.now(),
	}
	d, err := s.acquire(ctx, &r, &t)
	if err != nil {
		s.egress.giveBack()
		s.takeBack(ctx, t, r.Codes)
		return Decision{}, fmt.Errorf("ask leave for portal %q: %w", r.Portal, err)
	}
	if len(d.Go) == 0 {
		s.egress.giveBack()
	} else {
		t.Rows = len(d.Go)
		if len(r.Codes) > 0 {
			for _, row := range d.Go {
				t.Codes = append(t.Codes, r.Codes[row])
			}
		}
		d.Ticket = t
	}
	s.recent.note(t.At, r.Portal, d.Reason)
	return d, nil
}

func (s *Shared) acquire(ctx context.Context, r *Request, t *Ticket) (Decision, error) {
	keys := keysOf(r.Portal)
	names := append([]string{keys.gate, keys.line, keys.asks}, markKeys(r.Portal, r.Codes)...)
	args := append(s.base(r.Limits),
		t.ID, budgetKey{r.Credential, r.Method, r.Batched}.field(), r.Rows,
		s.ownerOf(t.ID), micros(r.markFor().Microseconds()))
	for _, code := range r.Codes {
		args = append(args, code)
	}
	reply, err := acquireScript.Run(ctx, s.cfg.Redis, names, args...).Slice()
	if err != nil {
		return Decision{}, err
	}
	return readDecision(reply, r.Rows)
}

// takeBack gives back, as far as possible, what a request took whose answer was
// lost. The caller's context may be what ended, so it has a bound of its own.
func (s *Shared) takeBack(ctx context.Context, t Ticket, codes []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkWithin)
	defer cancel()
	t.Codes = codes
	// What is not given back expires by itself; the error that matters is the first.
	_, _ = s.observe(ctx, t, Answer{Outcome: NotSent})
}

// Observe implements [Gate].
func (s *Shared) Observe(ctx context.Context, t Ticket, a Answer) error {
	unknown := a.check(t.Portal)
	if unknown != nil {
		a = Answer{Outcome: NoAnswer, Unsure: true}
	}
	landed, err := s.observe(ctx, t, a)
	if err != nil {
		err = fmt.Errorf("give back a ticket of portal %q: %w", t.Portal, err)
	}
	if landed && a.Outcome == NotSent {
		s.egress.giveBack()
	}
	return errors.Join(unknown, err)
}

// observe says whether the ticket was still out.
func (s *Shared) observe(ctx context.Context, t Ticket, a Answer) (bool, error) {
	names := []string{keysOf(t.Portal).gate}
	if !a.Unsure {
		names = append(names, markKeys(t.Portal, t.Codes)...)
	}
	operating := ""
	if a.believed() {
		operating = micros(a.Operating.Microseconds())
	}
	args := append(s.base(Limits{}),
		t.ID, budgetKey{t.Credential, t.Method, t.Batched}.field(), string(a.Outcome), max(0, min(a.Ran, mostRows)),
		operating, micros(storable(a.ResetAt)), holdReason(a.Code, a.Text), s.ownerOf(t.ID))
	n, err := observeScript.Run(ctx, s.cfg.Redis, names, args...).Int()
	return n == 1, err
}

// storable is a time in microseconds that a script reckons with exactly; one
// that cannot be true is none.
func storable(t time.Time) int64 {
	if t.Year() < 1971 || t.Year() > 2200 {
		return 0
	}
	return t.UnixMicro()
}
