// The pages for people: who may open them, and what the start says of it.

package command

import (
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// awake is a worker that runs until the test ends.
type awake struct {
	t    *testing.T
	base string
	errs *output
	jar  http.CookieJar // nil: cookies are not kept
}

// wake starts a worker on a Redis of its own.
func wake(t *testing.T, environ ...string) *awake {
	t.Helper()
	server := redistest.Start(t)
	environ = append([]string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=5s"}, environ...)
	signals, ended := make(chan os.Signal, 1), make(chan int, 1)
	a := &awake{t: t, errs: &output{}}
	go func() { ended <- Options{}.run(nil, environ, signals, a.errs, a.errs) }()
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Errorf("it does not stop: %s", a.errs.String())
		}
	})
	a.errs.say(t, "worker started")
	addr := regexp.MustCompile(`http=(\S+)`).FindStringSubmatch(a.errs.String())[1]
	_, port, err := net.SplitHostPort(strings.Trim(addr, `"`))
	if err != nil {
		t.Fatal(err)
	}
	a.base = "http://127.0.0.1:" + port
	return a
}

// status asks for a page.
func (a *awake) status(path string, edit func(*http.Request)) (int, string) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.base+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if edit != nil {
		edit(r)
	}
	client := &http.Client{Timeout: 20 * time.Second, Jar: a.jar, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// people are the pages behind the guard.
var people = []string{"/", "/dashboard/", "/dashboard/api/queues", "/dashboard/queues/portals-0", "/runs/none", "/assets/overview.css"}

func TestPagesOnLoopback(t *testing.T) {
	a := wake(t)
	a.errs.say(t, `dashboard=`+a.base+"/dashboard/")
	for _, path := range people {
		if code, text := a.status(path, nil); code != http.StatusOK && path != "/runs/none" {
			t.Errorf("%s: HTTP %d %s", path, code, text)
		}
		if code, _ := a.status(path, func(r *http.Request) { r.Host = "evil.example" }); code != http.StatusForbidden {
			t.Errorf("%s, under a foreign name: HTTP %d", path, code)
		}
	}
	code, text := a.status("/dashboard/api/queues", func(r *http.Request) { r.Method = http.MethodPost; r.Header.Set("Origin", "https://evil.example") })
	if code != http.StatusForbidden || !strings.Contains(text, "another site") {
		t.Errorf("from another site: HTTP %d %s", code, text)
	}
}

func TestPagesElsewhereNeedAPassword(t *testing.T) {
	a := wake(t, "HTTP_ADDR=0.0.0.0:0")
	a.errs.say(t, "level=WARN msg=\"/ and /dashboard/ are closed")
	for _, path := range people {
		if code, text := a.status(path, nil); code != http.StatusForbidden || !strings.Contains(text, "DASHBOARD_PASSWORD") {
			t.Errorf("%s: HTTP %d %s", path, code, text)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, text := a.status(path, func(r *http.Request) { r.Host = "worker.internal" }); code != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", path, code, text)
		}
	}
}

func TestPagesWithAPassword(t *testing.T) {
	a := wake(t, "HTTP_ADDR=0.0.0.0:0", "DASHBOARD_USER=ops", "DASHBOARD_PASSWORD=open sesame 77")
	a.errs.say(t, "pages ask for a password")
	for _, path := range people {
		if code, _ := a.status(path, nil); code != http.StatusUnauthorized {
			t.Errorf("%s: HTTP %d", path, code)
		}
		code, text := a.status(path, func(r *http.Request) { r.Host = "bots.example.com"; r.SetBasicAuth("ops", "open sesame 77") })
		if code != http.StatusOK && path != "/runs/none" {
			t.Errorf("%s, with the password: HTTP %d %s", path, code, text)
		}
	}
	if strings.Contains(a.errs.String(), "sesame") {
		t.Error(a.errs.String())
	}
}

// Behind a proxy a browser meets any worker: one that has signed in to one of them is
// not shut out by what strangers send another.
func TestSignedInToAllWorkers(t *testing.T) {
	settings := []string{"HTTP_ADDR=0.0.0.0:0", "DASHBOARD_USER=ops", "DASHBOARD_PASSWORD=open sesame 77", "SECRETS_KEY=" + portals.NewKey()}
	one, other := wake(t, settings...), wake(t, settings...)
	try := func(a *awake, password string) int {
		code, _ := a.status("/", func(r *http.Request) { r.SetBasicAuth("ops", password) })
		return code
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	one.jar = jar
	if code := try(one, "open sesame 77"); code != http.StatusOK {
		t.Fatalf("HTTP %d", code)
	}
	for guesses := 0; try(other, "a guess") != http.StatusTooManyRequests; guesses++ {
		if guesses == 100 {
			t.Fatal("guesses are not slowed down")
		}
	}
	other.jar = jar
	if code := try(other, "open sesame 77"); code != http.StatusOK {
		t.Errorf("who has signed in to the other worker: HTTP %d", code)
	}
}
