// What became of one row.

package report

import (
	"time"

	"botfleet/bitrix"
)

// Status is what became of a row.
type Status string

const (
	Registered Status = "registered" // the portal has the bot; BotID says which
	Dead       Status = "dead"       // given up; Class and Error say why
	Refused    Status = "refused"    // never sent; Errors say why
	Duplicate  Status = "duplicate"  // Of another row, whose result holds
)

// How a registered row came to be registered.
const (
	Created   = "created"   // by this call
	Recovered = "recovered" // an earlier call of ours had done it, whose answer was lost
	Updated   = "updated"   // the bot was there and was brought up to date
	Skipped   = "skipped"   // registered before; nothing was sent
)

// Result is the outcome of one row. Fields that do not apply to its status are
// empty and left out of JSON.
type Result struct {
	Row    int    `json:"row"` // 1-based number of the row in its input
	ID     string `json:"id,omitempty"`
	Portal string `json:"portal"`
	Code   string `json:"code"`
	Status Status `json:"status"`
	// BotID, Existed and How belong to registered rows; Existed is then never nil.
	BotID    int64     `json:"bot_id,omitempty"`
	Existed  *bool     `json:"existed,omitempty"`
	How      string    `json:"how,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	QueuedAt time.Time `json:"queued_at,omitzero"`
	DoneAt   time.Time `json:"done_at,omitzero"`
	// Class and Error belong to dead rows.
	Class string   `json:"class,omitempty"`
	Error *Failure `json:"error,omitempty"`
	// Errors belong to refused rows.
	Errors []bitrix.Problem `json:"errors,omitempty"`
	// Of belongs to duplicates.
	Of *Ref `json:"of,omitempty"`
	// Retried is set when the row was dead before and was queued again.
	Retried *Retried `json:"retried,omitempty"`
}

// Retried says that somebody had a dead row queued again.
type Retried struct {
	Reason string    `json:"reason,omitempty"` // of the last time
	At     time.Time `json:"at"`               // the last time
	Times  int       `json:"times"`
}

// Failure is the last error of a dead row.
type Failure struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

// Ref names a row of a run.
type Ref struct {
	Run string `json:"run"`
	Row int    `json:"row"`
}

// known tells whether a status is one of ours.
func (s Status) known() bool {
	switch s {
	case Registered, Dead, Refused, Duplicate:
		return true
	}
	return false
}

// settled returns the result as all formats write it: times in UTC and whole
// milliseconds, and no registered row without Existed.
func (r Result) settled() Result {
	if r.Status == Registered && r.Existed == nil {
		r.Existed = new(bool)
	}
	r.QueuedAt = settledTime(r.QueuedAt)
	r.DoneAt = settledTime(r.DoneAt)
	if r.Retried != nil {
		retried := *r.Retried
		retried.At = settledTime(retried.At)
		r.Retried = &retried
	}
	return r
}

func settledTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}
