// Portals signed in to with OAuth: tokens that expire, servers that fail, hosts
// that are renamed, and no secret anywhere.

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

// registerAll submits rows for every portal of the clinic and returns their results.
func (c *clinic) registerAll(perPortal int, env []string) []result {
	c.t.Helper()
	rows := goodRows(c.names, perPortal*len(c.names))
	p := finish(c.t, 0, 2*time.Minute, "enqueue", env, "submit", "--wait", "--portals", c.file(), writeJSONL(c.t, rows))
	return parseResults(c.t, p.stdout.String(), len(rows))
}

// All tokens of 60 portals have expired when 4 workers begin: each portal's is
// traded once.
func TestExpiredTokensAreRefreshedOncePerPortal(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for range 60 {
		c.addOAuth(sandbox.Unlimited(""))
	}
	c.box.ExpireTokens()
	env := c.env("REQUEST_TIMEOUT=5s", "SHUTDOWN_TIMEOUT=8s")
	for range 4 {
		startWorker(t, env...)
	}
	results := c.registerAll(5, env)
	allRegistered(t, c.fleet, results)
	if n := c.bots(); n != len(results) {
		t.Errorf("%d bots for %d rows", n, len(results))
	}
	for _, st := range c.box.Portals() {
		if s := st.AuthStats(); s.Refreshes != 1 || s.Reused != 0 || s.Refused != 0 {
			t.Errorf("%s: %+v", st.Name(), s)
		}
	}
	if v := c.box.Violations(); len(v) > 0 {
		t.Errorf("%d violations, the first: %+v", len(v), v[0])
	}
}

// The authorization server is ill when the tokens have expired: rows wait for
// it, and spend no attempt.
func TestRowsWaitForTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for range 8 {
		c.addOAuth(sandbox.Unlimited(""))
	}
	c.box.ExpireTokens()
	if err := c.box.Auth().Inject(sandbox.Fault{Kind: sandbox.HTML, Status: 503, Count: 4}); err != nil {
		t.Fatal(err)
	}
	env := c.env("REQUEST_TIMEOUT=5s", "SHUTDOWN_TIMEOUT=8s", "MAX_ATTEMPTS=1")
	startWorker(t, env...)
	startWorker(t, env...)
	for _, r := range c.registerAll(3, env) {
		if r.Status != "registered" || r.Attempts != 1 {
			t.Errorf("%+v", r)
		}
	}
	for _, st := range c.box.Portals() {
		if s := st.AuthStats(); s.Refreshes != 1 || s.Reused != 0 {
			t.Errorf("%s: %+v", st.Name(), s)
		}
	}
}

// An answer of the authorization server is lost after the pair was traded: the
// old pair is tried once more, a minute later, and then the portal is held, with
// what to do.
func TestALostPairIsHeldWithAReason(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	lost, fine := c.addOAuth(sandbox.Unlimited("")), c.addOAuth(sandbox.Unlimited(""))
	lost.ExpireTokens()
	if err := c.box.Auth().Inject(sandbox.Fault{Kind: sandbox.Cut, When: sandbox.After, Count: 1}); err != nil {
		t.Fatal(err)
	}
	env := c.env("REQUEST_TIMEOUT=5s", "SHUTDOWN_TIMEOUT=8s", "HOLD_TTL=2s")
	startWorker(t, env...)
	rows := goodRows(c.names, 4)
	p := finish(t, 2, 2*time.Minute, "enqueue", env, "submit", "--wait", "--portals", c.file(), writeJSONL(t, rows))
	for _, r := range parseResults(t, p.stdout.String(), len(rows)) {
		if r.Portal == fine.Name() {
			if r.Status != "registered" {
				t.Errorf("%+v", r)
			}
			continue
		}
		if r.Status != "dead" || r.Class != "blocked" || !strings.Contains(r.Error.Description, "install") {
			t.Errorf("%+v %+v", r, r.Error)
		}
	}
	if s := lost.AuthStats(); s.Refreshes != 1 || s.Reused != 1 {
		t.Errorf("%+v", s)
	}
	held := c.run(0, "list", "--state", "held").stdout.String()
	if !strings.Contains(held, lost.Name()) || !strings.Contains(held, "install") {
		t.Errorf("held: %s", held)
	}
}

// A portal is renamed while rows are under way: they follow it, and it is known
// by its new name from then on.
func TestARenamedPortalIsFollowed(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	like := sandbox.Unlimited("")
	like.ServiceTime = 20 * time.Millisecond
	st, hook := c.addOAuth(like), c.add(like, nil)
	for _, e := range c.entries {
		e["rate"], e["burst"] = 100, 100
	}
	env := c.env("REQUEST_TIMEOUT=5s", "SHUTDOWN_TIMEOUT=8s", "BATCH=off")
	startWorker(t, env...)
	rows := goodRows(c.names, 200)
	run := submitted(t, env, "--portals", c.file(), writeJSONL(t, rows))
	await(t, time.Minute, "the first bots", func() bool { return c.created() >= 20 })
	for i, portal := range []*sandbox.PortalState{st, c.portal(hook)} {
		name, err := c.box.Listen(fmt.Sprintf("127.98.0.%d:0", i+1))
		if err != nil {
			t.Fatal(err)
		}
		if err := portal.Rename(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range resultsOf(t, env, run, len(rows), time.Minute) {
		if r.Status != "registered" {
			t.Errorf("%+v", r)
		}
	}
	if n := c.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	listed := c.run(0, "list").stdout.String()
	for _, portal := range []*sandbox.PortalState{st, c.portal(hook)} {
		if !strings.Contains(listed, portal.Name()) {
			t.Errorf("%s is not known by its new name:\n%s", portal.Name(), listed)
		}
	}
	if v := c.box.Violations(); len(v) > 0 {
		t.Errorf("%d violations, the first: %+v", len(v), v[0])
	}
}

// page gets a page of a worker.
func page(t *testing.T, w *process, path string) string {
	t.Helper()
	found := regexp.MustCompile(`http=(\S+)`).FindStringSubmatch(w.stderr.String())
	if found == nil {
		t.Fatal("the worker does not say where it serves")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+found[1]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Everything that leaves the processes or lands in Redis, in a run in which
// everything that can go wrong with signing in does: no secret of any kind is in it.
func TestNoSecretOfAnApplicationIsPrintedOrStoredOpen(t *testing.T) {
	t.Parallel()
	f := newFoyer(t)
	w, handler := f.worker("HOLD_TTL=1s", "MAX_ATTEMPTS=2", "HTTP_ADDR=127.0.0.1:0")
	installed := f.enters(sandbox.Unlimited(""))
	form := installed.Install()
	appToken := form.Get("auth[application_token]")
	if f.sent(handler, form) != http.StatusOK {
		t.Fatal("the install was not kept")
	}
	f.hasItsBots(installed)
	wrong := installed.Uninstall()
	wrong.Set("auth[application_token]", "wr0ngt0k3n0fsomebody3lse")
	f.sent(handler, wrong)
	f.entries = nil // known by its install

	revoked, other, elsewhere := f.addOAuth(sandbox.Unlimited("")), f.addOAuth(sandbox.Unlimited("")), f.addOAuth(sandbox.Unlimited(""))
	for range 3 {
		f.addOAuth(sandbox.Unlimited(""))
	}
	f.box.ExpireTokens()
	revoked.RevokeRefresh()
	other.AnswerAs("ffffffffffffffffffffffffffffffff", "")
	elsewhere.AnswerAs("", "https://evil.example.com/rest/")
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.Reset, Count: 1}, {Kind: sandbox.HTML, Status: 502, Count: 1}, {Kind: sandbox.Refuse, Code: "invalid_client", Count: 1},
	} {
		if err := f.box.Auth().Inject(fault); err != nil {
			t.Fatal(err)
		}
	}
	env := f.env("LOG_LEVEL=debug")
	rows := goodRows(f.names, 2*len(f.names))
	submit := start(t, "enqueue", env, "submit", "--wait", "--portals", f.file(), writeJSONL(t, rows))
	arguments := ""
	for _, p := range []*process{w, submit} {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		arguments += string(line)
	}
	submit.expect(2, 3*time.Minute)
	f.sent(handler, installed.Uninstall())
	await(t, time.Minute, "the portal to be gone", func() bool {
		return strings.Contains(f.run(0, "list", "--state", "gone").stdout.String(), installed.Name())
	})
	run := regexp.MustCompile(`run (\S+)`).FindStringSubmatch(submit.stderr.String())[1]
	said := map[string]string{
		"submit": submit.stdout.String() + submit.stderr.String(), "command lines": arguments,
		"metrics": page(t, w, "/metrics") + page(t, w, "/readyz") + page(t, w, "/healthz"),
	}
	for _, args := range [][]string{
		{"status"}, {"status", run}, {"results", run}, {"dead", "list", run}, {"dead", "export", run}, {"doctor"},
		{"portals", "list"}, {"portals", "list", "--format", "table"},
	} {
		p := start(t, "enqueue", env, args...)
		p.wait(time.Minute)
		said[strings.Join(args, " ")] = p.stdout.String() + p.stderr.String()
	}
	stored := dump(t, redistest.Client(t, f.url))
	w.stop(20 * time.Second)
	said["worker"], said["Redis"] = w.stdout.String()+w.stderr.String(), stored
	for what, text := range said {
		t.Run(what, func(t *testing.T) {
			noSecrets(t, text, f.key, clientSecret, f.box.TokenMark(), appToken, "wr0ngt0k3n0fsomebody3lse", webhookSecret)
		})
	}
	for what, want := range map[string]string{"worker": revoked.Name(), "Redis": revoked.Name(), "metrics": "botfleet_token_renewals_total"} {
		if !strings.Contains(said[what], want) {
			t.Errorf("what was looked at of %s does not hold %s", what, want)
		}
	}
	for _, v := range f.box.Violations() {
		if v.Kind == sandbox.StraySecret || v.Kind == sandbox.LeakedClientSecret {
			t.Errorf("%+v", v)
		}
	}
}

// The in-memory Redis of `enqueue run` ends with it, and so would a new pair of
// tokens, which the authorization server gives for the old one: none is asked for.
func TestRunWithoutARedisRenewsNoToken(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	st := c.addOAuth(sandbox.Unlimited(""))
	c.box.ExpireTokens()
	env := []string{"BITRIX_CLIENT_ID=" + clientID, "BITRIX_CLIENT_SECRET=" + clientSecret, "BITRIX_OAUTH_URL=" + c.box.AuthURL()}
	p := finish(t, 2, time.Minute, "enqueue", env, "run", "--portals", c.file(), writeJSONL(t, goodRows(c.names, 1)))
	r := parseResults(t, p.stdout.String(), 1)[0]
	if r.Status != "dead" || r.Class != "blocked" || !strings.Contains(r.Error.Description, "set REDIS_URL to a Redis that stays") {
		t.Errorf("%+v %+v", r, r.Error)
	}
	if s := st.AuthStats(); s.Requests != 0 {
		t.Errorf("%+v", s)
	}
}
