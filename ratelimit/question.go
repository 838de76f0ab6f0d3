// What both gates check in what they are asked and told.

package ratelimit

import (
	"context"
	"fmt"
	"time"
)

// check refuses what cannot be asked, and brings Rows into range.
func (r *Request) check(ctx context.Context) error {
	r.Rows = max(1, r.Rows)
	if r.Rows > mostRows || len(r.Codes) > 0 && len(r.Codes) != r.Rows {
		return fmt.Errorf("ask leave for portal %q: %d rows with %d codes, at most %d",
			r.Portal, r.Rows, len(r.Codes), mostRows)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ask leave for portal %q: %w", r.Portal, err)
	}
	return nil
}

// markFor is how long the request's sending marks stand.
func (r *Request) markFor() time.Duration {
	if r.MarkFor <= 0 {
		return defaultMarkFor
	}
	return min(r.MarkFor, mostMarkFor)
}

// check refuses an answer whose outcome is unknown.
func (a *Answer) check(portal string) error {
	switch a.Outcome {
	case Answered, RateRefused, WorkRefused, NoAnswer, NotSent, BlockedByBX:
		return nil
	}
	return fmt.Errorf("give back a ticket of portal %q: unknown outcome %q", portal, a.Outcome)
}

// believed says that the answer tells an operating time that can be true.
func (a *Answer) believed() bool {
	return a.HasOperating && a.Operating >= 0 && a.Operating <= mostOperating
}

// check refuses rows that cannot stand in a line.
func (r *LineRequest) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ask for a place in the line of portal %q: %w", r.Portal, err)
	}
	if len(r.Codes) != len(r.Order) {
		return fmt.Errorf("ask for a place in the line of portal %q: %d codes with %d places",
			r.Portal, len(r.Codes), len(r.Order))
	}
	for _, order := range r.Order {
		if order < -mostOrder || order > mostOrder {
			return fmt.Errorf("ask for a place in the line of portal %q: place %d is beyond ±2^53", r.Portal, order)
		}
	}
	return nil
}

// mostOrder is the highest place in a line: what a Redis score holds exactly.
const mostOrder = 1 << 53
