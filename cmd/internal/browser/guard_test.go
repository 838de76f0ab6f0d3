//go:build browser

// Who may open the pages, and that other sites change nothing.

package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// otherSite is a page of somebody else's that POSTs to an address by itself, once as
// a script and once as a form.
func otherSite(t *testing.T, target string) (port string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/form" {
			_, _ = fmt.Fprintf(w, `<form method="post" enctype="text/plain" action="%s"></form><script>document.forms[0].submit()</script>`, target)
			return
		}
		_, _ = fmt.Fprintf(w, `<link rel="icon" href="data:,"><script>fetch(%q, {method: "POST", mode: "no-cors", credentials: "include"}).catch(() => 0).then(() => document.title = "sent")</script>`, target)
	}))
	t.Cleanup(s.Close)
	return s.URL[strings.LastIndex(s.URL, ":")+1:]
}

// attacked opens pages of other sites in the profile of a tab, and wants what they
// send to be refused.
func attacked(t *testing.T, b *tab, target string) {
	t.Helper()
	port := otherSite(t, target)
	for _, host := range []string{"localhost", "127.0.0.1"} { // another site, and another origin of the same
		evil := beside(t, b.profile, "http://"+host+":"+port, b.look)
		evil.visit("/script")
		evil.until("the script to have sent", `document.title === "sent"`)
		await(t, callWithin, "the script's answer", func() bool { return evil.seen.status(target) != 0 })
		if got := evil.seen.status(target); got < http.StatusBadRequest {
			t.Errorf("a script of %s got status %d", host, got)
		}
		evil.seen.forget()
		evil.visit("/form")
		await(t, callWithin, "the form's answer", func() bool { return evil.seen.status(target) != 0 })
		if got := evil.seen.status(target); got < http.StatusBadRequest {
			t.Errorf("a form of %s got status %d", host, got)
		}
	}
	b.front()
}

func TestOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	broken := f.add(quick())
	f.store()
	refuseNames(t, broken)
	w := startWorker(t, f.env...)
	run := f.submit("one.jsonl", 2, f.names...)
	want := status{State: "done", Queued: 2, Dead: 2}
	f.awaitStatus(run, want)
	broken.ClearFaults()
	queue := f.queueOf(f.names[0])

	b := open(t, w.URL, look{})
	b.visit("/dashboard/")
	attacked(t, b, w.URL+"/dashboard/api/queues/"+queue+"/archived_tasks:run_all")
	b.visit("/dashboard/queues/" + queue + "?status=archived")
	b.shows("NAME_ERROR")
	if s := f.status(run); s != want {
		t.Errorf("after another site's POST: %+v", s)
	}
	b.seen.quiet(t)
}

func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	broken := f.add(quick())
	f.store()
	refuseNames(t, broken)
	w := startWorker(t, append(f.env, "HTTP_ADDR=0.0.0.0:0", "DASHBOARD_USER=operator", "DASHBOARD_PASSWORD="+pagePassword)...)
	run := f.submit("one.jsonl", 1, f.names...)
	f.awaitStatus(run, status{State: "done", Queued: 1, Dead: 1})
	broken.ClearFaults()
	queue := f.queueOf(f.names[0])

	for _, path := range []string{"/", "/dashboard/", "/runs/" + run} {
		stranger := open(t, w.URL, look{Stranger: true})
		stranger.visit(path)
		if stranger.seen.asks() == 0 {
			t.Errorf("%s does not ask for a password", path)
		}
		if got := stranger.seen.status(w.URL + path); got != http.StatusUnauthorized {
			t.Errorf("%s without a password: %d", path, got)
		}
		if stranger.is(`document.documentElement.outerHTML.includes(` + quoted(run) + `)`) {
			t.Errorf("%s without a password shows the run", path)
		}
	}

	b := open(t, w.URL, look{User: "operator", Password: pagePassword})
	b.visit("/")
	b.shows("one.jsonl")
	if b.seen.asks() == 0 {
		t.Error("nobody was asked for a password")
	}
	keepsPass(t, b)
	b.visit("/dashboard/queues/" + queue + "?status=archived")
	b.shows("NAME_ERROR")
	// The browser knows the password now, and another site's requests would carry it.
	attacked(t, b, w.URL+"/dashboard/api/queues/"+queue+"/archived_tasks:run_all")
	if s := f.status(run); s.Dead != 1 {
		t.Errorf("after another site's POST: %+v", s)
	}
	b.visit("/dashboard/queues/" + queue + "?status=archived")
	b.shows("NAME_ERROR")
	b.hover(firstRow + `.querySelector("td:last-child")`)
	b.click(firstRow + `.querySelectorAll("td:last-child button")[1]`)
	f.awaitStatus(run, status{State: "done", Queued: 1, Registered: 1})
	b.seen.keepsSecrets(t, f.secrets()...)
	b.seen.quiet(t)
}

// keepsPass wants the browser to have kept the pass of who has signed in, out of the
// reach of scripts.
func keepsPass(t *testing.T, b *tab) {
	t.Helper()
	var kept struct {
		Cookies []struct {
			Name     string `json:"name"`
			HTTPOnly bool   `json:"httpOnly"`
		} `json:"cookies"`
	}
	b.call("Network.getCookies", nil, &kept)
	if len(kept.Cookies) != 1 || kept.Cookies[0].Name != "botfleet-pass" || !kept.Cookies[0].HTTPOnly {
		t.Errorf("who has signed in has the cookies %+v", kept.Cookies)
	}
	if !b.is(`document.cookie === ""`) {
		t.Error("scripts see the cookie")
	}
}

// Without a password nobody gets in from elsewhere, and the page says what to set.
func TestOpenAddressWithoutPasswordIsClosed(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	w := startWorker(t, append(f.env, "HTTP_ADDR=0.0.0.0:0")...)
	b := open(t, w.URL, look{})
	for _, path := range []string{"/", "/dashboard/"} {
		b.visit(path)
		b.shows("DASHBOARD_USER")
		b.shows("DASHBOARD_PASSWORD")
		if got := b.seen.status(w.URL + path); got != http.StatusForbidden {
			t.Errorf("%s: %d", path, got)
		}
	}
}
