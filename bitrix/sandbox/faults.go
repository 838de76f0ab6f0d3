// Faults: what goes wrong, when, how often, and how it is decided.

package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// FaultKind says what goes wrong.
type FaultKind string

const (
	// Refuse answers a call with an error code. It concerns single calls, those
	// inside a batch too; every other kind concerns the HTTP request.
	Refuse FaultKind = "refuse"
	// Reset breaks the connection with a TCP reset.
	Reset FaultKind = "reset"
	// Silence never answers, until the client leaves or the sandbox closes.
	Silence FaultKind = "silence"
	// Stall sends headers and half the body, then nothing more.
	Stall FaultKind = "stall"
	// Truncate sends half the body as if it were all: broken JSON in sound HTTP.
	Truncate FaultKind = "truncate"
	// Cut sends half the body and closes the connection.
	Cut FaultKind = "cut"
	// HTML answers with a page of nginx and Status.
	HTML FaultKind = "html"
	// Empty answers 200 (or Status) without a body.
	Empty FaultKind = "empty"
	// Huge answers with valid JSON of about 8 MB.
	Huge FaultKind = "huge"
	// Slow sends the body byte by byte, over Delay in all.
	Slow FaultKind = "slow"
	// DieMidway kills a batch after some of its commands: the answer is lost
	// with a reset, or with an HTML page when Status is set.
	DieMidway FaultKind = "die midway"
)

// When says when a fault strikes.
type When string

const (
	// Before the work: none is done.
	Before When = "before"
	// During the work: the answer is lost at once, the work goes on to its end.
	During When = "during"
	// After the work: it is done, its answer is lost.
	After When = "after"
)

// Fault is something that goes wrong on purpose.
type Fault struct {
	Kind FaultKind
	// When defaults to Before for Refuse, Reset, Silence and HTML, to After for
	// kinds that spoil an answer. Refuse knows no During, DieMidway no When.
	When When
	// Code is the error code of a Refuse, as the portal writes it; see [Codes].
	Code string
	// Status replaces the HTTP status: of the code for Refuse, 502 for HTML.
	Status int
	// Probability that a request (for Refuse, a call) is struck; 0 means always.
	// The decision depends on the sandbox's seed, the portal's name and the
	// number of the request alone.
	Probability float64
	// Count ends the fault after so many strikes; 0 means never.
	Count int
	// Delayed and For limit it to a time: from Delayed after it was injected,
	// for For (0 means for ever). Both are scaled.
	Delayed, For time.Duration
	// Methods limits it to these REST methods; empty means all. All kinds but
	// Refuse look at the method of the HTTP request, which may be batch. Token
	// requests for the portal are struck only by faults that name "oauth/token";
	// what is done there is the trade, and a fault After it loses the new pair.
	Methods []string
	// Delay is how long the request waits before it is struck; for Slow, how
	// long the body takes (default 10 s). Scaled.
	Delay time.Duration
	// Commands is after how many commands DieMidway strikes; 0 lets the seed choose.
	Commands int
}

// check finds what cannot be meant.
func (f Fault) check() error {
	kinds := []FaultKind{Refuse, Reset, Silence, Stall, Truncate, Cut, HTML, Empty, Huge, Slow, DieMidway}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	case f.Kind == Refuse && f.Code == "":
		return errors.New("a fault of kind refuse needs a code")
	case f.Kind == Refuse && f.When == During:
		return errors.New("a fault of kind refuse cannot strike during the work")
	case f.When != "" && f.When != Before && f.When != During && f.When != After:
		return fmt.Errorf("unknown time of fault %q", f.When)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability of fault %v is not between 0 and 1", f.Probability)
	case f.Count < 0 || f.Delayed < 0 || f.For < 0 || f.Delay < 0 || f.Commands < 0:
		return errors.New("negative bound of fault")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status of fault %d is not between 200 and 599", f.Status)
	}
	return nil
}

// armed is a fault at work on one portal.
type armed struct {
	Fault
	index       int
	from, until time.Time // until zero: for ever
	strikes     int
}

func (f Fault) arm(now time.Time, scale float64, index int) *armed {
	if f.When == "" {
		f.When = After
		switch f.Kind {
		case Refuse, Reset, Silence, HTML:
			f.When = Before
		default: // the rest strike an answer
		}
	}
	if f.Kind == DieMidway {
		f.When = After
	}
	if f.Kind == Slow && f.Delay == 0 {
		f.Delay = 10 * time.Second
	}
	f.Delay = scaled(f.Delay, scale)
	f.Methods = slices.Clone(f.Methods)
	for i, m := range f.Methods {
		f.Methods[i] = strings.ToLower(m)
	}
	a := &armed{Fault: f, index: index, from: now.Add(scaled(f.Delayed, scale))}
	if f.For > 0 {
		a.until = a.from.Add(scaled(f.For, scale))
	}
	return a
}

// strikesNow decides one request or call, and counts the strike.
func (a *armed) strikesNow(box *Sandbox, portal, method string, seq uint64, now time.Time) bool {
	switch {
	case a.Count > 0 && a.strikes >= a.Count,
		now.Before(a.from),
		!a.until.IsZero() && !now.Before(a.until),
		len(a.Methods) > 0 && !slices.Contains(a.Methods, method),
		a.Probability > 0 && chance(box.opts.seed, portal, seq, a.index) >= a.Probability:
		return false
	}
	a.strikes++
	return true
}

// refusal finds the Refuse fault that strikes a call, if one does.
func (st *PortalState) refusal(method string) *Fault {
	st.mu.Lock()
	defer st.mu.Unlock()
	seq := st.calls
	st.calls++
	return st.strike(method, seq, func(k FaultKind) bool { return k == Refuse })
}

// disturbance finds the fault that strikes an HTTP request, if one does. The
// caller holds the portal's lock.
func (st *PortalState) disturbance(method string, seq uint64) *Fault {
	return st.strike(method, seq, func(k FaultKind) bool {
		return k != Refuse && (k != DieMidway || method == "batch")
	})
}

func (st *PortalState) strike(method string, seq uint64, concerns func(FaultKind) bool) *Fault {
	if len(st.faults) == 0 {
		return nil
	}
	now := st.box.now()
	for _, a := range st.faults {
		if concerns(a.Kind) && a.strikesNow(st.box, st.cfg.Name, method, seq, now) {
			st.seen.stats.Faults[a.Kind]++
			f := a.Fault
			return &f
		}
	}
	return nil
}

// failure is the error answer of a Refuse.
func (f *Fault) failure(d Dialect) *failure {
	out := d.fail(f.Code)
	if f.Status != 0 {
		out.status = f.Status
	}
	return out
}

// chance is a number in [0,1) that depends on its arguments alone.
func chance(seed uint64, portal string, seq uint64, index int) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(portal))                                                // a hash takes everything
	x := h.Sum64() ^ seed*0x9E3779B97F4A7C15 ^ uint64(index+2)*0xD1B54A32D192ED03 //nolint:gosec // index is -1 or more
	x += seq * 0xBF58476D1CE4E5B9
	// Mixing as in SplitMix64, so that neighbouring numbers decide apart.
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}
