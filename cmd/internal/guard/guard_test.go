// Who gets in, who does not, and what each reads.

package guard

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"botfleet/bitrix"
)

const (
	user     = "ops"
	password = "open sesame 77"
)

// ask sends a request through the guard, and returns its answer.
func ask(t *testing.T, h http.Handler, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/dashboard/", nil)
	r.RemoteAddr = "127.0.0.1:5000"
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func guarded(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return New(c)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "inside")
	}))
}

func locked(addr string) http.Handler {
	return guarded(Config{Addr: addr, User: user, Password: bitrix.NewSecret(password)})
}

func TestAccess(t *testing.T) {
	for _, c := range []struct {
		addr     string
		password bool
		want     Access
	}{
		{"127.0.0.1:8080", false, Open},
		{"127.8.8.8:8080", false, Open},
		{"[::1]:8080", false, Open},
		{"[::ffff:127.0.0.1]:8080", false, Open},
		{"localhost:8080", false, Open},
		{"127.0.0.1:8080", true, Password},
		{"0.0.0.0:8080", true, Password},
		{":8080", false, Closed},
		{"0.0.0.0:8080", false, Closed},
		{"[::]:8080", false, Closed},
		{"10.0.0.7:8080", false, Closed},
		{"worker.internal:8080", false, Closed},
		{"localhost.example.com:8080", false, Closed},
		{"127.0.0.1", false, Closed}, // no address to listen on
		{"", false, Closed},
	} {
		cfg := Config{Addr: c.addr}
		if c.password {
			cfg.User, cfg.Password = user, bitrix.NewSecret(password)
		}
		if got := cfg.Access(); got != c.want {
			t.Errorf("%q, password %v: %v, want %v", c.addr, c.password, got, c.want)
		}
	}
	for _, half := range []Config{{Addr: ":1", User: user}, {Addr: ":1", Password: bitrix.NewSecret(password)}} {
		if got := half.Access(); got != Closed {
			t.Errorf("half a password: %v", got)
		}
	}
}

func TestWithoutAPasswordOnLoopback(t *testing.T) {
	h := guarded(Config{Addr: "127.0.0.1:8080"})
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "localhost:9000": 200, "LOCALHOST": 200, "localhost.:8080": 200, "[::1]:8080": 200, "[::1]": 200, "127.0.0.1": 200,
		"evil.example": 403, "127.0.0.1.evil.example:8080": 403, "localhost.evil.example": 403, "10.0.0.7:8080": 403, "": 403, "0.0.0.0:8080": 403,
	} {
		res := ask(t, h, func(r *http.Request) { r.Host = host })
		if res.StatusCode != want {
			t.Errorf("Host %q: HTTP %d, want %d", host, res.StatusCode, want)
		}
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "CF-Connecting-IP"} {
		res := ask(t, h, func(r *http.Request) { r.Header.Set(header, "for=192.0.2.1") })
		if page := text(t, res); res.StatusCode != 403 || !strings.Contains(page, "DASHBOARD_PASSWORD") {
			t.Errorf("through a proxy, by %s: HTTP %d %s", header, res.StatusCode, page)
		}
	}
}

func TestWithoutAPasswordElsewhere(t *testing.T) {
	h := guarded(Config{Addr: "0.0.0.0:8080"})
	for _, host := range []string{"127.0.0.1:8080", "10.0.0.7:8080", "localhost"} {
		res := ask(t, h, func(r *http.Request) {
			r.Host = host
			r.SetBasicAuth("", "")
		})
		page := text(t, res)
		if res.StatusCode != 403 || !strings.Contains(page, "DASHBOARD_USER and DASHBOARD_PASSWORD") || strings.Contains(page, "inside") {
			t.Errorf("HTTP %d: %s", res.StatusCode, page)
		}
	}
}

func TestWithAPassword(t *testing.T) {
	// Behind a proxy the Host is another one: it is the password that counts.
	for _, addr := range []string{"127.0.0.1:8080", "0.0.0.0:8080"} {
		h := locked(addr)
		for _, c := range []struct {
			name, user, password string
			want                 int
		}{
			{"right", user, password, 200},
			{"wrong password", user, password + "x", 401},
			{"wrong user", user + "x", password, 401},
			{"nothing", "", "", 401},
			{"swapped", password, user, 401},
		} {
			res := ask(t, h, func(r *http.Request) {
				r.Host = "bots.example.com"
				r.Header.Set("X-Forwarded-For", "192.0.2.1")
				r.SetBasicAuth(c.user, c.password)
			})
			if res.StatusCode != c.want {
				t.Errorf("%s, %s: HTTP %d", addr, c.name, res.StatusCode)
			}
			if page := text(t, res); strings.Contains(page, password) || (c.want == 200) != (page == "inside") {
				t.Errorf("%s, %s: %s", addr, c.name, page)
			}
		}
		res := ask(t, h, nil)
		if res.StatusCode != 401 || !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("no password: HTTP %d, %v", res.StatusCode, res.Header)
		}
	}
}

func TestAnotherSiteChangesNothing(t *testing.T) {
	open := guarded(Config{Addr: "127.0.0.1:8080"})
	for _, c := range []struct {
		name          string
		h             http.Handler
		method        string
		host          string
		origin, fetch string
		want          int
	}{
		{"its own page", open, "POST", "127.0.0.1:8080", "http://127.0.0.1:8080", "same-origin", 200},
		{"its own page, an old browser", open, "DELETE", "127.0.0.1:8080", "http://127.0.0.1:8080", "", 200},
		{"a command line", open, "POST", "127.0.0.1:8080", "", "", 200},
		{"another site", open, "POST", "127.0.0.1:8080", "https://evil.example", "cross-site", 403},
		{"another site, an old browser", open, "POST", "127.0.0.1:8080", "https://evil.example", "", 403},
		{"another port of the machine", open, "POST", "127.0.0.1:8080", "http://127.0.0.1:3000", "same-site", 403},
		{"a page without an origin", open, "POST", "127.0.0.1:8080", "null", "", 403},
		{"another site looks", open, "GET", "127.0.0.1:8080", "https://evil.example", "cross-site", 200},
		{"with the browser's password, another site", locked(":8080"), "DELETE", "bots.example.com", "https://evil.example", "cross-site", 403},
		{"behind a TLS proxy that keeps the host", locked(":8080"), "POST", "bots.example.com", "https://bots.example.com", "same-origin", 200},
		{"behind a TLS proxy that changes the host", locked(":8080"), "POST", "127.0.0.1:8080", "https://bots.example.com", "same-origin", 200},
	} {
		res := ask(t, c.h, func(r *http.Request) {
			r.Method, r.Host = c.method, c.host
			r.SetBasicAuth(user, password)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if c.fetch != "" {
				r.Header.Set("Sec-Fetch-Site", c.fetch)
			}
		})
		if res.StatusCode != c.want {
			t.Errorf("%s: HTTP %d, want %d: %s", c.name, res.StatusCode, c.want, text(t, res))
		}
	}
}

// OPTIONS is what a browser sends for another site before a request of its own.
func TestUnknownMethods(t *testing.T) {
	for _, h := range []http.Handler{guarded(Config{Addr: "127.0.0.1:8080"}), locked("0.0.0.0:8080"), guarded(Config{Addr: "0.0.0.0:8080"})} {
		for _, method := range []string{http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodTrace, "WHATEVER"} {
			res := ask(t, h, func(r *http.Request) {
				r.Method = method
				r.SetBasicAuth(user, password)
			})
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: HTTP %d %v", method, res.StatusCode, res.Header)
			}
		}
	}
}

func TestHeadersOnEveryAnswer(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"open": guarded(Config{Addr: "127.0.0.1:1"}), "closed": guarded(Config{Addr: ":1"}), "password": locked(":1"),
	} {
		got := ask(t, h, nil).Header
		for key, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got.Get(key) != want {
				t.Errorf("%s: %s is %q", name, key, got.Get(key))
			}
		}
		if !strings.Contains(got.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %q", name, got.Get("Content-Security-Policy"))
		}
	}
}

func TestTheLogNamesNoPassword(t *testing.T) {
	var log bytes.Buffer
	h := guarded(Config{Addr: ":1", User: user, Password: bitrix.NewSecret(password), Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 * guessBurst {
		ask(t, h, func(r *http.Request) { r.SetBasicAuth(user, "almost "+password) })
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "from=127.0.0.1") || strings.Contains(log.String(), "sesame") {
		t.Error(log.String())
	}
}
