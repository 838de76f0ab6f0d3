//go:build browser

// The dashboard: a dead letter found, read, run again and seen complete.

package browser

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Parts of asynqmon's page, as expressions.
const (
	firstRow   = `document.querySelector("table tbody tr")`
	resultText = `[...document.querySelectorAll("pre")].at(-1)?.innerText`
)

// button finds a button by the beginning of its text or its title.
func button(text string) string {
	return `[...document.querySelectorAll("button, [role=button], [role=menuitem]")].find((b) => b.offsetParent !== null &&
		((b.innerText || "").trim().toLowerCase().startsWith(` + quoted(strings.ToLower(text)) + `) || b.title === ` + quoted(text) + `))`
}

// link finds a link by its whole text.
func link(text string) string {
	return `[...document.querySelectorAll("a")].find((a) => a.innerText.trim() === ` + quoted(text) + `)`
}

// whole opens the menu of a table of tasks and chooses what is done to all of them.
func (b *tab) whole(item string) {
	b.t.Helper()
	b.click(`[...document.querySelectorAll("button")].find((x) => x.querySelector('path[d^="M6 10c-1.1"]'))`) // "…"
	b.click(button(item))
}

func TestDeadLetterIsRunAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	broken := f.add(quick())
	f.add(quick())
	f.store()
	refuseNames(t, broken)
	w := startWorker(t, f.env...)
	run := f.submit("autumn.jsonl", 3, f.names...)
	f.awaitStatus(run, status{State: "done", Queued: 6, Registered: 3, Dead: 3})
	queue := f.queueOf(f.names[0])

	b := open(t, w.URL, look{})
	b.visit("/dashboard/")
	b.click(link(queue))
	b.click(button("archived"))
	b.shows("NAME_ERROR")
	b.shows(run)
	b.shows(f.names[0])
	b.seen.keepsSecrets(t, f.secrets()...)

	b.click(firstRow + `.querySelectorAll("td")[2]`)
	b.shows("Last Failure")
	b.shows("NAME_ERROR")
	b.seen.keepsSecrets(t, f.secrets()...)

	broken.ClearFaults()
	b.visit("/dashboard/queues/" + queue + "?status=archived")
	b.shows("NAME_ERROR")
	b.hover(firstRow + `.querySelector("td:last-child")`)
	b.click(firstRow + `.querySelectorAll("td:last-child button")[1]`) // delete, run
	b.shows("Archived task is now pending")
	f.awaitStatus(run, status{State: "done", Queued: 6, Registered: 4, Dead: 2})
	bot := broken.Bots()[0].ID
	b.click(button("completed"))
	b.shows(fmt.Sprintf(`"BOT_ID": %d`, bot))
	b.click(`[...document.querySelectorAll("table tbody tr")].find((r) => r.innerText.includes(` + quoted(fmt.Sprintf(`"BOT_ID": %d`, bot)) + `) && r.innerText.includes(` + quoted(f.names[0]) + `)).querySelectorAll("td")[2]`)
	b.shows("Result:")
	b.until("the bot's id in the result", resultText+`.includes("BOT_ID") && `+resultText+`.includes("`+strconv.Itoa(bot)+`")`)
	b.seen.keepsSecrets(t, f.secrets()...)

	// All that are left, in one click.
	b.visit("/dashboard/queues/" + queue + "?status=archived")
	b.shows("NAME_ERROR")
	b.whole("Run All")
	b.shows("All archived tasks are now pending")
	f.awaitStatus(run, status{State: "done", Queued: 6, Registered: 6})
	if n := len(broken.Bots()); n != 3 {
		t.Errorf("%d bots for 3 rows", n)
	}
	b.seen.quiet(t)
}

// A click that would change a whole queue of waiting rows is refused, and the page
// says why; the rows stay.
func TestRefusedClickSaysWhy(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(quick())
	f.store()
	enqueue(t, f.env, "portals", "hold", f.names[0], "--reason", "their request")
	w := startWorker(t, f.env...)
	run := f.submit("held.jsonl", 3, f.names...)
	queue := f.queueOf(f.names[0])

	b := open(t, w.URL, look{})
	b.visit("/dashboard/queues/" + queue + "?status=retry")
	b.shows("their request")
	b.whole("Delete All")
	b.until("the reason to be shown", `document.querySelector("[role=alert]")?.innerText.startsWith("Not done: the rows that wait belong to a run")`)
	b.click(button("×"))
	b.until("the notice to go", `!document.querySelector("[role=alert]")`)
	b.seen.forgive("403 (Forbidden)") // the browser notes each refusal
	b.seen.quiet(t)
	b.seen.keepsSecrets(t, f.secrets()...)
	if s := f.status(run); s != (status{State: "running", Queued: 3, Waiting: 3}) {
		t.Errorf("after a refused click: %+v", s)
	}
}

// Cancelling a task that is in work: its row waits on, spends no attempt, and there
// is one bot.
func TestCancelledTaskGoesOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	like, set := quick()
	clicked := make(chan struct{}) // the call lasts until it has been cancelled
	click := sync.OnceFunc(func() { close(clicked) })
	like.ServiceFunc = func(uint64) time.Duration { <-clicked; return 0 }
	like.ServerTimeout, set["server_timeout"] = -1, 240
	portal := f.add(like, set)
	f.store()
	w := startWorker(t, append(f.env, "REQUEST_TIMEOUT=4m", "SHUTDOWN_TIMEOUT=5m")...)
	t.Cleanup(click)
	b := open(t, w.URL, look{})
	run := f.submit("one.jsonl", 1, f.names...)
	queue := f.queueOf(f.names[0])
	b.visit("/dashboard/queues/" + queue + "?status=active")
	b.shows(run)
	b.hover(firstRow + `.querySelector("td:last-child")`)
	b.click(firstRow + `.querySelector("td:last-child button")`)
	b.visit("/dashboard/queues/" + queue + "?status=retry")
	b.shows(run)
	if s := f.status(run); s.Queued != 1 || s.Dead != 0 {
		t.Errorf("after its task was cancelled: %+v", s)
	}
	if n := len(portal.Bots()); n != 0 {
		t.Errorf("%d bots before the call was over", n)
	}
	click()
	await(t, callWithin, "the portal to make the bot all the same", func() bool { return len(portal.Bots()) > 0 })
	// It would wait until its call cannot be on its way any more, as nobody told it of
	// the answer; told to run now, it finds the bot.
	runNow := `fetch("/dashboard/api/queues/` + queue + `/retry_tasks?size=1").then((r) => r.json()).then((l) => Promise.all(l.tasks.map((k) =>
		fetch("/dashboard/api/queues/` + queue + `/retry_tasks/" + k.id + ":run", {method: "POST"})))).then(() => 0)`
	await(t, callWithin, "the row to be registered", func() bool {
		b.eval(runNow, nil)
		return f.status(run).Registered == 1 // which takes long enough for the worker to try
	})
	if bots := portal.Bots(); len(bots) != 1 {
		t.Errorf("%d bots for one row", len(bots))
	}
	var got struct{ Attempts int }
	b.must(json.Unmarshal([]byte(enqueue(t, f.env, "results", run)), &got))
	if got.Attempts != 1 && got.Attempts != 2 { // the one that was cancelled had been sent
		t.Errorf("%d attempts were spent", got.Attempts)
	}
	b.seen.quiet(t)
}

// The other pages of asynqmon open, and load from the worker alone.
func TestOtherPagesOpen(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(quick())
	f.store()
	w := startWorker(t, f.env...)
	f.awaitStatus(f.submit("one.jsonl", 1, f.names...), status{State: "done", Queued: 1, Registered: 1})
	b := open(t, w.URL, look{})
	for path, text := range map[string]string{"/servers": "portals-0", "/schedulers": "Scheduler", "/redis": "Redis Info", "/settings": "Polling"} {
		b.visit("/dashboard" + path)
		b.shows(text)
		b.seen.keepsSecrets(t, f.secrets()...)
	}
	b.click(link("Runs and portals"))
	b.until("the worker's own page", `location.pathname === "/" && document.querySelector("#runs")`)
	b.seen.quiet(t)
}
