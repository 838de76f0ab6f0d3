// Portals that were renamed.

package signin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Any portal can redirect to any other: one that does not know the credentials
// does not become the portal's place, neither in the store nor here.
func TestStaysWhereItIsNotAccepted(t *testing.T) {
	answers := map[string]*bitrix.Error{
		"wrong credentials": {Class: bitrix.Blocked, Code: "INVALID_CREDENTIALS", Status: 401},
		"overload":          {Class: bitrix.Blocked, Code: "OVERLOAD_LIMIT", Status: 503},
		"no such page":      {Class: bitrix.Blocked, Code: bitrix.CodeNotJSON, Status: 404},
		"forbidden address": {Class: bitrix.Blocked, Code: bitrix.CodeForbiddenEndpoint},
		"no answer":         {Class: bitrix.Ambiguous, Code: bitrix.CodeTimeout},
		"not understood":    {Class: bitrix.Ambiguous, Code: bitrix.CodeUnexpectedResult, Status: 200},
		"nobody there":      {Class: bitrix.Transient, Code: bitrix.CodeRefused},
		"cut":               {Class: bitrix.Transient, Code: bitrix.CodeTruncated, Status: 401},
		"no JSON":           {Class: bitrix.Validation, Code: bitrix.CodeNotJSON, Status: 400},
		"a firewall":        {Class: bitrix.Limit, Code: bitrix.CodeNotJSON, Status: 429},
		"too fast":          {Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503},
		"no such method":    {Class: bitrix.Validation, Code: "ERROR_METHOD_NOT_FOUND", Status: 404},
		"unknown, 401":      {Class: bitrix.Validation, Code: "SOMETHING", Status: 401},
		"put off":           {Class: bitrix.Transient, Code: "SOMETHING", Status: 503, Wait: &bitrix.Wait{}},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				w.there[newHost] = answer
				code := answer.Code
				if answer.Class == bitrix.Blocked {
					code = bitrix.CodePortalMoved
				}
				c := w.caller()
				for n := range 2 {
					e, _ := errors.AsType[*bitrix.Error](register(c, w.portal()))
					switch {
					case e == nil || e.Code != code || e.Class != answer.Class || e.Status != answer.Status:
						t.Fatalf("got %+v", e)
					case e.Class == bitrix.Blocked && (e.Credential != w.portal().Credential || e.Host != oldHost ||
						!strings.Contains(e.Description, "the portal at "+oldHost+" answers with a redirect to "+newHost+", which does not accept these credentials ("+answer.Code+")")):
						t.Errorf("got %+v", e)
					}
					if sent := w.see().sent; len(sent) != 2*n+2 || sent[2*n] != oldHost+" expired-0" || sent[2*n+1] != newHost+" expired-0" {
						t.Errorf("sent %v", sent)
					}
				}
				if w.see().calls["Move"] != 0 || w.portal().Name != oldHost {
					t.Errorf("stored at %s after %d moves", w.portal().Name, w.see().calls["Move"])
				}
				w.change(func() { delete(w.movedTo, oldHost) })
				if err := register(c, w.portal()); err != nil {
					t.Errorf("at its old host again: %v", err)
				}
			})
		})
	}
}

// An error of the method itself shows that the portal knows its caller.
func TestMovesWhereItIsKnown(t *testing.T) {
	for name, answer := range map[string]*bitrix.Error{
		"refused bot":   {Class: bitrix.Validation, Code: "NAME_ERROR", Status: 400},
		"another's bot": {Class: bitrix.Conflict, Code: "APP_ID_ERROR", Status: 403},
		"worked enough": {Class: bitrix.Limit, Code: "OPERATION_TIME_LIMIT", Status: 429},
		"broken":        {Class: bitrix.Transient, Code: "INTERNAL_SERVER_ERROR", Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				w.there[newHost] = answer
				c := w.caller()
				old := w.portal()
				for range 2 {
					e, _ := errors.AsType[*bitrix.Error](register(c, old))
					if e == nil || e.Code != answer.Code || e.Class != answer.Class || e.Host != newHost {
						t.Fatalf("got %+v", e)
					}
				}
				if w.see().calls["Move"] != 1 || w.portal().Name != newHost || len(w.see().sent) != 3 {
					t.Errorf("at %s after %d moves, sent %v", w.portal().Name, w.see().calls["Move"], w.see().sent)
				}
			})
		})
	}
}

// A token that is refused where a redirect leads says nothing of the place yet:
// the repeated call does.
func TestTokenRefusedAway(t *testing.T) {
	token := &bitrix.Error{Class: bitrix.Token, Code: "expired_token", Status: 401}
	for name, test := range map[string]struct {
		set  func(w *world)
		code string
		word string
	}{
		"another portal":  {func(*world) {}, bitrix.CodePortalMoved, "issued just now"},
		"no refresh":      {func(w *world) { w.stored.Refresh = bitrix.Secret{} }, bitrix.CodePortalMoved, "no refresh token is known"},
		"refresh refused": {func(w *world) { w.refresh = "another" }, "invalid_grant", "have the application installed again"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				w.host, w.there[newHost] = oldHost, token // the authorization server knows nothing of a move
				test.set(w)
				c := w.caller()
				for range 2 {
					e := mustBe(t, register(c, w.portal()), bitrix.Blocked, test.code, test.word, "a redirect to "+newHost+", which does not accept")
					if e.Credential != w.portal().Credential || e.Host != oldHost {
						t.Errorf("got %+v", e)
					}
				}
				if w.portal().Name != oldHost || w.see().calls["Move"] != 0 || w.see().trades > 1 {
					t.Errorf("at %s after %d moves and %d trades", w.portal().Name, w.see().calls["Move"], w.see().trades)
				}
				w.change(func() { delete(w.movedTo, oldHost) })
				if k := c.known[w.stored.ID]; k != nil && k.portal.Name != oldHost {
					t.Errorf("remembered at %s", k.portal.Name)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // and it is not kept while the token cannot be renewed
		w := renamed(t)
		w.access, w.broken["Get"], w.broken["Refresh"] = "valid-0", 1, 1
		c := w.caller()
		old := w.portal()
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		if k := c.known[old.ID]; k.portal.Name != oldHost {
			t.Errorf("remembered at %s", k.portal.Name)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nor while it is being renewed
		w := renamed(t)
		w.access, w.slow["Refresh"] = "valid-0", 10*time.Second
		c := w.caller()
		old := w.portal()
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		if now := c.newest(&old); now.Name != oldHost {
			t.Errorf("remembered at %s", now.Name)
		}
	})
	synctest.Test(t, func(t *testing.T) { // renewed where it was, and accepted where it is
		w := renamed(t)
		w.access, w.host = "valid-0", oldHost
		if err := register(w.caller(), w.portal()); err != nil || w.portal().Name != newHost || w.see().trades != 1 {
			t.Errorf("%v at %s after %d trades", err, w.portal().Name, w.see().trades)
		}
		if charged := w.see().charged; !slices.Equal(charged, []int{1, 2, 3}) {
			t.Errorf("charged after %v calls of %v", charged, w.see().sent)
		}
	})
}

// The new host is a stored portal's: what was done there stands, and the next
// call is told.
func TestMovedToAStoredPortal(t *testing.T) {
	for name, broken := range map[string]int{"at once": 0, "when the store answers": 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := renamed(t)
				w.hosts[newHost], w.broken["Move"] = true, broken
				c := w.caller()
				if err := register(c, w.portal()); err != nil || w.portal().Name != oldHost {
					t.Fatalf("%v at %s", err, w.portal().Name)
				}
				elapse(40 * time.Second)
				e := mustBe(t, register(c, w.portal()), bitrix.Blocked, bitrix.CodePortalMoved, "belongs to the stored portal", newHost)
				if sent := w.see().sent; len(sent) != 3 || sent[2] != sent[0] || e.Credential != w.portal().Credential {
					t.Errorf("sent %v, %+v", sent, e)
				}
				elapse(barFor)
				w.change(func() { w.hosts[newHost] = false }) // the other one was removed
				if err := register(c, w.portal()); err != nil || w.portal().Name != newHost {
					t.Errorf("%v at %s", err, w.portal().Name)
				}
			})
		})
	}
}

// A batch is accepted when its envelope is, whatever becomes of its rows.
func TestBatchMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		var asked []string
		expiresMidway(w, &asked)
		w.access = "valid-0"
		w.broken["Get"] = -1 // no new token comes
		p := w.portal()
		ans, err := w.caller().RegisterBatch(t.Context(), &p, bots(3))
		if err != nil || ans.Rows[0].Err != nil || ans.Rows[2].Err == nil || w.portal().Name != newHost || w.see().calls["Move"] != 1 {
			t.Errorf("%v, %+v, at %s", err, ans.Rows, w.portal().Name)
		}
		if charged := w.see().charged; !slices.Equal(charged, []int{1}) {
			t.Errorf("charged %v", charged)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		w.there[newHost] = &bitrix.Error{Class: bitrix.Blocked, Code: "INVALID_CREDENTIALS", Status: 401}
		p := w.portal()
		_, err := w.caller().RegisterBatch(t.Context(), &p, bots(3))
		if mustBe(t, err, bitrix.Blocked, bitrix.CodePortalMoved, newHost, "INVALID_CREDENTIALS").Credential != p.Credential || w.see().calls["Move"] != 0 {
			t.Errorf("%v after %d moves", err, w.see().calls["Move"])
		}
	})
}

// The first request has its leave; each repeat is charged before it leaves.
func TestRepeatsAreCharged(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(w *world)
		charged []int
	}{
		"none":           {func(w *world) { w.access = "expired-0" }, nil},
		"renewed":        {func(*world) {}, []int{1}},
		"renamed":        {func(w *world) { w.access = "expired-0"; chain(w, 1) }, []int{1}},
		"renamed thrice": {func(w *world) { w.access = "expired-0"; chain(w, 3) }, []int{1, 2, 3}},
		"refused":        {func(w *world) { w.refresh = "another" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.set(w)
				_ = register(w.caller(), w.portal())
				if got := w.see().charged; !slices.Equal(got, test.charged) {
					t.Errorf("charged after %v calls, want %v", got, test.charged)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a token that is known to be refused is not sent: one request in all
		w := newWorld(t)
		w.broken["Refresh"] = 1
		c := w.caller()
		old := w.portal()
		e, _ := errors.AsType[*bitrix.Error](register(c, old))
		if e == nil {
			t.Fatal("no error")
		}
		elapse(time.Minute + time.Second)
		if err := register(c, old); err != nil || w.see().charged != nil || len(w.see().sent) != 2 {
			t.Errorf("%v, charged %v of %v", err, w.see().charged, w.see().sent)
		}
		w.change(func() { w.access = "other" })
		config := w.config()
		config.Charge = nil
		if err := register(w.callerOf(config), w.portal()); err != nil {
			t.Error(err)
		}
	})
}

func TestNewerCredentialsThanTheMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renamed(t)
		old := w.portal()
		w.access = "valid-3"
		w.put(2, "https://third.bitrix24.ru", "valid-3", "refresh-3")
		w.there[newHost] = &bitrix.Error{Class: bitrix.Validation, Code: "NAME_ERROR", Status: 400}
		c := w.caller()
		_ = mustBe(t, register(c, old), bitrix.Validation, "NAME_ERROR")
		if err := register(c, old); err != nil || w.see().sent[2] != "third.bitrix24.ru valid-3" {
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
