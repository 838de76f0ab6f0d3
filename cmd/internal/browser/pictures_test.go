//go:build browser

// The README's pictures, taken of a real worker when SCREENSHOTS names a folder.

package browser

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/tasks/runs"
)

// sceneNames are what the portals of the scene are called in the pictures: the
// addresses that they are served on would tell a reader nothing.
var sceneNames = []string{
	"vektor-stroy.bitrix24.ru", "romashka.bitrix24.ru", "nord-logistic.bitrix24.ru", "medlab.bitrix24.ru",
	"atlas-auto.bitrix24.ru", "zvezda-retail.bitrix24.ru", "omega-group.bitrix24.ru",
}

// rename puts the portals' names in place of their addresses, in a page that is
// paused or as good as.
func (b *tab) rename(addresses []string) {
	b.t.Helper()
	names := map[string]string{}
	for i, a := range addresses {
		names[a] = sceneNames[i]
	}
	text, err := json.Marshal(names)
	b.must(err)
	b.eval(`{ const names = Object.entries(`+string(text)+`), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walk.nextNode()) for (const [a, n] of names) walk.currentNode.data = walk.currentNode.data.replaceAll(a, n); }`, nil)
}

// scene is a fleet in the middle of its work: one run goes on over portals with the
// cloud's limits, one portal is held by a person and one by its dead webhook, one
// refuses some bots, and two runs are done.
func scene(t *testing.T) (f *fleet, w *worker, run string) {
	t.Helper()
	f = newFleet(t)
	var states []*sandbox.PortalState
	for range sceneNames {
		like := sandbox.Cloud("")
		like.OperatingCost, like.ServiceTime = 2600*time.Millisecond, 120*time.Millisecond
		states = append(states, f.add(like, nil))
	}
	f.store()
	w = startWorker(t, append(f.env, "BATCH=off")...)
	f.awaitStatus(f.submit("pilot.jsonl", 2, f.names[1], f.names[2], f.names[5]), status{State: "done", Queued: 6, Registered: 6})
	refuseNames(t, states[3])
	f.awaitStatus(f.submit("lead-bots.jsonl", 5, f.names[:5]...), status{State: "done", Queued: 25, Registered: 20, Dead: 5})
	states[3].ClearFaults()
	if err := states[3].Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "NAME_ERROR", Probability: 0.3, Methods: []string{"imbot.register"}}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, f.env, "portals", "hold", f.names[6], "--reason", "asked by the customer, ticket 4711: not before Monday")
	states[4].RemoveWebhook("1", webhookSecret)
	run = f.submit("support-bots-2026.jsonl", 80, f.names...)
	f.awaitCounts(run, "half done", func(c runs.Counts) bool { return c.Registered > 5*62 && c.Dead > 3 })
	return f, w, run
}

func TestPictures(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.ArtifactDir() // so that the scene is played in every run
	} else if !filepath.IsAbs(dir) {
		t.Fatal("SCREENSHOTS has to be an absolute path")
	}
	t.Parallel()
	f, w, _ := scene(t)
	for name, l := range map[string]look{"page.png": {}, "page-360.png": {Width: 360, Height: 740}} {
		b := open(t, w.URL, l)
		b.visit("/")
		b.until("a whole page", `document.body.innerText.includes("ticket 4711") && document.body.innerText.includes("lately") && !document.body.innerText.includes("could")`)
		b.click(`document.querySelector("#pause")`)
		b.rename(f.names)
		b.picture(dir, name, true)
		b.seen.quiet(t)
	}
	b := open(t, w.URL, look{Height: 800, Width: 1280})
	b.visit("/dashboard/queues/" + f.queueOf(f.names[3]) + "?status=archived")
	b.shows("NAME_ERROR")
	b.click(firstRow + `.querySelectorAll("td")[2]`)
	b.shows("Last Failure")
	b.rename(f.names)
	b.picture(dir, "dead-letter.png", false)
	for _, name := range []string{"page.png", "page-360.png", "dead-letter.png"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 300<<10 {
			t.Errorf("%s has %d KB", name, info.Size()>>10)
		}
	}
}
