//go:build browser

// The worker's own page: true, fresh, usable.

package browser

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// hasty makes the page refresh itself every 0.3 s in place of 5 s.
const hasty = `{ const later = window.setTimeout; window.setTimeout = (f, ms, ...more) => later(f, ms === 5000 ? 300 : ms, ...more); }`

// hurry makes the pages that a tab opens from now on refresh themselves more often.
func (b *tab) hurry() *tab {
	b.t.Helper()
	b.call("Page.addScriptToEvaluateOnNewDocument", object{"source": hasty}, nil)
	return b
}

// counts are a run's counts as the page writes them.
func (s status) counts() string {
	done, whole := s.Queued-s.Waiting, s.Queued
	text := fmt.Sprintf("%d of %d rows done, %d%% · %d registered", done, whole, 100*done/whole, s.Registered)
	for _, part := range []struct {
		rows int
		what string
	}{{s.Dead, "dead"}, {s.Refused, "refused"}, {s.Duplicate, "duplicate"}, {s.Waiting, "waiting"}} {
		if part.rows > 0 {
			text += fmt.Sprintf(" · %d %s", part.rows, part.what)
		}
	}
	return text
}

// troubled is a fleet with all sorts of rows: registered, dead and held ones in one
// run that cannot end, and a run that is done.
func troubled(t *testing.T) (f *fleet, w *worker, run string) {
	t.Helper()
	f = newFleet(t)
	broken := f.add(quick())
	f.add(quick())
	f.add(quick())
	f.store()
	refuseNames(t, broken)
	enqueue(t, f.env, "portals", "hold", f.names[2], "--reason", "asked by the customer, ticket 4711: not before Monday, whatever-the-others-say-about-it-in-one-very-long-word-without-a-space")
	w = startWorker(t, f.env...)
	f.awaitStatus(f.submit("small.jsonl", 1, f.names[1]), status{State: "done", Queued: 1, Registered: 1})
	run = f.submit("autumn-campaign-of-all-portals-of-the-holding-and-its-subsidiaries.jsonl", 3, f.names...)
	f.awaitStatus(run, status{State: "running", Queued: 9, Registered: 3, Dead: 3, Waiting: 3})
	return f, w, run
}

func TestPageSaysWhatStatusSays(t *testing.T) {
	t.Parallel()
	f, w, run := troubled(t)
	want := f.status(run).counts()
	b := open(t, w.URL, look{})
	for path, counts := range map[string]string{"/": "#runs .counts", "/runs/" + run: "#progress .counts"} {
		b.visit(path)
		if got := b.text(counts); got != want {
			t.Errorf("%s says %q, and the command %q", path, got, want)
		}
		b.shows("NAME_ERROR")
		b.shows("ticket 4711")
		b.seen.keepsSecrets(t, f.secrets()...)
	}
	b.visit("/")
	if s := b.text("#verdict"); !strings.Contains(s, "1 portal is held") || !strings.Contains(s, "3 rows are dead") {
		t.Errorf("the first line says %q", s)
	}
	plain := open(t, w.URL, look{NoScripts: true})
	plain.visit("/")
	if got := plain.text("#runs .counts"); got != want || !strings.Contains(plain.text("#fresh"), "Reload") || !plain.is(`document.querySelector("#pause").hidden`) {
		t.Errorf("without scripts: %q, %q", got, plain.text("#fresh"))
	}
	b.seen.quiet(t)
	plain.seen.quiet(t)
}

func TestPageRefreshesItself(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(slow())
	f.store()
	w := startWorker(t, append(f.env, "BATCH=off")...)
	b := open(t, w.URL, look{})
	b.visit("/")
	b.shows("No runs yet")
	b.eval("window.marker = 1; 0", nil)
	run := f.submit("slow.jsonl", 300, f.names...)
	b.shows("slow.jsonl")
	var registered []string
	await(t, time.Minute, "the page to show two stages of the run", func() bool {
		_, text, _ := strings.Cut(b.text("#runs .counts"), " · ")
		if n, _, ok := strings.Cut(text, " registered"); ok && !slices.Contains(registered, n) {
			registered = append(registered, n)
		}
		return len(registered) == 2
	})
	t.Logf("registered: %v", registered)
	if !b.is("window.marker === 1") {
		t.Error("the page was loaded anew")
	}
	b.click(link("slow.jsonl"))
	b.until("the run's page", `location.pathname === `+quoted("/runs/"+run))
	b.seen.quiet(t)
}

// While a page is paused, or its tab hidden, it asks for nothing.
func TestPausedAndHiddenPagesAskNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	w := startWorker(t, f.env...)
	b := open(t, w.URL, look{}).hurry()
	b.visit("/")
	front := w.URL + "/"
	asks := func(b *tab, more int) {
		t.Helper()
		n := b.seen.times(front)
		await(t, shownWithin, "the page to refresh itself", func() bool { return b.seen.times(front) >= n+more })
	}
	asks(b, 2)

	b.click(`document.querySelector("#pause")`)
	b.until("it to say that it is paused", `/^Paused at \d\d:\d\d:\d\d/.test(document.querySelector("#fresh").textContent)`)
	paused := b.seen.times(front)
	clock := open(t, w.URL, look{}).hurry() // of a window of its own: the paused page stays in front
	clock.visit("/")
	asks(clock, 5)
	if n := b.seen.times(front); n != paused || !b.is("!document.hidden") {
		t.Errorf("a paused page asked %d times, hidden: %v", n-paused, b.is("document.hidden"))
	}
	other := beside(t, b.profile, w.URL, look{}).hurry() // in front of it
	other.visit("/")
	asks(other, 1)

	b.front()
	b.until("the tab to be seen", "!document.hidden")
	b.click(`document.querySelector("#pause")`)
	asks(b, 2)
	other.until("the other tab to be hidden", "document.hidden")
	hidden := other.seen.times(front)
	asks(b, 4)
	if n := other.seen.times(front); n > hidden+1 { // one may have been on its way
		t.Errorf("a hidden page asked %d times", n-hidden)
	}
	n := other.seen.times(front)
	other.front()
	await(t, shownWithin, "a page that is seen again to ask", func() bool { return other.seen.times(front) > n })
	b.seen.quiet(t)
}

// Its links lead to pages that are there, and the archive's to the dead letters.
func TestPageLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	f, w, run := troubled(t)
	b := open(t, w.URL, look{})
	var links []string
	for _, path := range []string{"/", "/runs/" + run} {
		b.visit(path)
		var more []string
		b.eval(`[...document.querySelectorAll("a")].map((a) => a.getAttribute("href"))`, &more)
		links = append(links, more...)
	}
	slices.Sort(links)
	links = slices.Compact(links)
	queue := f.queueOf(f.names[0])
	if !slices.Contains(links, "/dashboard/queues/"+queue) || !slices.Contains(links, "/dashboard/queues/"+queue+"?status=archived") {
		t.Errorf("no links to %s: %v", queue, links)
	}
	for _, l := range links {
		if strings.HasPrefix(l, "#") {
			continue
		}
		path, _, _ := strings.Cut(l, "#")
		b.visit(path)
		if got := b.seen.status(w.URL + path); got != http.StatusOK {
			t.Errorf("%s: %d", l, got)
		}
		name, isQueue := strings.CutPrefix(path, "/dashboard/queues/")
		name, state, _ := strings.Cut(name, "?status=")
		if isQueue {
			b.shows(name)
			b.shows("Archived ")
		}
		if state == "archived" && name == queue {
			b.shows("NAME_ERROR")
		}
	}
	b.seen.forgive("/favicon.ico") // of /metrics, which is for machines and has no icon
	b.seen.quiet(t)
}

func TestPageIsUsableByAll(t *testing.T) {
	t.Parallel()
	_, w, run := troubled(t)
	empty := startWorker(t, newFleet(t).env...)
	for i, l := range everyLook() {
		b := open(t, w.URL, l)
		usable(t, b, "/")
		usable(t, b, "/runs/"+run)
		b.seen.quiet(t)
		if i%3 != 0 { // wide and light, narrow and dark
			continue
		}
		none := open(t, empty.URL, l)
		usable(t, none, "/")
		usable(t, none, "/runs/"+run) // which is unknown there
		none.seen.forgive("404 (Not Found)")
		none.seen.quiet(t)
	}
}

// Redis goes away under the page: both an open one and a new one say so, and go
// on by themselves.
func TestPageSaysThatRedisIsAway(t *testing.T) {
	t.Parallel()
	f, w, run := troubled(t)
	counts := f.status(run).counts()
	for _, away := range []struct {
		how        string
		begin, end func()
	}{
		{"silent", f.redis.Freeze, f.redis.Thaw}, {"stopped", f.redis.Stop, f.redis.Restart},
	} {
		t.Run(away.how, func(t *testing.T) {
			b := open(t, w.URL, look{}).hurry()
			b.visit("/")
			away.begin()
			began := time.Now()
			b.untilWithin(time.Minute, "the page to say so", `document.querySelector("#trouble").textContent.includes("is not refreshed: the worker answers with HTTP 503")`)
			t.Logf("an open page says so after %v", time.Since(began).Round(10*time.Millisecond))
			if b.text("#runs .counts") != counts {
				t.Error("what was shown has gone")
			}
			fresh := open(t, w.URL, look{}).hurry()
			fresh.visit("/")
			var took float64 // from the request to the end of the answer, in ms
			fresh.eval(`(({requestStart, responseEnd}) => responseEnd - requestStart)(performance.getEntriesByType("navigation")[0])`, &took)
			t.Logf("a new page says so after %.0f ms", took)
			if got := fresh.seen.status(w.URL + "/"); got != http.StatusServiceUnavailable || took > 5000 {
				t.Errorf("a new page: %d after %.0f ms", got, took)
			}
			fresh.shows("could not be read")
			away.end()
			b.untilWithin(time.Minute, "the page to recover", `document.querySelector("#trouble").textContent === ""`)
			fresh.untilWithin(time.Minute, "the new page to recover", `document.querySelector("#runs .counts")?.textContent`)
			if got := fresh.text("#runs .counts"); got != counts {
				t.Errorf("afterwards it says %q, and the command %q", got, counts)
			}
			b.seen.forgive("503 (Service Unavailable)")
			fresh.seen.forgive("503 (Service Unavailable)")
			b.seen.quiet(t)
			fresh.seen.quiet(t)
		})
	}
}
