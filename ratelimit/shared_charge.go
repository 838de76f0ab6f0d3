// Counting requests that go without a ticket of their own.

package ratelimit

import (
	"context"
	"fmt"
)

// Charge implements [Gate]. A question that Redis is asked twice, because its
// answer was lost, may count twice.
func (s *Shared) Charge(ctx context.Context, r Request, requests int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("charge portal %q: %w", r.Portal, err)
	}
	if requests < 1 {
		return nil
	}
	s.egress.charge(s.now(), requests)
	args := append(s.base(r.Limits), min(requests, 2*highestBurst))
	if err := chargeScript.Run(ctx, s.cfg.Redis, []string{keysOf(r.Portal).gate}, args...).Err(); err != nil {
		return fmt.Errorf("charge portal %q: %w", r.Portal, err)
	}
	return nil
}
