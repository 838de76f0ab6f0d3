// Verdicts as asynq understands them.

package tasks

import (
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// Error makes a postponement an error, which is how asynq takes a task back.
// The text stays with the task in the dashboard.
func (l *Later) Error() string {
	return fmt.Sprintf("%s, until %s", l.Reason, l.Until.UTC().Format("15:04:05 UTC"))
}

// archive is the error that sends a task into asynq's archive.
func archive(reason string) error { return fmt.Errorf("%s: %w", reason, asynq.SkipRetry) }

// IsFailure says whether a handler's error counts as a failed attempt: it is
// asynq's Config.IsFailure.
func IsFailure(err error) bool {
	if l, ok := errors.AsType[*Later](err); ok {
		return l.Attempt
	}
	return err != nil
}

// RetryDelay is asynq's Config.RetryDelayFunc: until the time that the verdict
// names, or the whole second after it (before it if the task may come early).
func RetryDelay(now func() time.Time) asynq.RetryDelayFunc {
	return func(n int, err error, _ *asynq.Task) time.Duration {
		at := now()
		until := at.Add(backoff(n+1, draw()))
		if l, ok := errors.AsType[*Later](err); ok {
			until = l.Until
			if l.Early {
				until = until.Truncate(time.Second)
			}
		}
		return max(wholeSecond(until).Sub(at), 0)
	}
}

// wholeSecond is the first whole second that is not before a time: asynq cuts
// due times to whole seconds.
func wholeSecond(at time.Time) time.Time {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		return whole.Add(time.Second)
	}
	return at
}
