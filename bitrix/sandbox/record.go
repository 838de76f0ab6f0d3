// What a portal has seen: counters, a bounded log, and rules that were broken.

package sandbox

import (
	"maps"
	"sort"
	"strconv"
	"time"
)

// RequestLog is one HTTP request as the portal saw it. It holds no secret.
type RequestLog struct {
	Seq        uint64 // of the portal, from 0
	At         time.Time
	Duration   time.Duration
	Method     string
	Credential string // "webhook of user 1", "application x"; empty when unknown
	Commands   int    // of a batch
	Status     int    // 0 when no answer was given
	Code       string // of an error answer
	Fault      FaultKind
	UserAgent  string
}

// ViolationKind names a rule of good behaviour towards portals.
type ViolationKind string

const (
	OverRate      ViolationKind = "over rate"      // refused with QUERY_LIMIT_EXCEEDED
	OverOperating ViolationKind = "over operating" // refused with OPERATION_TIME_LIMIT
	SameCode      ViolationKind = "same code"      // a CODE was sent while its registration was being worked on
	DuplicateBot  ViolationKind = "duplicate bot"  // a second bot with one CODE was made

	// DeadRefresh is the use of a refresh token that had been traded already. One
	// more try is allowed when the answer to the trade was lost.
	DeadRefresh ViolationKind = "dead refresh token"
	// LeakedClientSecret is a client_secret anywhere but at the authorization server.
	LeakedClientSecret ViolationKind = "leaked client_secret"
	// StraySecret is any other secret at someone it is not for: a webhook or an
	// access token at another portal, a refresh token at a portal, an
	// application_token or a webhook at the authorization server, anything at a
	// host that is neither. Secrets shorter than eight characters are not looked
	// for.
	StraySecret ViolationKind = "stray secret"
)

// Violation is one rule broken.
type Violation struct {
	At         time.Time
	Kind       ViolationKind
	Method     string
	Credential string
	Bot        string // CODE, when one is concerned
	Host       string // that was asked; the portal's name where it does not matter
	Secret     string // what kind of secret and whose, when one is concerned
}

// Stats are the counters of a portal, or summed over a sandbox.
type Stats struct {
	Requests       int            // HTTP requests that reached the portal
	Batches        int            // of them
	Methods        map[string]int // calls by method, those inside batches included
	Errors         map[string]int // failed calls by code, those inside batches included
	Statuses       map[int]int    // answers by HTTP status
	Faults         map[FaultKind]int
	BotsCreated    int
	BotsReturned   int // registrations answered with a bot that existed
	DuplicateCodes int // bots made although their CODE was taken
	Violations     int
	// MaxConcurrent is the most requests in work at once; over a sandbox, that
	// of its busiest portal.
	MaxConcurrent int
	// MaxLevel is the fullest that a request bucket has been.
	MaxLevel float64
}

func newStats() Stats {
	return Stats{Methods: map[string]int{}, Errors: map[string]int{}, Statuses: map[int]int{}, Faults: map[FaultKind]int{}}
}

// add sums two portals' counters.
func (s *Stats) add(o Stats) {
	s.Requests += o.Requests
	s.Batches += o.Batches
	sum(s.Methods, o.Methods)
	sum(s.Errors, o.Errors)
	sum(s.Statuses, o.Statuses)
	sum(s.Faults, o.Faults)
	s.BotsCreated += o.BotsCreated
	s.BotsReturned += o.BotsReturned
	s.DuplicateCodes += o.DuplicateCodes
	s.Violations += o.Violations
	s.MaxConcurrent = max(s.MaxConcurrent, o.MaxConcurrent)
	s.MaxLevel = max(s.MaxLevel, o.MaxLevel)
}

func sum[K comparable](into, from map[K]int) {
	for k, n := range from {
		into[k] += n
	}
}

// maxKinds bounds counters by name: names of methods and codes come from outside.
const maxKinds = 256

func bump(m map[string]int, key string) {
	if _, ok := m[key]; !ok && len(m) >= maxKinds {
		key = "other"
	}
	m[key]++
}

// ring keeps the last entries.
type ring[T any] struct {
	items []T
	size  int
	next  int
}

func (r *ring[T]) add(v T) {
	switch {
	case r.size <= 0:
	case len(r.items) < r.size:
		r.items = append(r.items, v)
	default:
		r.items[r.next] = v
		r.next = (r.next + 1) % r.size
	}
}

// all copies the entries, oldest first.
func (r *ring[T]) all() []T {
	return append(append(make([]T, 0, len(r.items)), r.items[r.next:]...), r.items[:r.next]...)
}

// record is what one portal has seen. The portal's lock guards it.
type record struct {
	stats                         Stats
	inWork                        int
	created, returned, duplicates int
	log                           ring[RequestLog]
	violations                    ring[Violation]
}

func newRecord(size int) record {
	return record{stats: newStats(), log: ring[RequestLog]{size: size}, violations: ring[Violation]{size: size}}
}

func (r *record) violate(v Violation) {
	r.stats.Violations++
	r.violations.add(v)
}

// note records a violation.
func (st *PortalState) note(v Violation) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seen.violate(v)
}

// count counts a call; code is empty when it succeeded.
func (st *PortalState) count(method, code string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, known := lookupMethod(method); !known {
		method = "unknown"
	}
	st.seen.stats.Methods[method]++
	if code != "" {
		bump(st.seen.stats.Errors, code)
	}
}

// Stats returns the portal's counters so far.
func (st *PortalState) Stats() Stats {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.seen.stats
	s.BotsCreated, s.BotsReturned, s.DuplicateCodes = st.seen.created, st.seen.returned, st.seen.duplicates
	s.Methods, s.Errors, s.Statuses, s.Faults = maps.Clone(s.Methods), maps.Clone(s.Errors), maps.Clone(s.Statuses), maps.Clone(s.Faults)
	return s
}

// Requests returns the last requests that are over, in the order they ended. A
// request that a fault keeps hanging is not among them.
func (st *PortalState) Requests() []RequestLog {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.seen.log.all()
}

// Violations returns the last rules broken, oldest first.
func (st *PortalState) Violations() []Violation {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := st.seen.violations.all()
	for i := range out {
		if out[i].Host == "" {
			out[i].Host = st.name
		}
	}
	return out
}

// Bots returns the portal's bots by ascending id.
func (st *PortalState) Bots() []Bot {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make([]Bot, 0, len(st.bots.order))
	for _, id := range st.bots.order {
		out = append(out, *st.bots.byID[id])
	}
	return out
}

// BotsByCode counts bots per CODE, folded to lower case.
func (st *PortalState) BotsByCode() map[string]int {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make(map[string]int, len(st.bots.byCode))
	for code, same := range st.bots.byCode {
		out[code] = len(same)
	}
	return out
}

// Handlers returns the handler URLs bound for an application, by the names of
// their parameters (EVENT_MESSAGE_ADD, …); nil when it has none.
func (st *PortalState) Handlers(app string) map[string]string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return maps.Clone(st.bound[app])
}

// Applications returns the ids of applications that have handlers, sorted.
func (st *PortalState) Applications() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make([]string, 0, len(st.bound))
	for app := range st.bound {
		out = append(out, app)
	}
	sort.Strings(out)
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }
