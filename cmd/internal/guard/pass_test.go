// Behind a proxy: who has signed in stays in while others guess.

package guard

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
)

const proxy = "192.0.2.1:1000"

// enter sends a password through a proxy, with cookies.
func enter(t *testing.T, h http.Handler, password string, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	return ask(t, h, func(r *http.Request) {
		r.RemoteAddr = proxy
		r.Header.Set("X-Forwarded-Proto", "https")
		r.SetBasicAuth(user, password)
		for _, c := range cookies {
			r.AddCookie(c)
		}
	})
}

// signIn returns the pass of a browser that has sent the right password.
func signIn(t *testing.T, h http.Handler) *http.Cookie {
	t.Helper()
	res := enter(t, h, password)
	if got := res.Cookies(); res.StatusCode == http.StatusOK && len(got) == 1 && got[0].Name == passName {
		return got[0]
	}
	t.Fatalf("HTTP %d, %v", res.StatusCode, res.Header)
	return nil
}

// guess sends wrong passwords until none is looked at any more.
func guess(t *testing.T, h http.Handler, cookies ...*http.Cookie) {
	t.Helper()
	for n := range guessBurst + 1 {
		want := http.StatusUnauthorized
		if n == guessBurst {
			want = http.StatusTooManyRequests
		}
		if res := enter(t, h, fmt.Sprint("guess ", n), cookies...); res.StatusCode != want || len(res.Cookies()) != 0 {
			t.Fatalf("guess %d: HTTP %d, want %d; %v", n, res.StatusCode, want, res.Cookies())
		}
	}
}

func TestOthersGuessesShutNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		h := locked(":8080")
		mine, colleagues := signIn(t, h), signIn(t, h)
		guess(t, h)
		if got := enter(t, h, password).StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("without a pass: HTTP %d", got)
		}
		for range 3 * guessBurst {
			if res := enter(t, h, password, mine); res.StatusCode != http.StatusOK || len(res.Cookies()) != 0 {
				t.Fatalf("with a pass: HTTP %d, %v", res.StatusCode, res.Cookies())
			}
		}
		// It opens nothing by itself, and its own guesses count, for itself.
		res := ask(t, h, func(r *http.Request) { r.AddCookie(mine) })
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a pass without a password: HTTP %d", res.StatusCode)
		}
		guess(t, h, mine)
		if got := enter(t, h, password, mine).StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("a pass that guesses: HTTP %d", got)
		}
		if got := enter(t, h, password, colleagues).StatusCode; got != http.StatusOK {
			t.Errorf("another one's pass: HTTP %d", got)
		}
	})
}

// Pages left open go on with the password that was; the proxy's address stays free.
func TestAnOldPasswordShutsOutItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		key := bitrix.NewSecret("the workers' key")
		before := guarded(Config{Addr: ":1", User: user, Password: bitrix.NewSecret("what it was before"), Key: key})
		old := enter(t, before, "what it was before").Cookies()
		h := guarded(Config{Addr: ":1", User: user, Password: bitrix.NewSecret(password), Key: key})
		guess(t, h, old...)
		signIn(t, h)
	})
}

func TestWhosePassesHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		with := func(key string) http.Handler {
			return guarded(Config{Addr: ":1", User: user, Password: bitrix.NewSecret(password), Key: bitrix.NewSecret(key)})
		}
		pass := signIn(t, with("one"))
		for _, c := range []struct {
			name string
			h    http.Handler
			want int
		}{
			{"another worker", with("one"), http.StatusOK},
			{"a worker with another key", with("two"), http.StatusTooManyRequests},
			{"a worker without a key", with(""), http.StatusTooManyRequests},
		} {
			guess(t, c.h)
			if got := enter(t, c.h, password, pass).StatusCode; got != c.want {
				t.Errorf("%s: HTTP %d, want %d", c.name, got, c.want)
			}
		}
		guessed := with("one")
		guess(t, guessed)
		raw, err := base64.RawURLEncoding.DecodeString(pass.Value)
		if err != nil {
			t.Fatal(err)
		}
		forge := func(b []byte) *http.Cookie {
			return &http.Cookie{Name: passName, Value: base64.RawURLEncoding.EncodeToString(b)}
		}
		var forged []*http.Cookie
		for n := range raw {
			b := append([]byte{}, raw...)
			b[n] ^= 1
			forged = append(forged, forge(b))
		}
		forged = append(forged, forge(nil), forge(raw[:passBody]), forge(append(raw, 0)), &http.Cookie{Name: passName, Value: "%"})
		for _, c := range forged {
			if got := enter(t, guessed, password, c).StatusCode; got != http.StatusTooManyRequests {
				t.Errorf("%q: HTTP %d", c.Value, got)
			}
		}
		if got := enter(t, guessed, password, forged[0], pass).StatusCode; got != http.StatusOK {
			t.Errorf("a pass behind another's cookie: HTTP %d", got)
		}
	})
}

func TestPassesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := locked(":8080")
		first := signIn(t, h)
		time.Sleep(passLife / 2) //nolint:forbidigo // synctest's own clock
		if got := enter(t, h, password, first).Cookies(); len(got) != 0 {
			t.Errorf("a new one too early: %v", got)
		}
		time.Sleep(time.Second) //nolint:forbidigo // synctest's own clock
		next := enter(t, h, password, first).Cookies()
		if len(next) != 1 || next[0].Value == first.Value {
			t.Fatalf("no new one: %v", next)
		}
		time.Sleep(passLife / 2) //nolint:forbidigo // synctest's own clock
		guess(t, h)
		if got := enter(t, h, password, first).StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("one that has ended: HTTP %d", got)
		}
		if got := enter(t, h, password, next...).StatusCode; got != http.StatusOK {
			t.Errorf("the new one: HTTP %d", got)
		}
	})
}

func TestWhatAPassIs(t *testing.T) {
	h := locked(":8080")
	c := signIn(t, h)
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != int(passLife.Seconds()) {
		t.Errorf("%+v", c)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || strings.Contains(string(raw), password) {
		t.Errorf("%q, %v", raw, err)
	}
	plain := ask(t, h, func(r *http.Request) { r.SetBasicAuth(user, password) }).Cookies()
	if len(plain) != 1 || plain[0].Secure {
		t.Errorf("without TLS a browser would not keep it: %v", plain)
	}
	res := ask(t, h, func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(user, password)
		r.AddCookie(c)
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	})
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("with a pass, from another site: HTTP %d", res.StatusCode)
	}
}
