package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	appID     = "local.1"
	appSecret = "topsecretofapplication"
	realAuth  = "https://oauth.bitrix24.tech/oauth/token/"
)

// pair is what a token answer holds.
type pair struct {
	Access   string `json:"access_token"`
	Refresh  string `json:"refresh_token"`
	Expires  int64  `json:"expires"`
	In       int    `json:"expires_in"`
	Endpoint string `json:"client_endpoint"`
	Member   string `json:"member_id"`
	Error    string `json:"error"`
	Text     string `json:"error_description"`
	status   int
	raw      string
}

// visitApp starts a sandbox with one portal that has the application installed.
func visitApp(t *testing.T, p Portal, opts ...Option) *visitor {
	t.Helper()
	p.App = appID
	return visit(t, p, append(opts, WithApplication(appID, appSecret))...)
}

func question(refresh Secret) url.Values {
	return url.Values{
		"grant_type": {"refresh_token"}, "client_id": {appID}, "client_secret": {appSecret}, "refresh_token": {string(refresh)},
	}
}

// ask asks the authorization server, by GET, once: net/http repeats a GET on a
// kept connection that breaks, unless it has a body that cannot be read again.
func (v *visitor) ask(q url.Values) (pair, error) {
	return askAt(v.client, realAuth, q)
}

func askAt(client *http.Client, at string, q url.Values) (pair, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"?"+q.Encode(), io.NopCloser(strings.NewReader("")))
	if err != nil {
		return pair{}, err
	}
	return asked(client, r)
}

func asked(client *http.Client, r *http.Request) (pair, error) {
	resp, err := client.Do(r)
	if err != nil {
		return pair{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	p := pair{status: resp.StatusCode, raw: string(raw)}
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	return p, err
}

// refreshes trades a refresh token that must be good.
func (v *visitor) refreshes(refresh Secret) pair {
	v.t.Helper()
	p, err := v.ask(question(refresh))
	if err != nil || p.status != 200 || p.Access == "" || p.Refresh == "" {
		v.t.Fatalf("refresh: %v %d %s", err, p.status, p.raw)
	}
	return p
}

// refused trades a refresh token that must be refused.
func (v *visitor) refused(q url.Values, status int, code string) {
	v.t.Helper()
	if p, err := v.ask(q); err != nil || p.status != status || p.Error != code || p.Access != "" {
		v.t.Errorf("refresh: %v %d %s, want %d %s", err, p.status, p.raw, status, code)
	}
}

// signsIn calls by an access token; code is of the error it must meet.
func (v *visitor) signsIn(access, code string) {
	v.t.Helper()
	if a := v.send("/rest/profile", `{"auth":`+quote(access)+`}`); a.Error != code || code == "" && a.status != 200 {
		v.t.Errorf("profile: %d %s, want %q", a.status, a.raw, code)
	}
}

func (v *visitor) violated(want ...ViolationKind) {
	v.t.Helper()
	var got []ViolationKind
	for _, x := range v.box.Violations() {
		got = append(got, x.Kind)
	}
	if !slices.Equal(got, want) {
		v.t.Errorf("violations %+v, want %v", v.box.Violations(), want)
	}
	if n := v.box.Stats().Violations; n != len(want) {
		v.t.Errorf("%d violations counted, want %d", n, len(want))
	}
}

func TestTokenAnswer(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{MemberID: "a223c6b3710f85df22e9377d6c4f7553"}, WithClock(clk.now))
	_, refresh := v.st.Pair()
	p := v.refreshes(refresh)
	want := fmt.Sprintf(`{"access_token":"%s","expires":%d,"expires_in":3600,"scope":"app","domain":"oauth.bitrix24.tech",`+
		`"server_endpoint":"https:\/\/oauth.bitrix24.tech\/rest\/","status":"L","client_endpoint":"https:\/\/acme.bitrix24.ru\/rest\/",`+
		`"member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":1,"refresh_token":"%s"}`, p.Access, clk.now().Add(time.Hour).Unix(), p.Refresh)
	if p.raw != want {
		t.Errorf("got  %s\nwant %s", p.raw, want)
	}
	if access, refresh := v.st.Pair(); string(access) != p.Access || string(refresh) != p.Refresh {
		t.Error("the portal's pair is not the one answered")
	}
	for _, value := range []string{p.Access, p.Refresh} {
		if len(value) != tokenDigits || !strings.Contains(value, v.box.TokenMark()) {
			t.Errorf("%q is no token", value)
		}
	}
}

func TestTokensExpireAndRotate(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{}, WithClock(clk.now))
	first, refresh := v.st.Pair()
	v.signsIn(string(first), "")
	clk.move(59 * time.Minute)
	p := v.refreshes(refresh)
	v.signsIn(string(first), "") // until it expires
	v.signsIn(p.Access, "")
	clk.move(time.Minute)
	v.signsIn(string(first), "expired_token")
	v.signsIn(p.Access, "")
	v.violated()
	v.refused(question(refresh), 400, "invalid_grant")
	v.violated(DeadRefresh)
	clk.move(59*time.Minute - time.Second)
	v.signsIn(p.Access, "")
	clk.move(time.Second)
	v.signsIn(p.Access, "expired_token")
	last := v.refreshes(Secret(p.Refresh))
	v.signsIn(last.Access, "")
	v.signsIn(string(first), "expired_token") // long forgotten, still known for what it was
	clk.move(180*24*time.Hour - time.Second)
	v.refused(question(refresh), 400, "invalid_grant") // the first one: dead, not expired
	last = v.refreshes(Secret(last.Refresh))
	clk.move(180 * 24 * time.Hour)
	v.refused(question(Secret(last.Refresh)), 400, "invalid_grant") // expired: no rule broken
	v.violated(DeadRefresh, DeadRefresh)
	want := AuthStats{Requests: 6, Refreshes: 3, Refused: 3, Reused: 2, MaxConcurrent: 1, Errors: map[string]int{"invalid_grant": 3}}
	for _, got := range []AuthStats{v.st.AuthStats(), v.box.Auth().Stats()} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestStrictRotation(t *testing.T) {
	v := visitApp(t, Portal{}, WithStrictRotation())
	access, refresh := v.st.Pair()
	p := v.refreshes(refresh)
	v.signsIn(string(access), "expired_token")
	v.signsIn(p.Access, "")
}

func TestLivesAreScaledAndSettable(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{}, WithClock(clk.now), WithScale(0.01), WithTokenLife(2*time.Hour, 10*time.Hour))
	access, refresh := v.st.Pair()
	clk.move(72*time.Second - 1)
	v.signsIn(string(access), "")
	clk.move(1)
	v.signsIn(string(access), "expired_token")
	if p := v.refreshes(refresh); p.In != 72 || p.Expires != clk.now().Unix()+72 {
		t.Errorf("expires_in %d, expires %d", p.In, p.Expires)
	}
	_, refresh = v.st.Pair()
	clk.move(360 * time.Second)
	v.refused(question(refresh), 400, "invalid_grant")
}

func TestWrongQuestions(t *testing.T) {
	v := visitApp(t, Portal{}, WithApplication("local.2", "anothersecret"))
	access, refresh := v.st.Pair()
	without := func(name string) url.Values {
		q := question(refresh)
		q.Del(name)
		return q
	}
	with := func(name, value string) url.Values {
		q := question(refresh)
		q.Set(name, value)
		return q
	}
	forged := string(refresh[:32]) + "00000000" + string(refresh[40:]) // of the pair before
	other := with("client_id", "local.2")
	other.Set("client_secret", "anothersecret")
	for _, c := range []struct {
		q      url.Values
		status int
		code   string
	}{
		{without("grant_type"), 400, "invalid_request"},
		{without("client_id"), 400, "invalid_request"},
		{without("client_secret"), 400, "invalid_request"},
		{without("refresh_token"), 400, "invalid_request"},
		{with("grant_type", "password"), 400, "invalid_request"},
		{with("client_id", "local.9"), 401, "invalid_client"},
		{with("client_secret", "wrong"), 401, "invalid_client"},
		{with("refresh_token", "unheard"), 400, "invalid_grant"},
		{with("refresh_token", string(refresh[:68])+"zz"), 400, "invalid_grant"},
		{with("refresh_token", forged), 400, "invalid_grant"},
		{other, 400, "invalid_grant"},
	} {
		v.refused(c.q, c.status, c.code)
	}
	v.violated()
	v.refused(with("refresh_token", string(access)), 400, "invalid_grant")
	v.violated(StraySecret)
	v.refreshes(refresh) // all that has cost nothing
	if s := v.box.Auth().Stats(); s.Refused != 12 || s.Errors["invalid_request"] != 5 || s.Errors["invalid_client"] != 2 || s.Reused != 0 {
		t.Errorf("%+v", s)
	}
}

// TestAuthFromOutside: other processes reach the server by its own address, by
// GET and by POST; portals do not answer there, nor it where portals do.
func TestAuthFromOutside(t *testing.T) {
	v := visitApp(t, Portal{})
	at := v.box.AuthURL()
	if at != v.box.AuthURL() || !strings.HasPrefix(at, "http://127.0.0.1:") || !strings.HasSuffix(at, "/oauth/token/") {
		t.Fatalf("authorization server at %q", at)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, refresh := v.st.Pair()
	p, err := askAt(client, at, question(refresh))
	if err != nil || p.Refresh == "" {
		t.Fatalf("%v %s", err, p.raw)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSuffix(at, "/"), strings.NewReader(question(Secret(p.Refresh)).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p, err = asked(client, r)
	if err != nil || p.Refresh == "" {
		t.Fatalf("%v %s", err, p.raw)
	}
	p, err = askAt(v.client, at, question(Secret(p.Refresh))) // by the transport too
	if err != nil || p.Refresh == "" {
		t.Fatalf("%v %s", err, p.raw)
	}
	for _, path := range []string{"rest/profile", "oauth/authorize/", ""} {
		if got, err := askAt(client, strings.TrimSuffix(at, "oauth/token/")+path, nil); got.status != 404 {
			t.Errorf("%s: %d %v", path, got.status, err)
		}
	}
	v.violated()
	if p, _ := askAt(v.client, "https://"+host+"/oauth/token/", question(Secret(p.Refresh))); p.status != 404 {
		t.Errorf("a portal answers %d", p.status)
	}
	v.violated(LeakedClientSecret, StraySecret)
	if log := v.box.Auth().Requests(); len(log) != 3 || log[0].Credential != "portal "+host || log[0].Status != 200 {
		t.Errorf("%+v", log)
	}
}

// TestLostAnswers: each fault as token requests meet it, before and after the
// trade. What comes back is no pair; whether there is a new one, the portal
// knows.
func TestLostAnswers(t *testing.T) {
	aborted := func(_ pair, err error) bool { return err != nil }
	for _, c := range []struct {
		fault  Fault
		seen   func(pair, error) bool
		trades bool
	}{
		{Fault{Kind: Reset}, func(_ pair, err error) bool { return errors.Is(err, syscall.ECONNRESET) }, false},
		{Fault{Kind: Reset, When: After}, func(_ pair, err error) bool { return errors.Is(err, syscall.ECONNRESET) }, true},
		{Fault{Kind: Reset, When: During}, aborted, true},
		{Fault{Kind: HTML, Status: 503}, func(p pair, _ error) bool { return p.status == 503 && strings.HasPrefix(p.raw, "<html>") }, false},
		{Fault{Kind: HTML, Status: 504, When: After}, func(p pair, _ error) bool { return p.status == 504 }, true},
		{Fault{Kind: Empty}, func(p pair, _ error) bool { return p.status == 200 && p.raw == "" }, true},
		{Fault{Kind: Truncate}, func(p pair, err error) bool { return p.status == 200 && err != nil && p.raw != "" }, true},
		{Fault{Kind: Truncate, When: Before}, func(p pair, err error) bool { return p.status == 500 && err != nil }, false},
		{Fault{Kind: Cut}, func(_ pair, err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, true},
		{Fault{Kind: Huge}, func(p pair, _ error) bool { return len(p.raw) > hugeBody && p.Refresh != "" }, true},
		{Fault{Kind: Refuse, Code: "PAYMENT_REQUIRED"}, func(p pair, _ error) bool { return p.status == 402 && p.Error == "PAYMENT_REQUIRED" }, false},
		{Fault{Kind: Refuse, Code: "invalid_client"}, func(p pair, _ error) bool { return p.status == 401 && p.Error == "invalid_client" }, false},
		{Fault{Kind: Refuse, Code: "SOMETHING", Status: 500, When: After}, func(p pair, _ error) bool { return p.status == 500 && p.Error == "SOMETHING" }, true},
	} {
		v := visitApp(t, Portal{})
		f := c.fault
		f.Methods, f.Count = []string{"oauth/TOKEN"}, 1
		if err := v.st.Inject(f); err != nil {
			t.Fatal(err)
		}
		v.works("profile", "", "") // not struck
		_, before := v.st.Pair()
		if p, err := v.ask(question(before)); !c.seen(p, err) {
			t.Errorf("%+v: %v %d %.200s", c.fault, err, p.status, p.raw)
		}
		_, after := v.st.Pair()
		if traded := before != after; traded != c.trades {
			t.Errorf("%+v: traded %v", c.fault, traded)
		}
		if !c.trades {
			v.refreshes(before)
			v.violated()
			continue
		}
		v.refused(question(before), 400, "invalid_grant") // the one more try
		v.violated()
		v.refused(question(before), 400, "invalid_grant")
		v.violated(DeadRefresh)
		if s := v.st.AuthStats(); s.Refreshes != 1 || s.Lost != 1 || s.Reused != 2 || s.Faults[c.fault.Kind] != 1 {
			t.Errorf("%+v: %+v", c.fault, s)
		}
		v.refreshes(after)
	}
}

// TestSilenceAfterTheTrade: the client gives up; the pair was traded.
func TestSilenceAfterTheTrade(t *testing.T) {
	v := visitApp(t, Portal{}, WithAuthFaults(Fault{Kind: Silence, When: After, Count: 1}))
	_, before := v.st.Pair()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, realAuth+"?"+question(before).Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := asked(v.client, r)
		done <- err
	}()
	deadline, look := time.After(patience), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for now := before; now == before; _, now = v.st.Pair() {
		select {
		case <-deadline:
			t.Fatal("no trade")
		case <-look.C:
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	v.refused(question(before), 400, "invalid_grant")
	v.violated()
}

// TestClientThatLeft: whoever has left before the trade has not got the answer.
func TestClientThatLeft(t *testing.T) {
	v := visitApp(t, Portal{})
	_, refresh := v.st.Pair()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, realAuth+"?"+question(refresh).Encode(), http.NoBody)
	v.box.ServeHTTP(httptest.NewRecorder(), r)
	v.refused(question(refresh), 400, "invalid_grant")
	v.violated()
	if s := v.st.AuthStats(); s.Refreshes != 1 || s.Lost != 1 || s.Reused != 1 {
		t.Errorf("%+v", s)
	}
}

// TestRefusedOnceIsCountedOnce: a fault after the trade has nothing to spoil
// where the server refuses by itself.
func TestRefusedOnceIsCountedOnce(t *testing.T) {
	v := visitApp(t, Portal{}, WithAuthFaults(Fault{Kind: Refuse, Code: "INTERNAL_SERVER_ERROR", When: After}))
	v.refused(question("unheard"), 400, "invalid_grant")
	if s := v.box.Auth().Stats(); s.Refused != 1 || s.Errors["invalid_grant"] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAuthFaultsOfOnePortalAndOfAll(t *testing.T) {
	box := Start(t, WithApplication(appID, appSecret), WithPortals(
		Portal{Name: "a.bitrix24.ru", App: appID, Faults: []Fault{{Kind: Refuse, Code: "PAYMENT_REQUIRED", Methods: []string{authMethod}}}},
		Portal{Name: "b.bitrix24.ru", App: appID, Faults: []Fault{{Kind: Reset}}},
	))
	v := &visitor{t: t, box: box, client: &http.Client{Transport: box.Transport()}}
	refresh := func(name string) Secret { _, r := box.Portal(name).Pair(); return r }
	v.refused(question(refresh("a.bitrix24.ru")), 402, "PAYMENT_REQUIRED")
	v.refreshes(refresh("b.bitrix24.ru")) // its fault is the portal's, not the server's
	if err := box.Auth().Inject(Fault{Kind: Refuse, Code: "INTERNAL_SERVER_ERROR", Count: 2}); err != nil {
		t.Fatal(err)
	}
	v.refused(question(refresh("a.bitrix24.ru")), 500, "INTERNAL_SERVER_ERROR")
	v.refused(question("unheard"), 500, "INTERNAL_SERVER_ERROR")
	v.refreshes(refresh("b.bitrix24.ru"))
	if err := box.Auth().Inject(Fault{Kind: Reset}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.ask(question(refresh("b.bitrix24.ru"))); err == nil {
		t.Error("not struck")
	}
	box.Auth().ClearFaults()
	v.refreshes(refresh("b.bitrix24.ru"))
	if err := box.Auth().Inject(Fault{Kind: "hiccup"}); err == nil {
		t.Error("an unknown kind is accepted")
	}
	s := box.Auth().Stats()
	if s.Requests != 7 || s.Refreshes != 3 || s.Refused != 3 || s.Faults[Refuse] != 3 || s.Faults[Reset] != 1 {
		t.Errorf("%+v", s)
	}
	if s := box.Portal("a.bitrix24.ru").AuthStats(); s.Requests != 2 || s.Refused != 2 || s.Errors["PAYMENT_REQUIRED"] != 1 {
		t.Errorf("%+v", s)
	}
	if err := New(WithAuthFaults(Fault{Kind: "hiccup"})).Open(); err == nil {
		t.Error("an unknown kind is accepted as an option")
	}
}

func TestAuthRate(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{}, WithClock(clk.now), WithAuthRate(2, 3))
	for range 3 {
		_, refresh := v.st.Pair()
		v.refreshes(refresh)
	}
	_, refresh := v.st.Pair()
	v.refused(question(refresh), 503, "QUERY_LIMIT_EXCEEDED")
	v.violated(OverRate)
	clk.move(500 * time.Millisecond)
	v.refreshes(refresh)
}

// TestOneOfManyRefreshesWins: the same refresh token many times at once.
func TestOneOfManyRefreshesWins(t *testing.T) {
	const many = 8
	v := visitApp(t, Portal{}, WithAuthLatency(10*time.Millisecond))
	_, refresh := v.st.Pair()
	var won sync.Map
	var calls sync.WaitGroup
	for i := range many {
		calls.Go(func() {
			p, err := v.ask(question(refresh))
			if err != nil {
				t.Error(err)
			}
			if p.Refresh != "" {
				won.Store(i, p.Refresh)
			}
		})
	}
	calls.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if s := v.st.AuthStats(); n != 1 || s.Refreshes != 1 || s.Reused != many-1 || s.MaxConcurrent < 2 {
		t.Errorf("%d won: %+v", n, s)
	}
}

func TestRevokedExpiredAndMisnamed(t *testing.T) {
	v := visitApp(t, Portal{})
	access, refresh := v.st.Pair()
	v.box.ExpireTokens()
	v.signsIn(string(access), "expired_token")
	v.st.AnswerAs("0123", "https://evil.example.com/rest/")
	if p := v.refreshes(refresh); p.Member != "0123" || p.Endpoint != "https://evil.example.com/rest/" {
		t.Error(p.raw)
	}
	v.st.AnswerAs("", "")
	if err := v.st.Rename("new.bitrix24.ru"); err != nil {
		t.Fatal(err)
	}
	_, refresh = v.st.Pair()
	p := v.refreshes(refresh)
	if p.Member != v.st.MemberID() || len(p.Member) != 32 || p.Endpoint != "https://new.bitrix24.ru/rest/" {
		t.Error(p.raw)
	}
	if a := v.send("/rest/profile", `{"auth":`+quote(p.Access)+`}`); a.status != 302 || a.header.Get("Location") != "https://new.bitrix24.ru/rest/profile" {
		t.Errorf("%d %q", a.status, a.header.Get("Location"))
	}
	v.st.RevokeRefresh()
	v.refused(question(Secret(p.Refresh)), 400, "invalid_grant")
	v.base = "https://new.bitrix24.ru"
	v.signsIn(p.Access, "")
	v.violated()
}

func TestPortalsWithApplications(t *testing.T) {
	box := Start(t, WithApplication(appID, appSecret), WithUnknownHosts(Portal{App: appID, MemberID: "one for all"}))
	for _, bad := range []Portal{{Name: "a.ru", App: "local.9"}, {Name: "c.ru", App: appID, MemberID: "m"}} {
		if bad.MemberID != "" {
			box.AddPortal(Portal{Name: "b.ru", App: appID, MemberID: "m"})
		}
		if _, err := box.Add(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	moved := box.AddPortal(Portal{Name: "g.ru", App: appID})
	if err := moved.Rename("h.ru"); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Add(Portal{Name: "g.ru", App: appID}); err == nil {
		t.Error("a renamed portal's member_id is given away")
	}
	v := &visitor{t: t, box: box, client: &http.Client{Transport: box.Transport()}}
	members := map[string]bool{}
	for _, name := range []string{"d.ru", "e.ru"} {
		v.base = "https://" + name
		v.send("/rest/profile", "")
		members[box.Portal(name).MemberID()] = true
		access, _ := box.Portal(name).Pair()
		v.signsIn(string(access), "")
	}
	if len(members) != 2 || members["one for all"] {
		t.Errorf("%v", members)
	}
	old, _ := box.Portal("d.ru").Pair()
	box.AddPortal(Portal{Name: "d.ru", App: appID})
	if now, _ := box.Portal("d.ru").Pair(); now == old {
		t.Error("a replaced portal has the old pair")
	}
	if access, refresh := box.AddPortal(Unlimited("f.ru")).Pair(); access+refresh != "" || box.Install("f.ru") != nil || box.Install("none.ru") != nil {
		t.Error("a portal without an application has one")
	}
	if err := New(WithApplication("", "")).Open(); err == nil {
		t.Error("an application without an id is accepted")
	}
	if err := New(WithUnknownHosts(Portal{App: "local.9"})).Open(); err == nil {
		t.Error("an unknown application is accepted for unknown hosts")
	}
}

// TestLivingTokensAreBounded: however often a pair is traded.
func TestLivingTokensAreBounded(t *testing.T) {
	v := visitApp(t, Portal{})
	first, _ := v.st.Pair()
	for range 2 * maxLiving {
		_, refresh := v.st.Pair()
		v.refreshes(refresh)
	}
	if n := len(v.st.tokens); n != maxLiving || len(v.st.grant.living) != maxLiving {
		t.Errorf("%d tokens kept", n)
	}
	v.signsIn(string(first), "expired_token")
	access, _ := v.st.Pair()
	v.signsIn(string(access), "")
}
