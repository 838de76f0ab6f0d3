// The sweeper in the background.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	hintKey = "botfleet:{sweep}:hint"
	// lastKey holds when everything was last looked at, in Unix milliseconds: a
	// worker that takes over goes on from there.
	lastKey = "botfleet:{sweep}:last"
)

// Hint asks whichever worker sweeps to look at everything soon: something was
// lost, or may have been. It is heard within seconds, though not twice a minute.
func (s *Sweeper) Hint(ctx context.Context) error {
	if err := s.redis.Set(ctx, hintKey, "1", 0).Err(); err != nil {
		return fmt.Errorf("hint at the sweeper: %w", err)
	}
	return nil
}

// Run sweeps until ctx ends, whenever no other worker does.
func (s *Sweeper) Run(ctx context.Context) {
	for {
		l, err := s.take(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.WarnContext(ctx, "the sweeper does not reach Redis", "err", err)
		case l != nil:
			s.lead(ctx, l)
		}
		if !wait(ctx, s.takeEvery) {
			return
		}
	}
}

// lead sweeps until ctx ends or the lease is lost.
func (s *Sweeper) lead(ctx context.Context, l *lease) {
	ctx, stop := l.keep(ctx)
	defer stop()
	r := rhythm{Sweeper: s}
	for {
		do, err := r.due(ctx)
		if do != nil {
			_, err = s.pass(ctx, l, do)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.WarnContext(ctx, "sweeping was broken off", "err", err)
		}
		if !wait(ctx, s.tickEvery) {
			return
		}
	}
}

// wait waits for d, and reports whether ctx has not ended meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// rhythm says when what is to be done.
type rhythm struct {
	*Sweeper

	known bool      // when everything was last looked at has been read
	full  time.Time // when everything was last looked at, or tried to be
	tried time.Time // when the last try began
	quick time.Time // when the cheap part was
	hint  bool
	// archive is when the newest of the archive was last looked at.
	archive time.Time
	// left counts the passes in a row that left rows out.
	left int

	newcomers newcomers
}

// due returns what is to be done now, or nil.
func (r *rhythm) due(ctx context.Context) (part, error) {
	now := r.now()
	if !r.known {
		ms, err := r.redis.Get(ctx, lastKey).Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read when the sweeper last passed: %w", err)
		}
		r.known, r.full, r.tried = true, time.UnixMilli(ms), time.UnixMilli(ms)
	}
	err := r.redis.GetDel(ctx, hintKey).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look for a hint: %w", err)
	}
	r.hint = r.hint || err == nil
	met, err := r.newcomers.meet(ctx, r.Sweeper)
	if err != nil {
		return nil, err
	}
	if met {
		r.log.InfoContext(ctx, "Redis has started anew, or another server has taken its place: all rows are looked at")
	}
	r.hint = r.hint || met
	since := now.Sub(r.full)
	switch {
	case since >= r.every || since < 0 || r.hint && now.Sub(r.tried) >= r.quickly:
		// Noted before: if it fails it is tried again when the cheap part is due.
		r.full, r.tried, r.quick, r.hint = now.Add(r.quickly-r.every), now, now, false
		return r.everything, nil
	case now.Sub(r.quick) >= r.quickly:
		r.quick = now
		return r.cheap, nil
	}
	return nil, nil //nolint:nilnil // nothing is due
}

// everything is a full pass that is remembered, if it left no row out.
func (r *rhythm) everything(ctx context.Context, p *pass) error {
	began := r.now()
	if err := p.full(ctx); err != nil {
		return err
	}
	if p.troubleErr() != nil {
		r.full = r.leftOut(began)
		return nil //nolint:nilerr // the pass tells of it itself
	}
	r.full, r.left = began, 0
	if err := r.redis.Set(ctx, lastKey, began.UnixMilli(), 0).Err(); err != nil {
		return fmt.Errorf("note when the sweeper passed: %w", err)
	}
	again, err := r.newcomers.looked(ctx, r.Sweeper)
	r.hint = r.hint || again
	return err
}

// leftOut is what a pass that left rows out counts as when it began: it is made
// again after a minute, then after two, four and eight, as rows that nobody can see
// to must not have everything looked at all the time.
func (r *rhythm) leftOut(began time.Time) time.Time {
	again := min(r.quickly<<r.left, r.every)
	if again < r.every {
		r.left++
	}
	return began.Add(again - r.every)
}

// cheap is a quick pass. A queue's name that was lost hints at more, and so do
// more archived rows than it looks at.
func (r *rhythm) cheap(ctx context.Context, p *pass) error {
	err := p.quick(ctx)
	r.hint = r.hint || p.mended[Queue] > 0
	if err != nil {
		return err
	}
	began := r.now()
	if r.archive.IsZero() {
		r.archive = began.Add(-r.every)
	}
	more, err := p.archives(ctx, r.archive)
	if err == nil && p.troubleErr() == nil {
		r.archive = began
	}
	r.hint = r.hint || more
	return err
}
