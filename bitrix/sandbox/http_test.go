package sandbox

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSuccessCarriesResultAndTime(t *testing.T) {
	v := visit(t, Portal{})
	a := v.works("imbot.register", bot("helper"), "39")
	if a.Time == nil || a.Time.DateStart == "" || a.Time.Finish < a.Time.Start {
		t.Errorf("time is missing or wrong: %s", a.raw)
	}
	if a.Time.Operating != nil || a.Time.ResetAt != nil {
		t.Errorf("operating given by a portal that does not report it: %s", a.raw)
	}
	if a.Time.Start != float64(int64(a.Time.Start)) || a.Time.Processing != float64(int64(a.Time.Processing)) {
		t.Errorf("start and processing are not cut to whole seconds: %s", a.raw)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
}

func TestMethodNames(t *testing.T) {
	v := visit(t, Portal{})
	for _, name := range []string{"profile", "PROFILE", "Profile.JSON", "profile.json", "profile/"} {
		v.works(name, "", "")
	}
	for _, name := range []string{"profil", "imbot", "profile.xml", ""} {
		v.fails(name, "", 404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
	}
	for _, path := range []string{"/", "/api/profile", "/rest/1/s3cret/profile/more"} {
		if a := v.send(path, ""); a.status != 404 || !strings.Contains(a.raw, "<html>") {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
}

func TestAuthorizationStatusesByDialect(t *testing.T) {
	clk := newClock()
	tokens := []Token{
		{Value: "good", App: "local.1", Expires: clk.now().Add(time.Hour)},
		{Value: "old", App: "local.1", Expires: clk.now()},
		{Value: "crm", App: "local.1", Scopes: []string{"crm"}},
	}
	cases := []struct {
		path, body, code      string
		documented, published int
	}{
		{"/rest/1/wrong/profile", "", "INVALID_CREDENTIALS", 403, 401},
		{"/rest/2/s3cret/profile", "", "INVALID_CREDENTIALS", 403, 401},
		{"/rest/profile", "", "NO_AUTH_FOUND", 401, 401},
		{"/rest/profile", `{"auth":"old"}`, "expired_token", 401, 401},
		{"/rest/profile", `{"auth":"unheard"}`, "invalid_token", 401, 401},
		{"/rest/imbot.bot.list", `{"auth":"crm"}`, "insufficient_scope", 403, 401},
		{"/rest/imbot.register", `{"sessid":"browser"}`, "WRONG_AUTH_TYPE", 403, 403},
		{"/rest/imbot.bot.list", `{"sessid":"browser"}`, "WRONG_AUTH_TYPE", 403, 403},
		{"/rest/profile", `{"sessid":"another"}`, "NO_AUTH_FOUND", 401, 401},
		{"/rest/profile", `{"auth":"good"}`, "", 200, 200},
		{"/rest/profile?auth=good", "", "", 200, 200},
		{"/rest/nothing", `{"auth":"unheard"}`, "ERROR_METHOD_NOT_FOUND", 404, 404},
	}
	for _, d := range []Dialect{Documented, Published} {
		v := visit(t, Portal{Dialect: d, Tokens: tokens, Sessions: []Secret{"browser"}}, WithClock(clk.now))
		for _, c := range cases {
			want := c.documented
			if d == Published {
				want = c.published
			}
			if a := v.send(c.path, c.body); a.status != want || a.Error != c.code {
				t.Errorf("%s %s %s: got %d %s, want %d %s", d, c.path, c.body, a.status, a.raw, want, c.code)
			}
		}
	}
}

func TestBearerToken(t *testing.T) {
	v := visit(t, Portal{Tokens: []Token{{Value: "good", App: "local.1"}}})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.base+"/rest/profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer good")
	resp, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestCredentialsChangeAtRunTime(t *testing.T) {
	v := visit(t, Portal{})
	v.st.SetToken(Token{Value: "a", App: "local.1"})
	if a := v.send("/rest/profile", `{"auth":"a"}`); a.status != 200 {
		t.Errorf("new token: %s", a.raw)
	}
	v.st.RemoveToken("a")
	if a := v.send("/rest/profile", `{"auth":"a"}`); a.Error != "invalid_token" {
		t.Errorf("removed token: %s", a.raw)
	}
	v.st.AddWebhook(Webhook{User: "7", Secret: "new"})
	if a := v.send("/rest/7/new/profile", ""); a.status != 200 {
		t.Errorf("new webhook: %s", a.raw)
	}
	v.st.RemoveWebhook("7", "new")
	if a := v.send("/rest/7/new/profile", ""); a.Error != "INVALID_CREDENTIALS" {
		t.Errorf("removed webhook: %s", a.raw)
	}
}

func TestUndecodableBodyIsNoParameters(t *testing.T) {
	v := visit(t, Portal{})
	sound := bot("helper")
	for name, body := range map[string]string{
		"cut":            sound[:len(sound)-1],
		"trailing comma": strings.TrimSuffix(sound, "}") + ",}",
		"invalid UTF-8":  strings.Replace(sound, "Helper", "Hel\xffper", 1),
		"lone surrogate": strings.Replace(sound, "Helper", `\ud83d`, 1),
		"scalar":         `"CODE"`,
		"BOM":            "\ufeff" + sound,
		"two values":     sound + sound,
		"empty":          "",
		"too deep":       `{"x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `,` + sound[1:],
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			v.fails("imbot.register", body, 403, "ACCESS_DENIED", "Access denied! Client ID not specified")
		})
	}
}

func TestFormBody(t *testing.T) {
	v := visit(t, Portal{})
	body := strings.TrimPrefix(command("helper", "PROPERTIES[LAST_NAME]", "Ю & Co"), "imbot.register?")
	a, err := v.try(t.Context(), hook+"imbot.register", "application/x-www-form-urlencoded", body)
	if err != nil || string(a.Result) != "39" {
		t.Fatalf("%v %s", err, a.raw)
	}
	if b := v.st.Bots()[0]; b.LastName != "Ю & Co" || b.App != "customapp" {
		t.Errorf("stored %+v", b)
	}
}

func TestUnknownHost(t *testing.T) {
	v := visit(t, Portal{})
	v.base = "https://elsewhere.bitrix24.ru"
	if a := v.call("profile", ""); a.status != 404 || !strings.HasPrefix(a.raw, "<html>") {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	made := visit(t, Portal{}, WithUnknownHosts(Unlimited("")))
	made.base = "https://ELSEWHERE.bitrix24.ru:443"
	made.works("imbot.register", bot("helper"), "39")
	if st := made.box.Portal("elsewhere.bitrix24.ru"); st == nil || len(st.Bots()) != 1 {
		t.Error("no portal was made on sight")
	}
}

func TestRenamedPortalAnswers302(t *testing.T) {
	v := visit(t, Portal{Rate: 1, Burst: 1})
	if err := v.st.Rename("New.bitrix24.ru"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // redirects are no requests to the portal's bucket
		a := v.call("imbot.register", bot("helper"))
		if want := "https://new.bitrix24.ru" + hook + "imbot.register"; a.status != 302 || a.header.Get("Location") != want {
			t.Fatalf("got %d to %q, want 302 to %q", a.status, a.header.Get("Location"), want)
		}
	}
	v.base = "https://new.bitrix24.ru"
	v.works("imbot.register", bot("helper"), "39")

	box := Start(t, WithPortals(Portal{Name: "a.bitrix24.ru", AnyWebhook: true, RenamedTo: "b.bitrix24.ru"}))
	if box.Portal("b.bitrix24.ru") != box.Portal("a.bitrix24.ru") || box.Portal("b.bitrix24.ru").Name() != "b.bitrix24.ru" {
		t.Error("RenamedTo does not lead to one portal")
	}
	if err := v.st.Rename("no/host"); err == nil {
		t.Error("a path passes as a name")
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	v := visit(t, Portal{RequireTLS: true})
	v.works("profile", "", "")
	v.base = "http://" + host
	v.fails("profile", "", 400, "INVALID_REQUEST", "Https required.")
}

func TestEscapedAnswers(t *testing.T) {
	v := visit(t, Portal{})
	v.works("imbot.register", bot("it's/<b>", `"PROPERTIES":{"NAME":"Имя 🤖"}`), "39")
	a := v.call("imbot.bot.list", "")
	for _, want := range []string{`it\u0027s\/\u003cb\u003e`, `\u0418\u043c\u044f`, `\ud83e\udd16`} {
		if !strings.Contains(a.raw, want) {
			t.Errorf("%s is not in %s", want, a.raw)
		}
	}
}

func TestHugeRequest(t *testing.T) {
	v := visit(t, Portal{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.base+hook+"profile", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = maxBody + 1
	rec := &recorder{header: http.Header{}}
	v.box.ServeHTTP(rec, r)
	if rec.status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", rec.status)
	}
}

// recorder is a ResponseWriter for a test without a socket.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

func TestServerCutsOffAndWorkGoesOn(t *testing.T) {
	p, release := held()
	p.ServerTimeout = time.Millisecond
	v := visit(t, p)
	a := v.call("imbot.register", bot("helper"))
	if a.status != 504 || !strings.HasPrefix(a.raw, "<html>") || len(v.st.Bots()) != 0 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	release()
	eventually(t, "the bot is there", func() bool { return len(v.st.Bots()) == 1 })
}

func TestWorkGoesOnWhenTheClientLeaves(t *testing.T) {
	p, release := held()
	v := visit(t, p)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := v.try(ctx, hook+"imbot.register", "application/json", bot("helper"))
		left <- err
	}()
	eventually(t, "the request is in work", func() bool { return v.st.Stats().MaxConcurrent == 1 })
	leave()
	if err := <-left; err == nil {
		t.Error("the client got an answer")
	}
	release()
	eventually(t, "the bot is there", func() bool { return len(v.st.Bots()) == 1 })
}

// held is a portal that works on bots until it is released.
func held() (p Portal, release func()) {
	done := make(chan struct{})
	return Portal{ServiceFunc: func(uint64) time.Duration {
		<-done
		return 0
	}}, func() { close(done) }
}

// eventually waits for a condition, bounded.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
