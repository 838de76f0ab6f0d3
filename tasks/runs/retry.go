// Dead rows that somebody has queued again, and why.

package runs

import (
	"bytes"
	"encoding/json"
	"time"
)

// Retried says that a dead row was queued again. It goes with the row from then
// on: into its outcome, and from there to its next life.
type Retried struct {
	At     time.Time `json:"at"` // the last time
	Times  int       `json:"times"`
	Reason string    `json:"reason,omitempty"` // of the last time; may be empty
}

// MarshalJSON writes the object without braces inside, by which the scripts find
// its end.
func (r Retried) MarshalJSON() ([]byte, error) {
	type plain Retried
	b, err := json.Marshal(plain(r))
	if err != nil {
		return nil, err
	}
	inner := b[1 : len(b)-1]
	inner = bytes.ReplaceAll(inner, []byte("{"), []byte(`\u007b`))
	inner = bytes.ReplaceAll(inner, []byte("}"), []byte(`\u007d`))
	return append(append([]byte{'{'}, inner...), '}'), nil
}

// Retrying returns the same store for somebody who queues dead rows again: each
// dead row that Add makes wait anew is noted as retried now, for that reason.
func (s *Store) Retrying(reason string) *Store {
	again := *s
	again.retry = &reason
	return &again
}

// retryNote is what the add script puts into dead rows that come to wait anew:
// a [Retried] whose Times the script counts on from the row's own. It is empty
// for a store that is not retrying.
func (s *Store) retryNote() (string, error) {
	if s.retry == nil {
		return "", nil
	}
	b, err := json.Marshal(Retried{At: s.now().UTC().Truncate(time.Millisecond), Times: 1, Reason: *s.retry})
	return string(b), err
}
