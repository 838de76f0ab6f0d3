// enqueue portals as its users meet it, in this process.

package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
)

const hookSecret = "s3cr3tw3bh00kp4th"

// registered is a Redis with portals, and what a command needs to look after them.
type registered struct {
	t       *testing.T
	environ []string
	store   *portals.Registry
	gate    ratelimit.Gate
}

// withPortals imports portals that are named by their hosts.
func withPortals(t *testing.T, hosts ...string) *registered {
	t.Helper()
	server := redistest.Start(t)
	key := portals.NewKey()
	keys, err := portals.ParseKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	client := redistest.Client(t, server.URL)
	r := &registered{
		t: t, environ: []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + key},
		store: portals.New(client, keys, portals.Options{}), gate: gateOn(client),
	}
	if len(hosts) > 0 {
		r.run(exitDone, "import", r.file(hosts...))
	}
	return r
}

func gateOn(client redis.UniversalClient) ratelimit.Gate {
	return ratelimit.NewShared(ratelimit.SharedConfig{Redis: client})
}

// file writes a portals file; a host may be followed by more columns: plan, rate.
func (r *registered) file(hosts ...string) string {
	text := "portal,webhook,client_id,plan,rate\n"
	for _, h := range hosts {
		host, more, _ := strings.Cut(h, ",")
		text += fmt.Sprintf("%s,https://%s/rest/1/%s/,app,%s%s\n", host, host, hookSecret, more, strings.Repeat(",", max(0, 1-strings.Count(more, ","))))
	}
	return write(r.t, "portals.csv", text)
}

// run runs enqueue portals, wants an exit status and that no secret is shown.
func (r *registered) run(code int, args ...string) (out, errs string) {
	r.t.Helper()
	got, out, errs := command(r.t.Context(), r.environ, append([]string{"portals"}, args...)...)
	if got != code {
		r.t.Fatalf("%v: exit status %d, not %d\n%s%s", args, got, code, out, errs)
	}
	if strings.Contains(out+errs, hookSecret) {
		r.t.Errorf("%v: the webhook's secret is shown:\n%s%s", args, out, errs)
	}
	return out, errs
}

func (r *registered) find(name string) portals.Portal {
	r.t.Helper()
	p, err := r.store.Find(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *registered) gateHolds(name string) bool {
	r.t.Helper()
	s, _, err := r.gate.State(r.t.Context(), r.find(name).ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Hold != nil
}

func TestListSortsAndShowsStates(t *testing.T) {
	r := withPortals(t, "cc.bitrix24.ru", "aa.bitrix24.ru,enterprise", "bb.bitrix24.ru")
	r.run(exitDone, "hold", "bb.bitrix24.ru", "--reason", "=HYPERLINK(\"x\")")
	out, errs := r.run(exitDone, "list", "--format", "json")
	var all []listed
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.Portal + " " + string(l.State)
	}
	if !slices.Equal(names, []string{"aa.bitrix24.ru active", "bb.bitrix24.ru held", "cc.bitrix24.ru active"}) {
		t.Errorf("%v", names)
	}
	if l := all[0]; l.Plan != portals.Enterprise || l.Rate != 5 || l.Burst != 250 || l.Kind != "webhook" || l.Queue == "" || l.ID == "" || l.ClientID != "app" {
		t.Errorf("%+v", l)
	}
	if h := all[1].Held; h == nil || !h.ByOperator || h.Reason != `=HYPERLINK("x")` || time.Since(h.Since) > time.Minute {
		t.Errorf("%+v", h)
	}
	if !strings.Contains(errs, "3 portals: 2 active, 1 held") {
		t.Errorf("%s", errs)
	}
	if out, _ := r.run(exitDone, "list", "--format", "csv", "--state", "held,gone"); strings.Count(out, "\n") != 2 || !strings.Contains(out, `"'=HYPERLINK(""x"")"`) {
		t.Errorf("a formula, or another portal: %s", out)
	}
	if out, _ := r.run(exitDone, "list", "--state", "gone", "--format", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("%q", out)
	}
	if out, _ := r.run(exitDone, "list", "--format", "table"); !strings.Contains(out, "held since ") || !strings.Contains(out, "by an operator: ") || !strings.Contains(out, "5/250") {
		t.Errorf("%s", out)
	}
}

func TestPortalsAreNamedInThreeWays(t *testing.T) {
	r := withPortals(t)
	file := write(t, "portals.jsonl", `{"portal":"acme.bitrix24.ru","webhook":"https://acme.bitrix24.ru/rest/1/`+hookSecret+`/","member_id":"A1B2C3"}`)
	r.run(exitDone, "import", file)
	id := r.find("acme.bitrix24.ru").ID
	out, _ := r.run(exitDone, "hold", "ACME.bitrix24.ru", "a1b2c3", strings.ToUpper(id), "--reason", "once")
	if strings.Count(out, "\n") != 1 {
		t.Errorf("one portal, held once: %s", out)
	}
	_, errs := r.run(exitFailed, "hold", "acmee.bitrix24.ru", "acme.bitrix24.ru", "0123456789abcdef", "--reason", "x")
	if !strings.Contains(errs, "did you mean acme.bitrix24.ru?") || !strings.Contains(errs, `"0123456789abcdef" is not known`) {
		t.Errorf("%s", errs)
	}
	if h := r.find("acme.bitrix24.ru").Held; h.Reason != "once" {
		t.Errorf("one unknown portal must keep all from being held: %+v", h)
	}
}

func TestHoldAndReleaseReachTheGate(t *testing.T) {
	r := withPortals(t, "aa.bitrix24.ru", "bb.bitrix24.ru", "cc.bitrix24.ru")
	r.run(exitDone, "hold", "aa.bitrix24.ru", "bb.bitrix24.ru", "--reason", "first")
	if !r.gateHolds("aa.bitrix24.ru") || r.gateHolds("cc.bitrix24.ru") {
		t.Error("the gate holds another portal")
	}
	out, _ := r.run(exitDone, "hold", "aa.bitrix24.ru", "--reason", "second")
	if !strings.Contains(out, `"done":"held","was":{"reason":"first"`) {
		t.Errorf("%s", out)
	}
	out, _ = r.run(exitDone, "release", "aa.bitrix24.ru", "cc.bitrix24.ru")
	if !strings.Contains(out, `"done":"released","was":{"reason":"second"`) || !strings.Contains(out, `"done":"not held"`) || r.gateHolds("aa.bitrix24.ru") {
		t.Errorf("%s", out)
	}
	_, errs := r.run(exitFailed, "release", "--all")
	if !strings.Contains(errs, "Release 1 held portal, 1 of them held by an operator?") || !strings.Contains(errs, "--yes") || !r.gateHolds("bb.bitrix24.ru") {
		t.Errorf("%s", errs)
	}
	r.run(exitDone, "release", "--all", "--yes")
	if out, _ := r.run(exitDone, "release", "--all", "--format", "table"); out != "nothing to do\n" || r.gateHolds("bb.bitrix24.ru") {
		t.Errorf("%q", out)
	}
}

func TestImportTellsWhatItReleased(t *testing.T) {
	r := withPortals(t, "aa.bitrix24.ru", "bb.bitrix24.ru")
	r.run(exitDone, "hold", "aa.bitrix24.ru", "bb.bitrix24.ru", "--reason", "dead")
	file := strings.Replace(read(t, r.file("aa.bitrix24.ru", "bb.bitrix24.ru", "cc.bitrix24.ru,standard,500")), "aa.bitrix24.ru/rest/1/", "aa.bitrix24.ru/rest/2/", 1)
	out, errs := r.run(exitDone, "import", write(t, "portals.csv", file))
	var rep importReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Added != 1 || rep.Updated != 1 || rep.Unchanged != 1 || len(rep.Released) != 1 || rep.Released[0].Portal != "aa.bitrix24.ru" || rep.Released[0].Was.Reason != "dead" {
		t.Errorf("%s", out)
	}
	if !strings.Contains(errs, "released: aa.bitrix24.ru was held since") || !strings.Contains(errs, "warning: ") || !strings.Contains(errs, "500 requests a second") {
		t.Errorf("%s", errs)
	}
	if r.gateHolds("aa.bitrix24.ru") || !r.gateHolds("bb.bitrix24.ru") {
		t.Error("the gate was not told, or of the wrong portal")
	}
}

func TestImportFromStandardInput(t *testing.T) {
	r := withPortals(t)
	line := `{"portal":"acme.bitrix24.ru","webhook":"https://acme.bitrix24.ru/rest/1/` + hookSecret + `/"}`
	var out, errs strings.Builder
	code := Options{}.run(t.Context(), []string{"portals", "import", "-", "--input-format", "jsonl", "--format", "table"}, r.environ, stdio{strings.NewReader(line), &out, &errs})
	if code != exitDone || !strings.HasPrefix(out.String(), "ADDED") {
		t.Errorf("%d: %s%s", code, out.String(), errs.String())
	}
	r.find("acme.bitrix24.ru")
}

func TestImportNamesEveryProblem(t *testing.T) {
	r := withPortals(t)
	hosts := make([]string, 30)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("portal%d.bitrix24.ru,gold", i)
	}
	out, errs := r.run(exitRefused, "import", r.file(hosts...))
	var rep importReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Problems) != 30 || rep.Problems[29].Line != 31 || rep.Problems[29].Field != "plan" || !strings.Contains(errs, "30 problems; nothing was stored") {
		t.Errorf("%s%s", out, errs)
	}
	_, errs = r.run(exitRefused, "import", r.file(hosts...), "--format", "table")
	if strings.Count(errs, ": plan: ") != 30 {
		t.Errorf("%s", errs)
	}
	if n, err := r.store.Count(t.Context()); err != nil || n != 0 {
		t.Errorf("%d portals stored, %v", n, err)
	}
}

func TestOutputGoesIntoANewFile(t *testing.T) {
	r := withPortals(t, "aa.bitrix24.ru")
	path := filepath.Join(t.TempDir(), "list.csv")
	r.run(exitDone, "list", "--output", path)
	if text := read(t, path); !strings.HasPrefix(text, "portal,id,kind") || !strings.Contains(text, "\naa.bitrix24.ru,") {
		t.Errorf("%s", text)
	}
	_, errs := r.run(exitFailed, "list", "--output", path)
	if !strings.Contains(errs, "is there already") {
		t.Errorf("%s", errs)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCompletionOffersHosts(t *testing.T) {
	r := withPortals(t, "aa.bitrix24.ru", "ab.bitrix24.ru", "bb.bitrix24.ru")
	code, out, _ := command(t.Context(), r.environ, "__complete", "portals", "hold", "a")
	lines := strings.Split(out, "\n")
	slices.Sort(lines[:2])
	if code != exitDone || len(lines) < 3 || lines[0] != "aa.bitrix24.ru" || lines[1] != "ab.bitrix24.ru" || !strings.HasPrefix(lines[2], ":") {
		t.Errorf("%d: %q", code, out)
	}
}

func TestVerdictsAreInWords(t *testing.T) {
	webhook := &portals.Portal{Kind: portals.Webhook, ClientID: "x"}
	oauth := &portals.Portal{Kind: portals.OAuth}
	refreshable := &portals.Portal{Kind: portals.OAuth, Refresh: bitrix.NewSecret("r")}
	stored, file := &checker{timeout: 20 * time.Second}, &checker{timeout: 20 * time.Second, file: true}
	fail := func(class bitrix.Class, code string, status int) *bitrix.Error {
		return &bitrix.Error{Class: class, Code: code, Status: status, Description: "words of the portal"}
	}
	moved := fail(bitrix.Blocked, bitrix.CodePortalMoved, 302)
	moved.Location = "https://new.bitrix24.ru"
	for _, tc := range []struct {
		c      *checker
		p      *portals.Portal
		err    *bitrix.Error
		status checkStatus
		says   string
	}{
		{stored, webhook, fail(bitrix.Blocked, "insufficient_scope", 403), statusNoScope, "the webhook lacks"},
		{stored, oauth, fail(bitrix.Blocked, "insufficient_scope", 401), statusNoScope, "the application lacks"},
		{stored, webhook, fail(bitrix.Blocked, "ACCESS_DENIED", 401), statusNoREST, "words of the portal"},
		{stored, webhook, fail(bitrix.Validation, "ACCESS_DENIED", 403), statusNoClientID, "CLIENT_ID"},
		{stored, webhook, fail(bitrix.Blocked, "INVALID_CREDENTIALS", 401), statusDeadWebhook, "the webhook is dead"},
		{stored, webhook, fail(bitrix.Blocked, "expired_token", 401), statusDeadWebhook, "does not accept this webhook"},
		{stored, oauth, fail(bitrix.Blocked, "NO_AUTH_FOUND", 401), statusNoAccess, "installed again"},
		{stored, oauth, fail(bitrix.Blocked, "invalid_grant", 401), statusExpired, "words of the portal"},
		{stored, oauth, fail(bitrix.Blocked, "TOKEN_RENEWAL_LOST", 0), statusExpired, "words of the portal"},
		{stored, oauth, fail(bitrix.Blocked, "PAYMENT_REQUIRED", 0), statusNoREST, "not paid for"},
		{stored, oauth, fail(bitrix.Blocked, "PORTAL_GONE", 0), statusGone, "words of the portal"},
		{file, oauth, fail(bitrix.Token, "expired_token", 401), statusExpired, "there is no refresh_token"},
		{file, refreshable, fail(bitrix.Token, "expired_token", 401), statusExpired, "not stored is lost"},
		{stored, webhook, fail(bitrix.Blocked, "OVERLOAD_LIMIT", 503), statusOverloaded, "support"},
		{stored, webhook, fail(bitrix.Limit, "OPERATION_TIME_LIMIT", 429), statusBusy, "later"},
		{stored, webhook, moved, statusMoved, "words of the portal"},
		{file, webhook, moved, statusMoved, "new.bitrix24.ru: put that into the file"},
		{stored, webhook, fail(bitrix.Blocked, bitrix.CodeForbiddenEndpoint, 0), statusForbidden, "ALLOW_INSECURE_PORTALS"},
		{stored, webhook, fail(bitrix.Transient, bitrix.CodeDNS, 0), statusUnreachable, "words of the portal"},
		{stored, webhook, fail(bitrix.Ambiguous, bitrix.CodeTimeout, 0), statusUnreachable, "within 20s"},
		{stored, webhook, fail(bitrix.Ambiguous, bitrix.CodeNotJSON, 502), statusUnreachable, "does not answer as a portal"},
		{stored, webhook, fail(bitrix.Validation, "ODD", 400), statusError, "answers ODD: words of the portal"},
	} {
		v := tc.c.judge(tc.p, tc.err)
		if v.status != tc.status || !strings.Contains(v.text, tc.says) || v.code != tc.err.Code {
			t.Errorf("%s: %+v; want %s, %q", tc.err.Code, v, tc.status, tc.says)
		}
	}
	if v := stored.judge(&portals.Portal{Kind: portals.Webhook}, nil); v.status != statusNoClientID || !v.fine() {
		t.Errorf("%+v", v)
	}
	if v := stored.judge(oauth, nil); v.status != statusOK {
		t.Errorf("%+v", v)
	}
}

func TestTheGateLearnsWhatThePortalSaid(t *testing.T) {
	for _, tc := range []struct {
		err  *bitrix.Error
		want ratelimit.Outcome
	}{
		{nil, ratelimit.Answered},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "INVALID_CREDENTIALS", Status: 401}, ratelimit.Answered},
		{&bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503}, ratelimit.RateRefused},
		{&bitrix.Error{Class: bitrix.Limit, Code: "operation_time_limit", Status: 429}, ratelimit.WorkRefused},
		{&bitrix.Error{Class: bitrix.Transient, Code: bitrix.CodeRefused}, ratelimit.NoAnswer},
		{&bitrix.Error{Class: bitrix.Transient, Code: bitrix.CodeNotSent}, ratelimit.NotSent},
		{&bitrix.Error{Class: bitrix.Blocked, Code: bitrix.CodeForbiddenEndpoint}, ratelimit.NotSent},
		{&bitrix.Error{Class: bitrix.Transient, Code: "TOKEN_RENEWAL_PENDING", Wait: &bitrix.Wait{}}, ratelimit.NotSent},
		{&bitrix.Error{Class: bitrix.Transient, Code: "TOKEN_RENEWAL_PENDING", Status: 401, Wait: &bitrix.Wait{}}, ratelimit.Answered},
	} {
		var err error
		if tc.err != nil {
			err = tc.err
		}
		if a := listAnswer(err, bitrix.Time{}); a.Outcome != tc.want {
			t.Errorf("%+v: %s, want %s", tc.err, a.Outcome, tc.want)
		}
	}
}

// Many rows in a table: those that somebody has to look at.
func TestAWideTableShowsWhatNeedsAttention(t *testing.T) {
	var out, errs strings.Builder
	a := &app{std: stdio{strings.NewReader(""), &out, &errs}, common: common{format: report.Table}}
	s, err := a.newCheckSink(3000, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		r := &checked{name: fmt.Sprintf("%04d.bitrix24.ru", 2999-i), verdict: verdict{status: statusOK}}
		r.portal.Name = r.name
		if i%1000 == 0 {
			r.verdict = verdict{statusNoREST, "ACCESS_DENIED", "no REST\x1b[2J"}
		}
		if err := s.write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s.summary(3000, 2, 4*time.Second)
	if n := strings.Count(out.String(), "no_rest"); n != 3 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d\n%s", n, out.String()[:500])
	}
	if !strings.Contains(errs.String(), "more portals; --output FILE keeps all") ||
		!strings.Contains(errs.String(), "3,000 portals: 2,997 ok, 3 no_rest; 3,000 requests to portals, 2 to the authorization server, in 4s") {
		t.Errorf("%s", errs.String())
	}
}
