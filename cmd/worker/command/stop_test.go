// How long a stop may take.

package command

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A stop that never ends, as with a Redis that is away: the worker ends in time all
// the same, and a second signal ends it before.
func TestAStopThatHangs(t *testing.T) {
	const within = time.Minute
	for _, c := range []struct {
		name  string
		alone bool          // it stops by itself: no signal has told it to
		after time.Duration // of a signal; 0: there is none
		want  error
		took  time.Duration
	}{
		{"alone", false, 0, errLate, within},
		{"the same signal twice", false, sameSignal / 2, errLate, within},
		{"a second signal", false, 10 * time.Second, errKilled, 10 * time.Second},
		{"by itself, with a first signal", true, 10 * time.Second, errLate, within},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals, hang := make(chan os.Signal, 1), make(chan struct{})
				defer close(hang)
				if c.after > 0 {
					time.AfterFunc(c.after, func() { signals <- syscall.SIGTERM })
				}
				began := time.Now()
				first := began
				if c.alone {
					first = time.Time{}
				}
				err := stopOrKill(func() { <-hang }, signals, first, within)
				if took := time.Since(began); !errors.Is(err, c.want) || took != c.took {
					t.Errorf("%v after %v; want %v after %v", err, took, c.want, c.took)
				}
			})
		})
	}
}
