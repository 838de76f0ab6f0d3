// What becomes of new pairs.

package signin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
)

func TestClientEndpoint(t *testing.T) {
	for name, test := range map[string]struct {
		endpoint string
		taken    bool   // the host belongs to another portal
		host     string // where the pair is kept
		code     string
		words    []string
	}{
		"same":            {endpoint: "https://acme.bitrix24.ru/rest/", host: oldHost},
		"none":            {endpoint: " ", host: oldHost},
		"same by http":    {endpoint: "http://acme.bitrix24.ru/rest/", host: oldHost},
		"renamed":         {endpoint: "https://new.bitrix24.ru/rest/", host: "new.bitrix24.ru"},
		"another's":       {endpoint: "https://taken.bitrix24.ru/rest/", taken: true, host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"taken.bitrix24.ru"}},
		"loopback":        {endpoint: "https://127.0.0.1/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"127.0.0.1", "old host"}},
		"metadata":        {endpoint: "https://169.254.169.254/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"169.254.169.254"}},
		"inner name":      {endpoint: "https://intranet/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"intranet"}},
		"other by http":   {endpoint: "http://new.bitrix24.ru/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"new.bitrix24.ru"}},
		"odd port":        {endpoint: "https://new.bitrix24.ru:8443/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"8443"}},
		"foreign domain":  {endpoint: "https://bitrix24.example.com/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"bitrix24.example.com"}},
		"user info":       {endpoint: "https://a:b@new.bitrix24.ru/rest/", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"old host"}},
		"no address":      {endpoint: "::", host: oldHost, code: bitrix.CodeForbiddenEndpoint, words: []string{"old host"}},
		"path with spike": {endpoint: "https://new.bitrix24.ru/rest/../x", host: oldHost, code: bitrix.CodeForbiddenEndpoint},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.caller()
				w.hosts["taken.bitrix24.ru"] = test.taken
				w.answer = func(tokens bitrix.Tokens) (bitrix.Tokens, error) {
					tokens.Endpoint = test.endpoint
					return tokens, nil
				}
				err := register(c, w.portal())
				p := w.portal()
				if p.Generation != 2 || p.Access.Host() != test.host || p.Access.Scheme() != "https" {
					t.Errorf("kept as generation %d at %s, want 2 at %s", p.Generation, p.Access.Endpoint(), test.host)
				}
				if test.code == "" {
					if err != nil || w.see().sent[1] != test.host+" valid-1" {
						t.Errorf("%v, sent %d calls", err, len(w.see().sent))
					}
					return
				}
				e := mustBe(t, err, bitrix.Blocked, test.code, test.words...)
				if e.Credential != p.Credential || len(w.see().sent) != 1 {
					t.Errorf("credential %s and %d calls, want the kept one's and no call after the renewal", e.Credential, len(w.see().sent))
				}
			})
		})
	}
}

func TestStrangeMemberIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		w.answer = func(tokens bitrix.Tokens) (bitrix.Tokens, error) { tokens.MemberID = "other"; return tokens, nil }
		_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, CodeWrongPortal, "member_id", oldHost)
		if p := w.portal(); p.Generation != 1 || len(w.see().sent) != 1 || w.see().calls["Renew"] != 0 {
			t.Errorf("generation %d, %d calls: something of a stranger's answer was used", p.Generation, len(w.see().sent))
		}
	})
}

func TestMemberIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stored.MemberID = ""
		if err := register(w.caller(), w.portal()); err != nil || w.portal().MemberID != "member" {
			t.Errorf("%v, member_id %q", err, w.portal().MemberID)
		}
	})
}

// A token that no header and no body could carry is no answer.
func TestUnusableToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(tokens bitrix.Tokens) (bitrix.Tokens, error) {
			tokens.Access = bitrix.NewSecret("valid- x")
			return tokens, nil
		}
		_ = mustBe(t, register(w.caller(), w.portal()), bitrix.Transient, CodeUnsure)
		if w.see().notes != 1 || w.portal().Generation != 1 {
			t.Errorf("%d notes at generation %d", w.see().notes, w.portal().Generation)
		}
	})
}

// A pair outlives the store's outages: nothing is sent with it before it is kept.
func TestStoreIsDownAfterTheTrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.broken["Renew"] = -1
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		elapse(5 * time.Minute)
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		if w.see().trades != 1 || len(w.see().sent) != 1 {
			t.Fatalf("%d trades and %d calls, want 1 and 1", w.see().trades, len(w.see().sent))
		}
		w.change(func() { w.broken["Renew"] = 0 })
		if err := register(c, old); err != nil || w.portal().Generation != 2 {
			t.Errorf("%v at generation %d", err, w.portal().Generation)
		}
	})
}

// The store kept the pair, but its answer was lost.
func TestLostAnswerOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broken["Renew"], w.deaf = 1, true
		if err := register(w.caller(), w.portal()); err != nil || w.see().trades != 1 || w.portal().Generation != 2 {
			t.Errorf("%v, %d trades, generation %d", err, w.see().trades, w.portal().Generation)
		}
	})
}

// Somebody imported newer credentials while the server was asked: those count.
func TestImportDuringTheTrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(tokens bitrix.Tokens) (bitrix.Tokens, error) {
			a, err := bitrix.NewOAuth(oldHost, "imported")
			w.set(7, a, bitrix.NewSecret("refresh-imported"))
			w.access = "imported"
			return tokens, err
		}
		if err := register(w.caller(), w.portal()); err != nil || w.portal().Generation != 7 || w.see().sent[1] != oldHost+" imported" {
			t.Errorf("%v at generation %d", err, w.portal().Generation)
		}
	})
}

// A process dies between the trade and the store. The next one tries the old
// pair once more, and then says that only a new installation helps.
func TestCrashBetweenTradeAndStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locks := &fakeLocks{}
		config := w.config()
		config.Locks = locks
		dying := w.callerOf(config)
		w.broken["Renew"] = -1
		_ = mustBe(t, register(dying, w.portal()), bitrix.Transient, CodePending)
		dying.Close() // gives up after 20 s, which is as good as dying

		config.Store = fakeStore{w}
		next := w.callerOf(config)
		err := register(next, w.portal())
		_ = mustBe(t, err, bitrix.Transient, CodePending) // the dead one's lock lasts
		if w.see().reuse != 0 {
			t.Error("the old pair was tried while the lock lasted")
		}
		elapse(LockTime)
		_ = mustBe(t, register(next, w.portal()), bitrix.Blocked, "invalid_grant", "answer to an earlier renewal was lost", "installed again on "+oldHost)
		if w.see().reuse != 1 || w.see().trades != 1 {
			t.Errorf("the old pair was tried %d times after %d trades, want once after one", w.see().reuse, w.see().trades)
		}
	})
}

// The server may have lost the request rather than the answer: then the old pair
// is still good.
func TestOldPairIsGoodAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := w.config()
		config.Locks = &fakeLocks{}
		c := w.callerOf(config)
		w.before = func(_ context.Context, n int) error {
			if n == 1 {
				return authError(bitrix.Ambiguous, bitrix.CodeReset)
			}
			return nil
		}
		e := mustBe(t, register(c, w.portal()), bitrix.Transient, CodeUnsure)
		elapse(wait(e) + time.Second)
		if err := register(c, w.portal()); err != nil || w.see().trades != 1 || w.see().notes != 0 {
			t.Errorf("%v after %d trades, %d notes", err, w.see().trades, w.see().notes)
		}
	})
}

// Two lost answers, and nobody asks any more.
func TestLostTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := w.config()
		config.Locks = &fakeLocks{}
		c := w.callerOf(config)
		w.before = func(context.Context, int) error { return authError(bitrix.Ambiguous, bitrix.CodeTimeout) }
		for range 2 {
			e := mustBe(t, register(c, w.portal()), bitrix.Transient, CodeUnsure)
			elapse(wait(e) + time.Second)
		}
		_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, CodeLost, "lost twice")
		if w.see().calls["Refresh"] != 2 {
			t.Errorf("the server was asked %d times, want 2", w.see().calls["Refresh"])
		}
	})
}
