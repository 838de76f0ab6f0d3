// How renewals end.

package signin

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

func TestRenewsOnceForAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		meter := &counted{}
		config := w.config()
		config.Meter = meter
		c := w.callerOf(config)
		old := w.portal()
		w.slow["Refresh"], w.slow["call"] = 300*time.Millisecond, 100*time.Millisecond
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				if err := register(c, old); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if w.see().trades != 1 || w.see().deadCalls != 20 {
			t.Errorf("%d trades and %d calls with a dead token, want 1 and 20 (all went at once)", w.see().trades, w.see().deadCalls)
		}
		// Whoever still has the old copy is not let call with it.
		if err := register(c, old); err != nil || w.see().deadCalls != 20 {
			t.Errorf("a call with an old copy: %v, %d dead calls", err, w.see().deadCalls)
		}
		if p := w.portal(); p.Generation != 2 || w.see().notes != 0 {
			t.Errorf("generation %d with %d notes, want 2 and none", p.Generation, w.see().notes)
		}
		if got := meter.counts(); got[Renewed] != 1 || len(got) != 1 {
			t.Errorf("metered %v", got)
		}
		synctest.Wait()
		if len(c.flights) != 0 {
			t.Errorf("%d flights are left", len(c.flights))
		}
	})
}

// While a renewal is under way no call goes out with the token that was refused.
func TestKnownRefusedIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.slow["Refresh"] = time.Second
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				elapse(time.Duration(i) * 50 * time.Millisecond)
				if err := register(c, old); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if w.see().deadCalls != 1 || w.see().trades != 1 {
			t.Errorf("%d dead calls and %d trades, want 1 and 1", w.see().deadCalls, w.see().trades)
		}
	})
}

func TestUsesWhatTheStoreHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.put(2, "https://"+oldHost, "valid-0", "refresh-0")
		if err := register(c, old); err != nil || w.see().trades != 0 {
			t.Errorf("got %v after %d trades, want the stored token used", err, w.see().trades)
		}
		// The stored one may have expired too: then a new one is due.
		w.put(3, "https://"+oldHost, "expired-1", "refresh-0")
		c2 := w.caller()
		if err := register(c2, old); err != nil || w.see().trades != 1 {
			t.Errorf("got %v after %d trades, want one trade", err, w.see().trades)
		}
	})
}

// What the caller brings may be newer than what this process remembers.
func TestUsesWhatTheCallerHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		if err := register(c, w.portal()); err != nil {
			t.Fatal(err)
		}
		w.put(5, "https://"+oldHost, "imported", "refresh-5")
		w.change(func() { w.access = "imported" })
		if err := register(c, w.portal()); err != nil || w.see().deadCalls != 1 {
			t.Errorf("%v: %d calls with a dead token, want the first one alone", err, w.see().deadCalls)
		}
	})
}

// Each way in which a renewal brings nothing.
func TestFailures(t *testing.T) {
	webhook, err := bitrix.ParseWebhook("https://acme.bitrix24.ru/rest/1/expired-hook/")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		set   func(w *world, c *Config)
		class bitrix.Class
		code  string
		words []string
		wait  time.Duration
		notes int
	}{
		"webhook": {
			set:   func(w *world, _ *Config) { w.stored.Access, w.stored.Kind = webhook, portals.Webhook },
			class: bitrix.Blocked, code: "expired_token", words: []string{"webhook", oldHost},
		},
		"no refresh token": {
			set:   func(w *world, _ *Config) { w.stored.Refresh = bitrix.Secret{} },
			class: bitrix.Blocked, code: "expired_token", words: []string{"no refresh token", oldHost},
		},
		"no application": {
			set:   func(_ *world, c *Config) { c.Auth = nil },
			class: bitrix.Blocked, code: "expired_token", words: []string{"BITRIX_CLIENT_ID", "BITRIX_CLIENT_SECRET"},
		},
		"invalid_grant": {
			set:   func(w *world, _ *Config) { w.refresh = "another" },
			class: bitrix.Blocked, code: "invalid_grant", words: []string{"not accepted: have the application installed again on " + oldHost, "invalid_grant"},
		},
		"PAYMENT_REQUIRED": {
			set: func(w *world, _ *Config) {
				w.before = func(context.Context, int) error { return authError(bitrix.Blocked, "PAYMENT_REQUIRED") }
			},
			class: bitrix.Blocked, code: "PAYMENT_REQUIRED", words: []string{oldHost, "PAYMENT_REQUIRED"},
		},
		"answer lost": {
			set: func(w *world, _ *Config) {
				w.before = func(context.Context, int) error { return authError(bitrix.Ambiguous, bitrix.CodeTimeout) }
			},
			class: bitrix.Transient, code: CodeUnsure, words: []string{"once more"}, wait: LockTime, notes: 1,
		},
		"answer not understood": {
			set: func(w *world, _ *Config) {
				w.before = func(context.Context, int) error { return errors.New("odd") }
			},
			class: bitrix.Transient, code: CodeUnsure, wait: LockTime, notes: 1,
		},
		"server error": {
			set: func(w *world, _ *Config) {
				w.before = func(context.Context, int) error { return authError(bitrix.Transient, "INTERNAL_SERVER_ERROR") }
			},
			class: bitrix.Transient, code: "INTERNAL_SERVER_ERROR", wait: firstBackoff,
		},
		"store does not answer": {
			set:   func(w *world, _ *Config) { w.broken["Get"] = -1 },
			class: bitrix.Transient, code: CodePending, words: []string{"read the portal's credentials"}, wait: storeWait,
		},
		"store does not note": {
			set:   func(w *world, _ *Config) { w.broken["Renewing"] = -1 },
			class: bitrix.Transient, code: CodePending, words: []string{"note the renewal"}, wait: storeWait,
		},
		"note's answer is lost": {
			set:   func(w *world, _ *Config) { w.broken["Renewing"], w.deaf = 1, true },
			class: bitrix.Transient, code: CodePending, words: []string{"note the renewal"}, wait: storeWait,
		},
		"no lock to be had": {
			set:   func(_ *world, c *Config) { c.Locks = brokenLocks{} },
			class: bitrix.Transient, code: CodePending, words: []string{"lock the portal"}, wait: storeWait,
		},
		"removed": {
			set:   func(w *world, _ *Config) { w.stored.ID = "another" },
			class: bitrix.Blocked, code: CodeUnknownPortal, words: []string{"removed"},
		},
		"gone": {
			set:   func(w *world, _ *Config) { w.stored.Gone = &portals.Gone{Reason: "the application was uninstalled"} },
			class: bitrix.Blocked, code: CodePortalGone, words: []string{"uninstalled"},
		},
		"sealed": {
			set:   func(_ *world, c *Config) { c.Store = sealedStore{} },
			class: bitrix.Transient, code: CodePending, words: []string{"do not open"}, wait: sealedWait,
		},
		"lost twice": {
			set:   func(w *world, _ *Config) { w.notes = 2 },
			class: bitrix.Blocked, code: CodeLost, words: []string{"lost twice", "installed again on " + oldHost}, notes: 2,
		},
		"refused after a loss": {
			set:   func(w *world, _ *Config) { w.notes, w.refresh = 1, "another" },
			class: bitrix.Blocked, code: "invalid_grant", words: []string{"answer to an earlier renewal was lost", "installed again"}, notes: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				config := w.config()
				old := w.portal()
				test.set(w, &config)
				if w.stored.Kind == portals.Webhook {
					old = w.portal()
				}
				c := w.callerOf(config)
				began := time.Now()
				e := mustBe(t, register(c, old), test.class, test.code, test.words...)
				if e.Status != 401 || e.Method != bitrix.MethodRegister || e.Host != oldHost || e.Credential != old.Access.Fingerprint() {
					t.Errorf("incomplete: status %d, method %s, host %s, credential %s", e.Status, e.Method, e.Host, e.Credential)
				}
				if e.Wait != nil {
					if got := e.Wait.Until.Sub(began); got != test.wait || !e.Wait.Since.Equal(began) {
						t.Errorf("waits for %v since %v, want %v since now", got, e.Wait.Since.Sub(began), test.wait)
					}
				}
				if w.see().notes != test.notes {
					t.Errorf("%d notes are left, want %d", w.see().notes, test.notes)
				}
				// While that stands nobody asks again, neither portal nor server nor store.
				before := w.total()
				again := mustBe(t, register(c, old), test.class, test.code)
				if w.total() != before || again.Status != 0 {
					t.Errorf("a second call asked around: %v, status %d", w.see().calls, again.Status)
				}
			})
		})
	}
}

func (w *world) total() (n int) {
	for _, calls := range w.see().calls {
		n += calls
	}
	return n
}

type brokenLocks struct{}

func (brokenLocks) Lock(context.Context, string) (func(), error) { return nil, errStore }

type sealedStore struct{ Store }

func (sealedStore) Get(context.Context, string) (portals.Portal, error) {
	return portals.Portal{}, &portals.SealedError{Portal: oldHost}
}

// The end of a Blocked renewal stands for a moment only: a person may have put
// it right on the portal.
func TestBlockedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		w.refresh = "another"
		_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, "invalid_grant")
		elapse(blockedFor)
		w.change(func() { w.access = "expired-0" }) // the portal takes it after all
		if err := register(c, w.portal()); err != nil {
			t.Error(err)
		}
	})
}

func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		w.before = func(context.Context, int) error { return authError(bitrix.Transient, bitrix.CodeRefused) }
		began := time.Now()
		for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
			e := mustBe(t, register(c, w.portal()), bitrix.Transient, bitrix.CodeRefused)
			if got := time.Until(e.Wait.Until); got != want*time.Second {
				t.Errorf("try %d waits %v, want %d s", i, got, want)
			}
			if !e.Wait.Since.Equal(began) {
				t.Errorf("try %d: hindered since %v, want the first one's time", i, e.Wait.Since)
			}
			elapse(time.Until(e.Wait.Until))
		}
		w.change(func() { w.before = nil })
		if err := register(c, w.portal()); err != nil || w.see().notes != 0 {
			t.Errorf("%v, %d notes", err, w.see().notes)
		}
	})
}

// What the authorization server says about everybody keeps other portals from
// asking it, too.
func TestServerWaitIsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		since, until := time.Now().Add(-time.Minute), time.Now().Add(30*time.Second)
		w.before = func(context.Context, int) error {
			e := authError(bitrix.Transient, "invalid_client")
			e.Status = 0 // it was not asked: an answer would be about one portal
			e.Wait = &bitrix.Wait{Until: until, Since: since}
			return e
		}
		e := mustBe(t, register(c, w.portal()), bitrix.Transient, "invalid_client")
		if !e.Wait.Until.Equal(until) || !e.Wait.Since.Equal(since) || w.see().notes != 0 {
			t.Errorf("waits until %v since %v, %d notes", e.Wait.Until, e.Wait.Since, w.see().notes)
		}
		w.put(1, "https://"+oldHost, "expired-0", "refresh-0")
		w.change(func() { w.stored.ID = "p2" })
		_ = mustBe(t, register(c, w.portal()), bitrix.Transient, "invalid_client")
		if w.see().calls["Refresh"] != 1 {
			t.Errorf("the server was asked %d times", w.see().calls["Refresh"])
		}
		elapse(31 * time.Second)
		w.change(func() { w.before = nil })
		if err := register(c, w.portal()); err != nil {
			t.Error(err)
		}
	})
}

// A portal that refuses even a new token is blocked, and gets no more of them.
func TestNewTokenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		w.answer = func(tokens bitrix.Tokens) (bitrix.Tokens, error) { w.access = "other"; return tokens, nil }
		e := mustBe(t, register(c, w.portal()), bitrix.Blocked, "expired_token", "issued just now")
		if e.Credential != w.portal().Credential {
			t.Error("the hold would be one of another credential")
		}
		elapse(time.Minute)
		_ = mustBe(t, register(c, w.portal()), bitrix.Blocked, "expired_token", "issued just now")
		if w.see().trades != 1 {
			t.Errorf("%d trades, want 1", w.see().trades)
		}
	})
}

// A caller that leaves, or has little time, neither ends the renewal nor keeps
// the portal's place.
func TestCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.slow["Refresh"] = 5 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err := c.Register(ctx, &old, &bitrix.Bot{})
		_ = mustBe(t, err, bitrix.Transient, CodePending)
		if !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		e := mustBe(t, register(c, old), bitrix.Transient, CodePending)
		if time.Since(began) != 3*time.Second || e.Status != 0 || w.see().deadCalls != 1 {
			t.Errorf("a second caller left after %v, status %d", time.Since(began), e.Status)
		}
		if wait := time.Until(e.Wait.Until); wait != 3*time.Second || !e.Wait.Since.Equal(began) {
			t.Errorf("it comes back after %v, hindered since %v", wait, e.Wait.Since.Sub(began))
		}
		elapse(wait(e))
		if err := register(c, old); err != nil || w.see().trades != 1 {
			t.Errorf("%v, %d trades", err, w.see().trades)
		}
	})
}

func wait(e *bitrix.Error) time.Duration { return time.Until(e.Wait.Until) }

func TestNoTimeForARepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.slow["call"] = 50 * time.Second // the refusal takes long to come
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		if len(w.see().sent) != 1 {
			t.Errorf("sent %d calls, want no repeat in the last 15 s", len(w.see().sent))
		}
		synctest.Wait()
		if w.see().trades != 1 {
			t.Errorf("%d trades, want the renewal made all the same", w.see().trades)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		old := w.portal()
		w.slow["Refresh"] = 10 * time.Second
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		began := time.Now()
		c.Close()
		if p := w.portal(); time.Since(began) != 8*time.Second || p.Generation != 2 {
			t.Errorf("closed after %v at generation %d, want the answer awaited and stored", time.Since(began), p.Generation)
		}
		w.change(func() { w.access = "other" })
		_ = mustBe(t, register(c, old), bitrix.Transient, CodePending)
		c.Close()
	})
}

func TestCloseEndsWaitingForTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := w.config()
		locks := &fakeLocks{}
		config.Locks = locks
		if _, err := locks.Lock(t.Context(), "p1"); err != nil {
			t.Fatal(err)
		}
		c := w.callerOf(config)
		_ = mustBe(t, register(c, w.portal()), bitrix.Transient, CodePending)
		began := time.Now()
		c.Close()
		if time.Since(began) > time.Second || w.see().trades != 0 {
			t.Errorf("closed after %v with %d trades", time.Since(began), w.see().trades)
		}
	})
}

// Other methods go the same way.
func TestOtherMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		p := w.portal()
		ctx := t.Context()
		if bots, at, err := c.Bots(ctx, &p, "app"); err != nil || len(bots) != 1 || at.Duration != time.Second {
			t.Errorf("Bots: %v %v %v", bots, at, err)
		}
		w.change(func() { w.access = "other" })
		if _, err := c.Update(ctx, &p, 39, &bitrix.Bot{}); bitrix.ClassOf(err) != "" {
			t.Errorf("Update: %v", err)
		}
		if w.see().trades != 2 {
			t.Errorf("%d trades, want 2", w.see().trades)
		}
	})
}

// What is remembered is bounded, and prints no secret.
func TestKnownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		p := w.portal()
		for i := range maxKnown + 10 {
			p.ID = strings.Repeat("x", 1+i%7) + time.Duration(i).String()
			c.refuse(p, &bitrix.Error{})
		}
		if len(c.known) != maxKnown {
			t.Errorf("%d portals are remembered, want %d", len(c.known), maxKnown)
		}
	})
}
