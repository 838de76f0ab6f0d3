// Portals signed in to with OAuth: tokens that expire, servers that fail, hosts
// that are renamed, and no secret anywhere.

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
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
	turn(t)
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
	turn(t)
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

// A portal is renamed while rows are under way: they follow it, and it is known
// by its new name from then on.
func TestARenamedPortalIsFollowed(t *testing.T) {
	turn(t)
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

// The in-memory Redis of `enqueue run` ends with it, and so would a new pair of
// tokens, which the authorization server gives for the old one: none is asked for.
func TestRunWithoutARedisRenewsNoToken(t *testing.T) {
	turn(t)
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
