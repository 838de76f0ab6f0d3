// How often /readyz costs Redis anything.

package command

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks at the same time, or within a second, gets one answer.
func TestManyWhoAskCostOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, warned := 0, 0
		var wrong error
		r := newReadiness(func(ctx context.Context) error {
			looks++
			select {
			case <-time.After(readyWait / 2): // Redis is slow
				return wrong
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func(context.Context) []string { warned++; return []string{"soon"} })
		all := func() {
			t.Helper()
			leaves, leave := context.WithCancel(t.Context())
			var many sync.WaitGroup
			for i := range 50 {
				ctx := t.Context()
				if i == 0 {
					ctx = leaves // the one that asks may leave
				}
				many.Go(func() {
					if now := r.ask(ctx); !errors.Is(now.err, wrong) || (now.err == nil) != (len(now.warnings) == 1) {
						t.Errorf("%+v", now)
					}
				})
				synctest.Wait()
			}
			leave()
			many.Wait()
		}
		all()
		all() // within the second
		if looks != 1 || warned != 1 {
			t.Errorf("%d looks, %d for warnings", looks, warned)
		}
		<-time.After(readyFor)
		wrong = errors.New("Redis is full")
		all()
		if looks != 2 || warned != 1 {
			t.Errorf("%d looks, %d for warnings, after a second", looks, warned)
		}
	})
}

// Nobody waits longer for others than for an answer.
func TestWhoLeavesDoesNotWait(t *testing.T) {
	r := newReadiness(nil, nil)
	r.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if now := r.ask(ctx); !errors.Is(now.err, context.Canceled) {
		t.Errorf("%+v", now)
	}
}
