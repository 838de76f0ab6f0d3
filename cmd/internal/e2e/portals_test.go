// enqueue portals: what can be wrong with a portal, told in words; and the life
// of a stored portal from import to removal.

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

const (
	clientID     = "local.5c8bb1b0891cf2.87252039"
	clientSecret = "cl13nts3cr3t0fth34pp"
)

// clinic is a Redis, portals of many kinds, and the settings to look after them.
type clinic struct {
	*fleet

	registry *portals.Registry
	url, key string
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	server := redistest.Start(t)
	key := portals.NewKey()
	keys, err := portals.ParseKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	f.box = sandbox.Start(t, sandbox.WithLogSize(2000), sandbox.WithApplication(clientID, clientSecret))
	return &clinic{fleet: f, registry: portals.New(redistest.Client(t, server.URL), keys, portals.Options{}), url: server.URL, key: key}
}

// env is the environment of a command; more beats it.
func (c *clinic) env(more ...string) []string {
	return append([]string{"REDIS_URL=" + c.url, "SECRETS_KEY=" + c.key, "BITRIX_CLIENT_ID=" + clientID,
		"BITRIX_CLIENT_SECRET=" + clientSecret, "BITRIX_OAUTH_URL=" + c.box.AuthURL()}, more...)
}

// run runs enqueue portals, wants an exit status, and that no secret is printed.
func (c *clinic) run(code int, args ...string) *process {
	c.t.Helper()
	return c.runWith(code, nil, args...)
}

func (c *clinic) runWith(code int, env []string, args ...string) *process {
	c.t.Helper()
	p := finish(c.t, code, time.Minute, "enqueue", c.env(env...), append([]string{"portals"}, args...)...)
	noSecrets(c.t, p.stdout.String()+p.stderr.String(), webhookSecret, c.key, clientSecret, c.box.TokenMark())
	return p
}

// addOAuth adds a portal that has the application installed.
func (c *clinic) addOAuth(like sandbox.Portal) *sandbox.PortalState {
	c.t.Helper()
	like.App = clientID
	name := c.add(like, nil)
	st := c.portal(name)
	access, refresh := st.Pair()
	c.entries[len(c.entries)-1] = map[string]any{
		"portal": name, "access_token": string(access), "refresh_token": string(refresh),
		"client_endpoint": "http://" + name + "/rest/", "member_id": st.MemberID(),
	}
	return st
}

// entry adds a line to the portals file for an address that is no portal of the box.
func (c *clinic) entry(host, scheme string) string {
	c.entries = append(c.entries, map[string]any{
		"portal": host, "webhook": scheme + "://" + host + "/rest/1/" + webhookSecret + "/", "client_id": "fleet",
	})
	return host
}

// id is a stored portal's permanent id.
func (c *clinic) id(name string) string {
	c.t.Helper()
	p, err := c.registry.Find(c.t.Context(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	return p.ID
}

// hold holds a portal as a worker does.
func (c *clinic) hold(name, reason string) {
	c.t.Helper()
	p, err := c.registry.Find(c.t.Context(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	if held, err := c.registry.HoldCredential(c.t.Context(), p.ID, p.Credential, reason, time.Now()); err != nil || !held {
		c.t.Fatalf("hold %s: %v, %v", name, held, err)
	}
}

// uninstall makes a stored portal gone.
func (c *clinic) uninstall(st *sandbox.PortalState) {
	c.t.Helper()
	access, refresh := st.Pair()
	a, err := bitrix.NewOAuth("http://"+st.Name()+"/rest/", string(access))
	if err != nil {
		c.t.Fatal(err)
	}
	in := portals.Install{MemberID: st.MemberID(), Access: a, Refresh: bitrix.NewSecret(string(refresh)), AppToken: bitrix.NewSecret("4ppl1c4t10nt0k3n")}
	if _, err := c.registry.Install(c.t.Context(), in); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.registry.Uninstall(c.t.Context(), st.MemberID(), in.AppToken, time.Now()); err != nil {
		c.t.Fatal(err)
	}
}

// portalCheck is a line of what check prints.
type portalCheck struct {
	Portal    string `json:"portal"`
	Fine      bool   `json:"fine"`
	Status    string `json:"status"`
	Code      string `json:"code"`
	Problem   string `json:"problem"`
	MovedFrom string `json:"moved_from"`
	Works     *bool  `json:"works"`
	Released  bool   `json:"released"`
	Requests  int    `json:"requests"`
}

// parse reads what a command printed as JSON Lines.
func parse[T any](t *testing.T, p *process) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(p.stdout.String()) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

func checks(t *testing.T, p *process) map[string]portalCheck {
	t.Helper()
	byName := map[string]portalCheck{}
	for _, c := range parse[portalCheck](t, p) {
		byName[c.Portal] = c
	}
	return byName
}

// diagnosis is what check must say of a portal.
type diagnosis struct {
	portal   string
	status   string
	says     string // part of the problem
	requests int    // that the portal may get at most
}

func (d diagnosis) compare(t *testing.T, got portalCheck) {
	t.Helper()
	if got.Status != d.status || !strings.Contains(got.Problem, d.says) {
		t.Errorf("%s: %s, %q; want %s, %q", d.portal, got.Status, got.Problem, d.status, d.says)
	}
	if fine := d.status == "ok" || d.status == "no_client_id"; got.Fine != fine {
		t.Errorf("%s: fine is %v", d.portal, got.Fine)
	}
	if got.Requests > d.requests {
		t.Errorf("%s: %d requests, at most %d are needed", d.portal, got.Requests, d.requests)
	}
}

func refusingPortal(code string) sandbox.Portal {
	p := sandbox.Cloud("")
	p.Faults = []sandbox.Fault{{Kind: sandbox.Refuse, Code: code}}
	return p
}

func brokenPortal(kind sandbox.FaultKind) sandbox.Portal {
	p := sandbox.Cloud("")
	p.Faults = []sandbox.Fault{{Kind: kind}}
	return p
}

// webhooks adds portals with webhooks that have something wrong.
func (c *clinic) webhooks() []diagnosis {
	noScope := sandbox.Cloud("")
	noScope.Scopes = []string{"im", "crm"}
	dead := map[string]any{"webhook": nil}
	all := []diagnosis{
		{c.add(sandbox.Cloud(""), map[string]any{"client_id": nil}), "no_client_id", "rows must bring one", 1},
		{c.add(noScope, nil), "no_scope", "the webhook lacks the scope imbot", 1},
		{c.add(refusingPortal("ACCESS_DENIED"), nil), "no_rest", "its plan has no REST", 1},
		{c.add(refusingPortal("OVERLOAD_LIMIT"), nil), "overloaded", "only its support lifts that", 1},
		{c.add(refusingPortal("PORTAL_DELETED"), nil), "deleted", "remove it", 1},
		{c.add(refusingPortal("user_access_error"), nil), "no_access", "the user behind", 1},
		{c.add(brokenPortal(sandbox.HTML), nil), "unreachable", "does not answer as a portal does", 1},
		{c.add(brokenPortal(sandbox.Silence), nil), "unreachable", "did not answer within 2s", 1},
		{c.add(brokenPortal(sandbox.Reset), nil), "unreachable", "cannot be reached", 1},
		{c.entry("127.0.0.1:1", "http"), "unreachable", "the connection was refused", 0},
		{c.entry("no-such-portal.invalid", "https"), "unreachable", "name", 0},
	}
	name := c.add(sandbox.Cloud(""), dead)
	c.entries[len(c.entries)-1]["webhook"] = "http://" + name + "/rest/1/" + webhookSecret + "x/"
	all = append(all, diagnosis{name, "dead_webhook", "the webhook is dead", 1})
	name = c.add(sandbox.Cloud(""), nil)
	c.entries[len(c.entries)-1]["webhook"] = "https://" + name + "/rest/1/" + webhookSecret + "/"
	return append(all, diagnosis{name, "unreachable", "no safe connection", 0})
}

// applications adds portals with tokens.
func (c *clinic) applications() []diagnosis {
	noScope := sandbox.Cloud("")
	noScope.Scopes = []string{"im"}
	fresh, expired, revoked, lacking := c.addOAuth(sandbox.Cloud("")), c.addOAuth(sandbox.Cloud("")), c.addOAuth(sandbox.Cloud("")), c.addOAuth(noScope)
	expired.ExpireTokens()
	revoked.ExpireTokens()
	revoked.RevokeRefresh()
	return []diagnosis{
		{fresh.Name(), "ok", "", 1},
		{expired.Name(), "ok", "", 2},
		{revoked.Name(), "expired", "have the application installed again", 1},
		{lacking.Name(), "no_scope", "add it in the application's settings", 1},
		{c.addOAuth(refusingPortal("APPLICATION_NOT_FOUND")).Name(), "no_access", "not installed there any more", 1},
	}
}

func TestCheckSaysWhatIsWrongWithEachPortal(t *testing.T) {
	turn(t)
	c := newClinic(t)
	all := append(c.webhooks(), c.applications()...)
	old := c.add(sandbox.Cloud(""), nil)
	works, stays, operator := c.add(sandbox.Cloud(""), nil), c.add(refusingPortal("ACCESS_DENIED"), nil), c.add(sandbox.Cloud(""), nil)
	gone := c.addOAuth(sandbox.Cloud(""))
	c.entry("198.51.100.7", "http")
	for len(c.entries) < 29 {
		all = append(all, diagnosis{c.add(sandbox.Cloud(""), nil), "ok", "", 1})
	}
	wide := []string{"ALLOW_INSECURE_PORTALS=127.0.0.0/8,198.51.100.0/24"}
	c.runWith(0, wide, "import", c.file())
	c.entries = nil
	sealed := c.add(sandbox.Cloud(""), nil)
	c.runWith(0, []string{"SECRETS_KEY=" + portals.NewKey()}, "import", "--lost-key", c.file())

	renamed, err := c.box.Listen("127.99.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.portal(old).Rename(renamed); err != nil {
		t.Fatal(err)
	}
	c.hold(works, "INVALID_CREDENTIALS: Invalid request credentials")
	c.hold(stays, "ACCESS_DENIED: REST API is available only on commercial plans.")
	c.run(0, "hold", operator, "--reason", "until Monday")
	c.uninstall(gone)
	all = append(all,
		diagnosis{renamed, "ok", "", 2},
		diagnosis{works, "held", "it would work now", 1},
		diagnosis{stays, "held", "it would not work now: its plan has no REST", 1},
		diagnosis{operator, "held", "by an operator: until Monday; it would work now", 1},
		diagnosis{gone.Name(), "gone", "gone since", 0},
		diagnosis{"198.51.100.7", "forbidden", "198.51.100.7 is not a public address", 0},
		diagnosis{sealed, "sealed", "which SECRETS_KEY does not hold", 0},
	)
	if len(all) != 30 {
		t.Fatalf("%d portals", len(all))
	}

	p := c.run(2, "check", "--timeout", "2s", "--parallel", "4")
	got := checks(t, p)
	if len(got) != len(all) {
		t.Errorf("%d portals checked, not %d", len(got), len(all))
	}
	for _, d := range all {
		d.compare(t, got[d.portal])
	}
	if from := got[renamed].MovedFrom; from != old {
		t.Errorf("%s moved from %q, not from %s", renamed, from, old)
	}
	if !strings.Contains(p.stderr.String(), "30 portals: 8 ok, 6 unreachable, 3 held") {
		t.Errorf("the summary:\n%s", p.stderr.String())
	}
	for _, st := range c.box.Portals() {
		if s := st.Stats(); s.Statuses[503] > 0 && !strings.Contains(got[st.Name()].Problem, "support") {
			t.Errorf("%s was asked beyond its limits", st.Name())
		}
	}
	c.release(works, stays, operator)
}

// release checks the held portals with --release.
func (c *clinic) release(works, stays, operator string) {
	c.t.Helper()
	got := checks(c.t, c.run(2, "check", "--state", "held", "--release", "--timeout", "2s"))
	if len(got) != 3 || !got[works].Released || got[works].Status != "ok" || got[stays].Released || got[operator].Released {
		c.t.Errorf("%+v", got)
	}
	held, err := c.registry.Held(c.t.Context())
	if err != nil || len(held) != 2 {
		c.t.Errorf("held: %v, %v", held, err)
	}
	// Now nothing but a question through the gate: it must not hold it any more.
	if again := checks(c.t, c.run(0, "check", works)); again[works].Status != "ok" {
		c.t.Errorf("%+v", again)
	}
}

// With --portals nothing is stored, and no token is spent.
func TestCheckOfAFileStoresNothing(t *testing.T) {
	turn(t)
	c := newClinic(t)
	fine := c.add(sandbox.Cloud(""), nil)
	fresh, expired := c.addOAuth(sandbox.Cloud("")), c.addOAuth(sandbox.Cloud(""))
	expired.ExpireTokens()
	old := c.add(sandbox.Cloud(""), nil)
	renamed, err := c.box.Listen("127.99.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.portal(old).Rename(renamed); err != nil {
		t.Fatal(err)
	}
	p := c.runWith(2, []string{"SECRETS_KEY="}, "check", "--portals", c.file())
	got := checks(t, p)
	for _, d := range []diagnosis{
		{fine, "ok", "", 1}, {fresh.Name(), "ok", "", 1},
		{expired.Name(), "expired", "a new pair that is not stored is lost", 1},
		{old, "moved", "has moved to " + renamed + ": put that into the file", 1},
	} {
		d.compare(t, got[d.portal])
	}
	if n := c.box.Auth().Stats().Requests; n != 0 {
		t.Errorf("%d requests to the authorization server", n)
	}
	if n, err := c.registry.Count(t.Context()); err != nil || n != 0 {
		t.Errorf("%d portals stored, %v", n, err)
	}
	c.runWith(0, nil, "check", "--portals", c.file(), fine)
	c.runWith(1, nil, "check", "--portals", c.file(), "--release")
	c.runWith(3, nil, "check", "--portals", filepath.Join(t.TempDir(), "none.csv"))
}

// One interruption ends a check that waits for silent portals, with what was
// found out so far.
func TestCheckIsInterrupted(t *testing.T) {
	turn(t)
	c := newClinic(t)
	fine := c.add(sandbox.Cloud(""), nil)
	c.addMany(20, brokenPortal(sandbox.Silence), nil)
	c.run(0, "import", c.file())
	p := start(t, "enqueue", c.env(), "portals", "check", "--timeout", "1m", "--parallel", "16")
	silent := func() int {
		n := 0
		for _, name := range c.names[1:] {
			n += c.portal(name).Stats().Requests
		}
		return n
	}
	await(t, 30*time.Second, "silent portals being asked", func() bool { return silent() >= 10 && strings.Contains(p.stdout.String(), fine) })
	p.signal(os.Interrupt)
	p.expect(130, 10*time.Second)
	if got := checks(t, p); len(got) != 1 || got[fine].Status != "ok" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(p.stderr.String(), "interrupted: 1 of 21 portals were checked") {
		t.Errorf("%s", p.stderr.String())
	}
}

// A portal's life: imported, listed, held, released, removed.
func TestTheLifeOfAStoredPortal(t *testing.T) {
	turn(t)
	c := newClinic(t)
	first, second := c.add(sandbox.Cloud(""), nil), c.add(sandbox.Cloud(""), nil)
	file := c.file()
	if got := c.run(0, "import", file).stdout.String(); !strings.Contains(got, `"added":2,"updated":0,"unchanged":0`) {
		t.Errorf("import: %s", got)
	}
	c.hold(first, "INVALID_CREDENTIALS: dead")
	c.run(0, "hold", second, "--reason", "moving house")
	list := c.runWith(0, []string{"SECRETS_KEY="}, "list", "--state", "held", "--format", "csv").stdout.String()
	if strings.Count(list, "\n") != 3 || !strings.Contains(list, "moving house,true") || !strings.Contains(list, "INVALID_CREDENTIALS: dead,false") {
		t.Errorf("list: %s", list)
	}

	// New credentials end both holds; the same file again changes nothing.
	c.entries[0]["webhook"] = "http://" + first + "/rest/7/" + webhookSecret + "/"
	c.entries[1]["webhook"] = "http://" + second + "/rest/7/" + webhookSecret + "/"
	p := c.run(0, "import", c.file())
	if got := p.stdout.String(); !strings.Contains(got, `"updated":2`) || !strings.Contains(got, first) ||
		!strings.Contains(p.stderr.String(), "released: "+second+" was held since") {
		t.Errorf("import: %s%s", got, p.stderr.String())
	}
	if got := c.run(0, "import", c.file()).stdout.String(); !strings.Contains(got, `"added":0,"updated":0,"unchanged":2}`) {
		t.Errorf("import again: %s", got)
	}

	// Rows wait: it is not removed by accident.
	c.hold(first, "gone fishing")
	rows := writeJSONL(t, goodRows([]string{first}, 3))
	finish(t, 0, time.Minute, "enqueue", c.env(), "submit", rows)
	refused := c.run(1, "remove", first, second).stderr.String()
	if !strings.Contains(refused, "3 rows wait for "+first) || !strings.Contains(refused, "--yes") {
		t.Errorf("remove: %s", refused)
	}
	if n, err := c.registry.Count(t.Context()); err != nil || n != 2 {
		t.Errorf("%d portals, %v", n, err)
	}
	c.run(0, "remove", c.id(second))
	if got := c.run(0, "remove", strings.ToUpper(first), "--yes").stdout.String(); !strings.Contains(got, `"done":"removed","rows":3`) {
		t.Errorf("remove --yes: %s", got)
	}
	if got := c.run(0, "list", "--format", "table").stdout.String(); got != "no portals\n" {
		t.Errorf("list: %q", got)
	}
}

// Rows of a held portal go on when it is released, with a worker at work.
func TestAReleasedPortalsRowsGoOn(t *testing.T) {
	turn(t)
	c := newClinic(t)
	name := c.add(sandbox.Cloud(""), nil)
	c.run(0, "import", c.file())
	c.run(0, "hold", name, "--reason", "until the ticket is closed")
	w := startWorker(t, c.env()...)
	p := start(t, "enqueue", c.env(), "submit", "--wait", writeJSONL(t, goodRows([]string{name}, 3)))
	awaitHeld := func() bool {
		s := finish(t, 0, time.Minute, "enqueue", c.env(), "status", "--format", "json")
		return strings.Contains(s.stdout.String(), `"waiting":3`)
	}
	await(t, 30*time.Second, "rows waiting", awaitHeld)
	if got := c.run(0, "release", name).stdout.String(); !strings.Contains(got, `"done":"released"`) {
		t.Errorf("release: %s", got)
	}
	p.expect(0, 30*time.Second)
	parseResults(t, p.stdout.String(), 3)
	w.stop(20 * time.Second)
}

// The key is changed while everything goes on.
func TestRekey(t *testing.T) {
	turn(t)
	c := newClinic(t)
	c.addMany(3, sandbox.Cloud(""), nil)
	c.run(0, "import", c.file())
	other := portals.NewKey()
	both := []string{"SECRETS_KEY=" + other + "," + c.key}
	p := c.runWith(0, both, "rekey")
	noSecrets(t, p.stdout.String()+p.stderr.String(), other)
	if !strings.Contains(p.stdout.String(), `"resealed":3,"portals":3`) || !strings.Contains(p.stderr.String(), "no longer needed") {
		t.Errorf("%s%s", p.stdout.String(), p.stderr.String())
	}
	c.runWith(0, []string{"SECRETS_KEY=" + other}, "check")
	p = c.run(2, "rekey")
	if strings.Count(p.stderr.String(), "do not open") < 3 || !strings.Contains(p.stderr.String(), c.names[2]) {
		t.Errorf("%s", p.stderr.String())
	}
}

// Everything that the commands must turn down, each in a line or two.
func TestBadUseOfPortals(t *testing.T) {
	turn(t)
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	env := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "ALLOW_INSECURE_PORTALS="}
	bad2 := map[string]string{"p.csv": "portal,webhook,rate\n" +
		"acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/" + webhookSecret + "/,fast\nbeta.bitrix24.ru,htps://beta.bitrix24.ru/rest/1/" + webhookSecret + "/,2\n"}
	for _, b := range []bad{
		{name: "unknown command", args: []string{"lisst"}, code: 1, said: []string{"did you mean list?", "see: enqueue portals --help"}},
		{name: "import of nothing", args: []string{"import"}, code: 1, said: []string{"accepts 1 arg"}},
		{name: "import of no file", args: []string{"import", "none.csv"}, code: 3, said: []string{"none.csv: no such file"}},
		{name: "import of bad lines", files: bad2, args: []string{"import", "p.csv", "--format", "table"}, code: 3, said: []string{"p.csv:2: rate: ", "p.csv:3: webhook: ", "2 problems; nothing was stored"}},
		{name: "import without key", args: []string{"import", "portals.csv"}, env: []string{"SECRETS_KEY="}, code: 1, said: []string{"SECRETS_KEY is not set"}},
		{name: "standard input without format", args: []string{"import", "-"}, code: 1, said: []string{"--input-format"}},
		{name: "unknown state", args: []string{"list", "--state", "dead"}, code: 1, said: []string{`"dead" is none of active, held, gone`}},
		{name: "unknown format", args: []string{"list", "--format", "xml"}, code: 1, said: []string{`"xml"`}},
		{name: "unknown portal", args: []string{"check", "acme.bitrix24.ru"}, code: 1, said: []string{`"acme.bitrix24.ru" is not known`}},
		{name: "a URL in place of a portal", args: []string{"remove", "https://acme.bitrix24.ru/rest/1/" + webhookSecret + "/"}, code: 1, said: []string{"and not a URL"}},
		{name: "too parallel", args: []string{"check", "--parallel", "1000"}, code: 1, said: []string{"--parallel: 1000"}},
		{name: "check without key", args: []string{"check"}, env: []string{"SECRETS_KEY="}, code: 1, said: []string{"SECRETS_KEY is not set"}},
		{name: "hold without a reason", args: []string{"hold", "acme.bitrix24.ru"}, code: 1, said: []string{"--reason TEXT is needed"}},
		{name: "hold of nothing", args: []string{"hold", "--reason", "x"}, code: 1, said: []string{"at least 1 arg"}},
		{name: "release of nothing", args: []string{"release"}, code: 1, said: []string{"or say --all"}},
		{name: "release of all and one", args: []string{"release", "--all", "x"}, code: 1, said: []string{"or say --all"}},
		{name: "remove of nothing", args: []string{"remove"}, code: 1, said: []string{"at least 1 arg"}},
		{name: "rekey without key", args: []string{"rekey"}, env: []string{"SECRETS_KEY="}, code: 1, said: []string{"SECRETS_KEY is not set"}},
		{name: "output that is there", args: []string{"list", "--output", "portals.csv"}, code: 1, said: []string{"portals.csv: is there already"}},
		{name: "Redis not there", args: []string{"list"}, env: []string{"REDIS_URL=redis://127.0.0.1:1/0"}, code: 1, said: []string{"redis at 127.0.0.1:1: "}},
	} {
		b.args = slices.Insert(b.args, 0, "portals")
		t.Run(b.name, func(t *testing.T) { b.judge(t, client, env) })
	}
}
