// Closing a portal until somebody acts, and opening it again.

package ratelimit

import (
	"context"
	"fmt"
)

// Hold implements [Gate].
func (s *Shared) Hold(ctx context.Context, portal string, h Hold) error {
	return s.hold(ctx, "hold", portal, h)
}

// Release implements [Gate]. Limits and costs that were learned stay.
func (s *Shared) Release(ctx context.Context, portal string) error {
	return s.hold(ctx, "release", portal, Hold{})
}

func (s *Shared) hold(ctx context.Context, what, portal string, h Hold) error {
	args := append(s.base(Limits{}), what, micros(storable(h.Since)), max(0, h.Probes), h.Reason)
	if err := holdScript.Run(ctx, s.cfg.Redis, []string{keysOf(portal).gate}, args...).Err(); err != nil {
		return fmt.Errorf("%s portal %q: %w", what, portal, err)
	}
	return nil
}

// ClearMark implements [Gate].
func (s *Shared) ClearMark(ctx context.Context, portal, code string) error {
	if err := s.cfg.Redis.Del(ctx, markKeys(portal, []string{code})...).Err(); err != nil {
		return fmt.Errorf("clear the sending mark of %q on portal %q: %w", code, portal, err)
	}
	return nil
}
