// Portals that install the application: what they POST to a worker's install
// handler becomes a stored portal with its bots, once.

package e2e

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/built"
	"botfleet/ratelimit/redistest"
)

// foyer is a Redis of its own, portals that may install the application, and what
// workers need to take them in.
type foyer struct {
	*clinic
	server *redistest.Server
	bots   string // BOTS_FILE
}

func newFoyer(t *testing.T) *foyer {
	t.Helper()
	server := redistest.Start(t, redistest.AOF())
	key := portals.NewKey()
	keys, err := portals.ParseKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	f.box = sandbox.Start(t, sandbox.WithLogSize(2000), sandbox.WithApplication(clientID, clientSecret))
	c := &clinic{fleet: f, registry: portals.New(redistest.Client(t, server.URL), keys, portals.Options{}), url: server.URL, key: key}
	helper, guide := goodRow("", "helper"), goodRow("", "guide")
	for _, r := range []row{helper, guide} {
		delete(r, "portal")
		delete(r, "id")
	}
	return &foyer{clinic: c, server: server, bots: writeJSONL(t, []row{helper, guide})}
}

// enters adds a portal that has the application, and has not told of it yet.
func (f *foyer) enters(like sandbox.Portal) *sandbox.PortalState {
	f.t.Helper()
	like.App = clientID
	return f.portal(f.add(like, nil))
}

// worker starts a worker with an install handler, and returns the handler's URL.
func (f *foyer) worker(env ...string) (w *process, handler string) {
	f.t.Helper()
	w = startWorker(f.t, f.env(append([]string{"INSTALL_ADDR=127.0.0.1:0", "BOTS_FILE=" + f.bots, "LOG_LEVEL=debug",
		"REQUEST_TIMEOUT=3s", "SHUTDOWN_TIMEOUT=15s"}, env...)...)...)
	awaitLine(f.t, w, "install handler started")
	found := regexp.MustCompile(`install handler started" addr=(\S+)`).FindStringSubmatch(w.stderr.String())
	if found == nil {
		f.t.Fatalf("the handler's address is not said:\n%s", w.stderr.String())
	}
	return w, "http://" + found[1] + "/install"
}

// sent posts an event's form as a portal does, and returns the answer's status: it
// has to come within 2 s, which the race detector on a busy machine takes by itself.
func (f *foyer) sent(handler string, form interface{ Encode() string }) int {
	f.t.Helper()
	begin := time.Now()
	status := f.posted(handler, form)
	if took := time.Since(begin); took > 2*time.Second && !withRace {
		f.t.Errorf("the answer took %v", took)
	}
	return status
}

// posted is sent for forms that are posted by the hundred: how long each takes then
// is the machine's doing.
func (f *foyer) posted(handler string, form interface{ Encode() string }) int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, handler, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Close = true
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.t.Error(err)
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// botsOf counts a portal's bots.
func botsOf(st *sandbox.PortalState) int {
	n := 0
	for _, of := range st.BotsByCode() {
		n += of
	}
	return n
}

// hasItsBots waits until every portal has its two bots.
func (f *foyer) hasItsBots(all ...*sandbox.PortalState) {
	f.t.Helper()
	await(f.t, time.Minute, "two bots on every portal", func() bool {
		for _, st := range all {
			if botsOf(st) < 2 {
				return false
			}
		}
		return true
	})
	if n := f.fleet.bots(); n != 2*len(all) { // which also looks for CODEs with two bots
		f.t.Errorf("%d bots on %d portals", n, len(all))
	}
}

// noneLeaks fails the test when a process printed a secret, or Redis holds one open.
func (f *foyer) noneLeaks(processes ...*process) {
	f.t.Helper()
	text := dump(f.t, redistest.Client(f.t, f.url))
	for _, p := range processes {
		text += p.stdout.String() + p.stderr.String()
	}
	noSecrets(f.t, text, f.key, clientSecret, f.box.TokenMark())
	if !strings.Contains(text, f.names[0]) {
		f.t.Error("what was looked at does not even name the portals")
	}
}

// Twenty portals, each of which sends its form five times to two workers.
func TestInstalledPortalsGetTheirBots(t *testing.T) {
	turn(t)
	f := newFoyer(t)
	var all []*sandbox.PortalState
	for range 20 {
		all = append(all, f.enters(sandbox.Unlimited("")))
	}
	first, one := f.worker()
	second, two := f.worker()
	var sending sync.WaitGroup
	for _, st := range all {
		form := st.Install()
		for i := range 5 {
			sending.Go(func() {
				status := f.posted([]string{one, two}[i%2], form)
				// What the race detector keeps from being stored in time is refused, so that
				// it is sent again.
				for try := 1; withRace && try < 5 && status == http.StatusServiceUnavailable; try++ {
					status = f.posted([]string{one, two}[i%2], form)
				}
				if status != http.StatusOK {
					t.Errorf("answered %d", status)
				}
			})
		}
	}
	sending.Wait()
	f.hasItsBots(all...)
	for _, st := range all {
		if n := st.Stats().Methods["imbot.bot.list"]; n != 1 {
			t.Errorf("%s was asked for a proof %d times", st.Name(), n)
		}
		p, err := f.registry.Find(t.Context(), st.MemberID())
		if err != nil || !p.Installed || p.Name != st.Name() {
			t.Errorf("stored as %+v, %v", p, err)
		}
	}
	status := finish(t, 0, time.Minute, "enqueue", f.env(), "status").stdout.String()
	if n := strings.Count(status, "install of "+f.names[0]); n != 1 {
		t.Errorf("status names %d installs of %s:\n%s", n, f.names[0], built.Tail(status))
	}
	list := finish(t, 0, time.Minute, "enqueue", f.env(), "portals", "list").stdout.String()
	if !strings.Contains(list, f.names[0]) {
		t.Errorf("the portal is not listed:\n%s", built.Tail(list))
	}
	f.noneLeaks(first, second)
	first.stop(20 * time.Second)
	second.stop(20 * time.Second)
}

// installRun is the id of the run of a portal's only install.
func (f *foyer) installRun(st *sandbox.PortalState) string {
	f.t.Helper()
	p, err := f.registry.Find(f.t.Context(), st.MemberID())
	if err != nil {
		f.t.Fatal(err)
	}
	return "install-" + p.ID + "-1"
}

// A portal without the right scope is stored and held; when it uninstalls the
// application, its waiting bots end as dead, with that reason. Installed again,
// with the scope, it gets them.
func TestUninstalledPortal(t *testing.T) {
	turn(t)
	f := newFoyer(t)
	st := f.enters(sandbox.Unlimited(""))
	if err := st.Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "insufficient_scope"}); err != nil {
		t.Fatal(err)
	}
	w, handler := f.worker()
	if status := f.sent(handler, st.Install()); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	awaitLine(t, w, "outcome=held")
	p, err := f.registry.Find(t.Context(), st.MemberID())
	if err != nil || p.Held == nil || !strings.Contains(p.Held.Reason, "scope imbot") {
		t.Fatalf("stored as %+v, held %+v, %v", p, p.Held, err)
	}
	forged := st.Install()
	forged.Set("event", "ONAPPUNINSTALL")
	forged.Set("auth[application_token]", "f0rg3d")
	if status := f.sent(handler, forged); status != http.StatusOK {
		t.Errorf("a forged uninstall was answered %d", status)
	}
	awaitLine(t, w, "the uninstall of a portal was refused")
	run := f.installRun(st)
	if status := f.sent(handler, st.Uninstall()); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	awaitLine(t, w, "outcome=uninstalled")
	for _, r := range resultsOf(t, f.env(), run, 2, time.Minute) {
		if r.Status != "dead" || r.Error == nil || r.Error.Code != "PORTAL_GONE" {
			t.Errorf("row %+v, %+v", r, r.Error)
		}
	}
	st.ClearFaults()
	if status := f.sent(handler, st.Install()); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	f.hasItsBots(st)
	f.noneLeaks(w)
	w.stop(20 * time.Second)
}

// A worker that is killed with an install half done: the next one goes on.
func TestKilledWorkerLosesNoInstall(t *testing.T) {
	turn(t)
	f := newFoyer(t)
	slow := sandbox.Unlimited("")
	slow.Latency = 500 * time.Millisecond
	var all []*sandbox.PortalState
	for range 4 {
		all = append(all, f.enters(slow))
	}
	w, handler := f.worker()
	for _, st := range all {
		if status := f.sent(handler, st.Install()); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	await(t, time.Minute, "a proof", func() bool { return f.box.Stats().Requests > 0 })
	w.Kill()
	ageLeases(t, f.url)
	next, _ := f.worker()
	f.hasItsBots(all...)
	f.noneLeaks(w, next)
	next.stop(20 * time.Second)
}

// Redis frozen: 503 in time; when it is back the portal's repeat goes through.
func TestInstallWhileRedisIsFrozen(t *testing.T) {
	turn(t)
	f := newFoyer(t)
	st := f.enters(sandbox.Unlimited(""))
	w, handler := f.worker()
	form := st.Install()
	f.server.Freeze()
	for range 3 {
		if status := f.sent(handler, form); status != http.StatusServiceUnavailable {
			t.Errorf("answered %d", status)
		}
	}
	f.server.Thaw()
	await(t, time.Minute, "an answer of 200", func() bool { return f.sent(handler, form) == http.StatusOK })
	f.hasItsBots(st)
	f.noneLeaks(w)
	w.stop(30 * time.Second)
}

// Bots that cannot be registered stop the start, not the first install.
func TestBrokenBotsFileStopsTheStart(t *testing.T) {
	turn(t)
	f := newFoyer(t)
	bad := goodRow("", "helper")
	delete(bad, "portal")
	delete(bad, "id")
	bad["COLOUR"] = "AZURE"
	w := start(t, "worker", f.env("HTTP_ADDR=127.0.0.1:0", "INSTALL_ADDR=127.0.0.1:0", "BOTS_FILE="+writeJSONL(t, []row{bad})))
	w.expect(1, time.Minute)
	if !strings.Contains(w.stderr.String(), "COLOUR") || !strings.Contains(w.stderr.String(), "rows.jsonl") {
		t.Errorf("it said: %s", w.stderr.String())
	}
}
