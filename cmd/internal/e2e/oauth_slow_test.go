// Signing in when everything goes wrong. A lost pair of tokens is left alone for a
// minute; these tests wait most of the time, and once is enough of it.

//go:build !race

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

// An answer of the authorization server is lost after the pair was traded: the
// old pair is tried once more, a minute later, and then the portal is held, with
// what to do.
func TestALostPairIsHeldWithAReason(t *testing.T) {
	turn(t)
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

// Everything that leaves the processes or lands in Redis, in a run in which
// everything that can go wrong with signing in does: no secret of any kind is in it.
func TestNoSecretOfAnApplicationIsPrintedOrStoredOpen(t *testing.T) {
	turn(t)
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
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Cmd.Process.Pid))
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
