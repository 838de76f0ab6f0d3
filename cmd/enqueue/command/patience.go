// Patience with a Redis that does not answer for a while.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

const (
	// redisPatience is for how long a follower asks a Redis again that does not
	// answer: a restart with a large dataset, or a failover, is over by then.
	redisPatience = 2 * time.Minute
	// The pauses between two questions grow from askAgainFirst to askAgainMost.
	askAgainFirst = 500 * time.Millisecond
	askAgainMost  = 5 * time.Second
)

// sinkError is an error of the results' output, which asking again does not mend.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// patient calls read until it ends otherwise than for want of an answer from Redis,
// or has had none for redisPatience. What read has done before it failed must be
// safe to do again. It tells note once that it waits, and when that is over.
func patient(ctx context.Context, note io.Writer, read func() error) error {
	var since time.Time
	for pause := askAgainFirst; ; pause = min(2*pause, askAgainMost) {
		err := read()
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx) // whatever Redis said of being broken off
		case err == nil && !since.IsZero():
			_, _ = fmt.Fprintln(note, "Redis answers again")
			return nil
		case !unanswered(err):
			return err
		case since.IsZero():
			since = time.Now()
			_, _ = fmt.Fprintln(note, "Redis does not answer; waiting")
		case time.Since(since) >= redisPatience:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// unanswered reports whether an error of reading a run is one of a Redis that is
// away, or just coming back, and not its answer.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, runs.ErrUnknownRun) || errors.Is(err, redis.ErrClosed) {
		return false
	}
	if _, ok := errors.AsType[sinkError](err); ok {
		return false
	}
	if _, ok := errors.AsType[redis.Error](err); !ok {
		return true
	}
	return redis.IsLoadingError(err) || redis.IsClusterDownError(err) || redis.IsTryAgainError(err) ||
		redis.IsMasterDownError(err) || redis.IsMaxClientsError(err)
}
