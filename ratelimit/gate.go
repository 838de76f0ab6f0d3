// Package ratelimit keeps the limits of portals: how many requests a second a
// portal takes, how many at once, how many seconds of work it does for one
// application in a window, when it is closed, and which CODEs are being
// registered on it at this moment.
//
// A [Gate] is asked before each request and told after each answer:
//
//	d, err := gate.Acquire(ctx, request)   // go for these rows, or wait until then, and why
//	… the request …
//	err = gate.Observe(ctx, d.Ticket, answer)
//
// [Local] is the gate of one process. Each portal's state is a few plain parts
// (a bucket for the request rate, budgets for operating time, closures, the line
// of those who wait) whose arithmetic stands in small functions without locks or
// clocks. [Shared] is the gate of a fleet: the same arithmetic in Redis, one
// script for each question. The package knows no HTTP and no queue.
package ratelimit

import (
	"context"
	"time"
)

// Limits are what a portal allows.
type Limits struct {
	// Rate is how many requests a second the portal's bucket drains.
	// 2 on standard plans, 5 on Enterprise: public REST limits page.
	Rate float64
	// Burst is how many requests the bucket holds. 50 on standard plans, 250 on
	// Enterprise: public REST limits page.
	Burst int
	// Headroom is the share of Rate and Burst left to other programs on the
	// same source address, 0 ≤ Headroom < 1.
	Headroom float64
	// Operating is how much work one method may do for one credential in
	// OperatingWindow. 480 s per 10 min: public REST limits page. 0 means that
	// the portal counts none.
	Operating       time.Duration
	OperatingWindow time.Duration
}

// Request asks leave for one HTTP request that carries Rows rows.
type Request struct {
	Portal     string // the portal's permanent id
	Limits     Limits
	Credential string // names the application or webhook whose operating time is spent; no secret
	Method     string // REST method that does the work, in lower case
	Batched    bool   // portals count batched calls apart from direct ones
	Rows       int    // how many rows want to go, at least 1
	// Codes names the bots the rows register, in lower case, one a row, so that
	// no CODE is on its way to one portal twice. Empty for calls that register
	// nothing.
	Codes []string
	// Order says where the rows stand in the portal's line: one number a row of
	// Codes, the smaller one first. Rows keep it for as long as they wait. The
	// microsecond at which a row was queued is such a number.
	Order []int64
	// MarkFor is how long a sending mark stands when no definite answer
	// clears it: the longest that the portal may still be working on the call.
	MarkFor time.Duration
}

// Reason says why rows may not go yet.
type Reason string

const (
	None     Reason = ""
	Rate     Reason = "rate"      // the portal's request rate
	InFlight Reason = "in flight" // as many requests at once as allowed are on their way
	Budget   Reason = "operating" // the operating time budget is spent
	Silent   Reason = "silent"    // the portal does not answer
	Refused  Reason = "refused"   // the portal refused for its limits all the same; closed for a while
	Marked   Reason = "sending"   // the same CODE is, or may still be, on its way
	Held     Reason = "held"      // a person or new credentials must release the portal
	Egress   Reason = "egress"    // the process's own limit on all its requests
)

// Decision is a gate's answer. Either Go names at least one row and Ticket is
// to be given back with [Gate.Observe], or nothing may go.
type Decision struct {
	Ticket Ticket
	Go     []int // indexes of the rows that go now, ascending
	// Until and Reason: when the rows that do not go should ask again, and why
	// not now; None when all go. Until is exact where the gate knows it. With
	// Reason InFlight it is when a request that is on its way is expected to
	// return, and so it is with Silent and Refused while a probe is on its way:
	// ask again sooner when a request of the portal returns. When some rows go it
	// may be now: the others may go at once in another request. With Reason Marked it is the first end of a mark; each
	// row's own is in Marked.
	Until  time.Time
	Reason Reason
	// Others is set with Reason Silent: when rows but the first should ask
	// again. A silent portal is probed with one row; to fetch the others each
	// time would be in vain.
	Others time.Time
	// Marked holds, for rows whose CODE bears another request's sending mark,
	// the end of that mark. Such rows are not in Go.
	Marked map[int]time.Time
	// Hold describes the hold when Reason is Held, and the failed probes when it is Silent.
	Hold *Hold
}

// Hold is a portal closed until somebody acts, or (Silent) while it does not answer.
type Hold struct {
	Reason string // code and text for a person, no secret
	Since  time.Time
	Probes int // failed probes in a row, for a silent portal
}

// Ticket is leave for one request. It expires by itself when it is not given back.
type Ticket struct {
	ID         uint64
	Portal     string
	Credential string
	Method     string
	Batched    bool
	Rows       int
	Codes      []string // of the rows that went
	At         time.Time
}

// MostOwed is how many requests a portal's rate may owe. A portal's own bucket
// owes at most what is on its way at once, so more would be a mistake, which is
// not to shut the portal for long.
const MostOwed = 1000

// MostRecent is how many open portals [Gate.Recent] tells of at most.
const MostRecent = 1000

// LineRequest asks where rows stand in the line of their portal.
type LineRequest struct {
	// Request names the rows by Codes and Order. Batched says how they will travel.
	Request
	Batch int // rows that each request will carry
	// PerSecond is how many rows a second the portal gets done with all its
	// requests on their way; 0 = not known, then the limits alone decide.
	PerSecond float64
	// Ahead is how many rows go before these without standing in the line.
	Ahead     int
	NotBefore time.Time
}

// Place is a row's place in the line of its portal.
type Place struct {
	// Ask is when the row is to ask again. A long wait ends a quarter early, so
	// that what was expected can be corrected on the way: a row asks some
	// log₄(wait) times.
	Ask      time.Time
	Expected time.Time // when it is expected to go
	Before   int       // rows that stand before it
	Binds    Reason    // what it waits for longest: Rate, Budget, InFlight, or None
}

// Outcome says how a request ended, as far as limits are concerned.
type Outcome string

const (
	Answered    Outcome = "answered"     // the portal answered, with a result or an error of its own
	RateRefused Outcome = "rate refused" // QUERY_LIMIT_EXCEEDED: refused before anything ran
	WorkRefused Outcome = "work refused" // OPERATION_TIME_LIMIT: refused before anything ran
	NoAnswer    Outcome = "no answer"    // transport failure, or no answer in time
	NotSent     Outcome = "not sent"     // the caller gave the request up before sending it
	BlockedByBX Outcome = "blocked"      // OVERLOAD_LIMIT, dead credentials, no plan, portal closed
)

// Answer is what is learned from a request's end.
type Answer struct {
	Outcome Outcome
	// Ran is how many rows the portal ran, successfully or not.
	Ran int
	// Operating is time.operating of the answer: the work this credential's
	// method has done in the window so far. Negative or absurd values are
	// ignored. HasOperating is false when the answer had none.
	HasOperating bool
	Operating    time.Duration
	ResetAt      time.Time // operating_reset_at; zero when absent
	// Unsure keeps the sending marks: the portal may still be working.
	Unsure bool
	// Code and Text of a Blocked outcome become the hold's reason.
	Code, Text string
}

// Gate keeps the limits of all portals. Its methods may be called from many
// goroutines. An error means that the gate could not be asked; nothing may go.
type Gate interface {
	// Acquire decides which rows of a request may go now. It does not wait.
	Acquire(ctx context.Context, r Request) (Decision, error)
	// Charge counts requests to a portal that go without a ticket of their own:
	// the repeats of a request that has one. They come out of the request rate of
	// the portal and of the process, which may owe some afterwards, at most
	// [MostOwed]; the next request goes when the debt has drained. Of r only
	// Portal and Limits count. Fewer than one request changes nothing.
	Charge(ctx context.Context, r Request, requests int) error
	// Observe gives a ticket back with what was learned, and clears its sending
	// marks unless the answer is unsure. A ticket that is given back twice, or
	// has expired, changes nothing. Give it a context that outlives the
	// request's: what is not given back blocks the portal until it expires.
	Observe(ctx context.Context, t Ticket, a Answer) error
	// Place puts rows that have to wait into the portal's line, where they keep
	// their place by Order until they go, and returns for each of them when to
	// ask again. Rows that wait for something of their own, like the end of a
	// mark, need no place. While the portal is held or silent there is no line:
	// the answer is NotBefore, or now. Without Codes nothing is put into the
	// line: the one place returned is that of a row with Ahead rows before it.
	Place(ctx context.Context, r LineRequest) ([]Place, error)
	// Hold closes a portal until Release. A zero Since means now, or, for a
	// portal that is held already, since it has been.
	Hold(ctx context.Context, portal string, h Hold) error
	// Release ends a portal's hold and forgets what closed it.
	Release(ctx context.Context, portal string) error
	// State returns what is known of a portal; false when that is nothing.
	State(ctx context.Context, portal string) (Snapshot, bool, error)
	// Recent returns the state of the portals that this process has asked for
	// lately, by id: all that are closed, and at most [MostRecent] others.
	Recent(ctx context.Context) ([]Snapshot, error)
	// ClearMark removes the sending mark of a CODE after a look has found the bot: its call is over.
	ClearMark(ctx context.Context, portal, code string) error
}
