// Several processes, some of which die or freeze.

package signin

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// fleet is n processes that share the locks.
func fleet(w *world, n int) []*Caller {
	config := w.config()
	config.Locks = &fakeLocks{}
	callers := make([]*Caller, n)
	for i := range callers {
		callers[i] = w.callerOf(config)
	}
	return callers
}

func TestFleetRenewsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow["Refresh"] = 500 * time.Millisecond
		old := w.portal()
		var calls sync.WaitGroup
		for _, c := range fleet(w, 8) {
			for range 10 {
				calls.Go(func() {
					if err := register(c, old); err != nil {
						t.Error(err)
					}
				})
			}
		}
		calls.Wait()
		if w.see().trades != 1 || w.see().reuse != 0 {
			t.Errorf("%d trades, %d with a dead refresh token; want 1 and 0", w.see().trades, w.see().reuse)
		}
	})
}

// A portal that is refused is asked about once, and not by every process in turn.
func TestFleetIsRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.refresh = "another"
		old := w.portal()
		var calls sync.WaitGroup
		for _, c := range fleet(w, 8) {
			calls.Go(func() {
				if err := register(c, old); bitrix.ClassOf(err) == bitrix.Token || err == nil {
					t.Errorf("got %v", err)
				}
			})
		}
		calls.Wait()
		elapse(50 * time.Second)
		if w.see().reuse != 1 {
			t.Errorf("the refused token was tried %d times within a minute, want once", w.see().reuse)
		}
	})
}

// The others see the lock's holder gone when the lock ends, and no sooner.
func TestLockHolderKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locks := &fakeLocks{}
		if _, err := locks.Lock(t.Context(), "p1"); err != nil { // and dies
			t.Fatal(err)
		}
		config := w.config()
		config.Locks = locks
		c := w.callerOf(config)
		began := time.Now()
		err := register(c, w.portal())
		for err != nil {
			e := mustBe(t, err, bitrix.Transient, CodePending)
			if !e.Wait.Since.Equal(began) {
				t.Fatalf("hindered since %v, want since the beginning", e.Wait.Since.Sub(began))
			}
			elapse(wait(e))
			err = register(c, w.portal())
		}
		if took := time.Since(began); took < LockTime || took > LockTime+20*time.Second || w.see().trades != 1 {
			t.Errorf("renewed after %v with %d trades", took, w.see().trades)
		}
	})
}

// A waiting process uses what the holder brings, though the holder dies before
// it unlocks.
func TestWaiterSeesTheNewPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locks := &fakeLocks{}
		if _, err := locks.Lock(t.Context(), "p1"); err != nil {
			t.Fatal(err)
		}
		config := w.config()
		config.Locks = locks
		c := w.callerOf(config)
		old := w.portal()
		time.AfterFunc(500*time.Millisecond, func() { w.put(2, "https://"+oldHost, "valid-0", "refresh-1") })
		began := time.Now()
		if err := register(c, old); err != nil || w.see().trades != 0 || w.see().deadCalls != 1 {
			t.Errorf("%v, %d trades, %d dead calls", err, w.see().trades, w.see().deadCalls)
		}
		if time.Since(began) > lookEvery {
			t.Errorf("it was seen after %v", time.Since(began))
		}
	})
}

// A process that waits for the lock sees that the portal is held: its holder was
// told that there is no new pair.
func TestWaiterSeesTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locks := &fakeLocks{}
		unlock, err := locks.Lock(t.Context(), "p1")
		if err != nil {
			t.Fatal(err)
		}
		config := w.config()
		config.Locks = locks
		c := w.callerOf(config)
		time.AfterFunc(500*time.Millisecond, func() {
			w.change(func() { w.stored.Held = &portals.Hold{Reason: "invalid_grant"} })
			unlock()
		})
		_ = mustBe(t, register(c, w.portal()), bitrix.Transient, CodePending, "is being held")
		if w.see().calls["Refresh"] != 0 {
			t.Error("the server was asked for a portal that is held")
		}
		// One that was held before is another matter: a person tries it.
		elapse(5 * time.Second)
		if err := register(c, w.portal()); err != nil {
			t.Error(err)
		}
	})
}

// A process freezes with the lock, before it asks. When it wakes, the lock is
// long another's: it does not ask.
func TestFrozenBeforeAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		callers := fleet(w, 2)
		old := w.portal()
		frozen := &freezingStore{Store: fakeStore{w}, sleep: 3 * time.Minute}
		callers[0].Store = frozen
		_ = mustBe(t, register(callers[0], old), bitrix.Transient, CodePending)
		elapse(LockTime + time.Second)
		if err := register(callers[1], old); err != nil {
			t.Fatal(err)
		}
		elapse(3 * time.Minute) // it wakes
		if w.see().trades != 1 || w.see().reuse != 0 || w.see().calls["Refresh"] != 1 {
			t.Errorf("%d trades, %d with a dead refresh token", w.see().trades, w.see().reuse)
		}
		if p := w.portal(); p.Generation != 2 || w.see().notes != 0 {
			t.Errorf("generation %d with %d notes", p.Generation, w.see().notes)
		}
		if err := register(callers[0], old); err != nil {
			t.Error(err)
		}
	})
}

// freezingStore freezes its process once it has noted a renewal: contexts do not
// help there.
type freezingStore struct {
	Store
	sleep time.Duration
}

func (s *freezingStore) Renewing(ctx context.Context, id string, generation int64) (int, error) {
	n, err := s.Store.Renewing(ctx, id, generation)
	elapse(s.sleep)
	return n, err
}

// freezingAuth freezes its process around its first request.
type freezingAuth struct {
	Auth
	before, after time.Duration
}

func (s *freezingAuth) Refresh(ctx context.Context, refresh bitrix.Secret) (bitrix.Tokens, error) {
	before, after := s.before, s.after
	s.before, s.after = 0, 0
	elapse(before)
	tokens, err := s.Auth.Refresh(context.WithoutCancel(ctx), refresh)
	elapse(after)
	return tokens, err
}

// It freezes at the worst place, between its last look at the clock and the
// request: a dead refresh token is sent, which harms nobody.
func TestFrozenWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		callers := fleet(w, 2)
		old := w.portal()
		callers[0].Auth = &freezingAuth{Auth: fakeAuth{w}, before: 3 * time.Minute}
		_ = mustBe(t, register(callers[0], old), bitrix.Transient, CodePending)
		elapse(LockTime + time.Second)
		if err := register(callers[1], old); err != nil {
			t.Fatal(err)
		}
		elapse(3 * time.Minute)
		if err := register(callers[0], old); err != nil || w.see().trades != 1 || w.see().reuse != 1 {
			t.Errorf("%v, %d trades, %d with a dead refresh token", err, w.see().trades, w.see().reuse)
		}
		if p := w.portal(); p.Generation != 2 || w.see().notes != 0 {
			t.Errorf("generation %d with %d notes", p.Generation, w.see().notes)
		}
	})
}

// It freezes with the new pair in its hands. The other one is refused, and told
// why; then the frozen one wakes and stores the pair, and all is well.
func TestFrozenWithThePair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		callers := fleet(w, 2)
		old := w.portal()
		callers[0].Auth = &freezingAuth{Auth: fakeAuth{w}, after: 3 * time.Minute}
		_ = mustBe(t, register(callers[0], old), bitrix.Transient, CodePending)
		elapse(LockTime + time.Second)
		_ = mustBe(t, register(callers[1], old), bitrix.Blocked, "invalid_grant", "answer to an earlier renewal was lost")
		elapse(3 * time.Minute)
		for _, c := range callers {
			if err := register(c, w.portal()); err != nil {
				t.Error(err)
			}
		}
		if p := w.portal(); p.Generation != 2 || w.see().trades != 1 || w.see().notes != 0 {
			t.Errorf("generation %d, %d trades, %d notes", p.Generation, w.see().trades, w.see().notes)
		}
	})
}
