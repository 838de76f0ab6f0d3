// Portals that were renamed.

package signin

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
)

const newHost = "new.bitrix24.ru"

// renamed is a world whose portal has a valid token and another host.
func renamed(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.access, w.host = "expired-0", newHost
	w.movedTo[oldHost] = "https://" + newHost
	return w
}

func TestFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		meter := &counted{}
		config := w.config()
		config.Meter = meter
		c := w.callerOf(config)
		old := w.portal()
		w.slow["Move"] = 100 * time.Millisecond
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() {
				if err := register(c, old); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if w.portal().Name != newHost || w.see().calls["Move"] != 1 || meter.counts()["moved"] != 1 {
			t.Errorf("%s after %d moves (%v)", w.portal().Name, w.see().calls["Move"], meter.counts())
		}
		sent := len(w.see().sent)
		if err := register(c, old); err != nil || len(w.see().sent) != sent+1 {
			t.Errorf("%v: an old copy is called at its old host", err)
		}
	})
}

func TestMayNotFollow(t *testing.T) {
	for _, place := range []string{
		"http://" + newHost, "https://127.0.0.1", "https://[::ffff:10.0.0.1]", "https://evil.example.com",
		"https://bitrix24.ru.evil.example", "https://" + newHost + ":444", "https://intranet", "ftp://" + newHost, "https://",
	} {
		t.Run(place, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				w.movedTo[oldHost] = place
				e := mustBe(t, register(w.caller(), w.portal()), bitrix.Blocked, bitrix.CodePortalMoved)
				if len(w.see().sent) != 1 || w.see().calls["Move"] != 0 || w.portal().Name != oldHost || e.Status != 302 {
					t.Errorf("sent %v, %d moves, status %d", len(w.see().sent), w.see().calls["Move"], e.Status)
				}
			})
		})
	}
}

func TestDoesNotFollowInCircles(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(w *world)
		sent int
		word string
	}{
		"back":       {func(w *world) { w.movedTo[newHost] = "https://" + oldHost }, 2, "sends back"},
		"itself":     {func(w *world) { w.movedTo[oldHost] = "https://" + oldHost }, 1, "sends back"},
		"nowhere":    {func(w *world) { w.movedTo[oldHost] = "https://" }, 1, ""},
		"another's":  {func(w *world) { w.hosts[newHost] = true }, 1, "belongs to the stored portal"},
		"four names": {func(w *world) { chain(w, 4) }, 4, "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				test.set(w)
				c := w.caller()
				_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, bitrix.CodePortalMoved, test.word)
				if len(w.see().sent) != test.sent {
					t.Errorf("sent %v", w.see().sent)
				}
				if test.sent == 1 { // the next call asks the old host again
					_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, bitrix.CodePortalMoved)
					if sent := w.see().sent; sent[1] != sent[0] {
						t.Errorf("sent %v", sent)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		chain(w, 3)
		if err := register(w.caller(), w.portal()); err != nil || w.portal().Name != "n3.bitrix24.ru" {
			t.Errorf("three redirects: %v, at %s", err, w.portal().Name)
		}
	})
}

// chain redirects over n hosts.
func chain(w *world, n int) {
	from := oldHost
	for i := range n {
		to := fmt.Sprintf("n%d.bitrix24.ru", i+1)
		w.movedTo[from] = "https://" + to
		from = to
	}
}

// The new host is used even while the store does not answer, and stored as soon
// as it does.
func TestFollowsWithoutTheStore(t *testing.T) {
	for name, set := range map[string]func(*world){
		"refuses": func(w *world) { w.broken["Move"] = 20 },
		"hangs":   func(w *world) { w.slow["Move"] = 4 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				set(w)
				c := w.caller()
				old := w.portal()
				if err := register(c, old); err != nil || w.portal().Name != oldHost {
					t.Fatalf("%v, stored at %s", err, w.portal().Name)
				}
				elapse(time.Minute)
				if w.portal().Name != newHost {
					t.Error("the new host was not stored later")
				}
				sent := len(w.see().sent)
				if err := register(c, old); err != nil || len(w.see().sent) != sent+1 {
					t.Errorf("%v: a second call was sent to the old host", err)
				}
			})
		})
	}
}

// A token that expires on the way, and a portal that moves before it is renewed.
func TestMovedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		w.access = "valid-0"
		c := w.caller()
		if err := register(c, w.portal()); err != nil || w.portal().Name != newHost || w.see().trades != 1 {
			t.Errorf("%v at %s after %d trades", err, w.portal().Name, w.see().trades)
		}
	})
	synctest.Test(t, func(t *testing.T) { // its new host is not stored yet
		w := renamed(t)
		w.access = "valid-0"
		w.broken["Move"] = -1
		c := w.caller()
		if err := register(c, w.portal()); err != nil || w.portal().Name != newHost || w.see().trades != 1 {
			t.Errorf("%v at %s after %d trades", err, w.portal().Name, w.see().trades)
		}
		c.Close()
	})
}

func TestNewerCredentialsThanTheMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		old := w.portal()
		w.access = "valid-3"
		w.put(2, "https://third.bitrix24.ru", "valid-3", "refresh-3")
		if err := register(w.caller(), old); err != nil || w.see().sent[1] != "third.bitrix24.ru valid-3" {
			t.Errorf("%v, sent %v", err, w.see().sent)
		}
	})
}

func TestNoTimeToFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		w.slow["call"] = 50 * time.Second
		e := mustBe(t, register(w.caller(), w.portal()), bitrix.Transient, bitrix.CodePortalMoved)
		if wait(e) != 0 || len(w.see().sent) != 1 {
			t.Errorf("waits %v, sent %d", wait(e), len(w.see().sent))
		}
	})
}
