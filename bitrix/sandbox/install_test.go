package sandbox

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestInstallForm(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{Scopes: []string{"im", "imbot"}}, WithClock(clk.now))
	access, refresh := v.st.Pair()
	form := v.box.Install(host)
	token := form.Get("auth[application_token]")
	if len(token) != 32 {
		t.Errorf("application_token %q", token)
	}
	want := url.Values{
		"event": {"ONAPPINSTALL"}, "event_handler_id": {"1"}, "ts": {itoa(int(clk.now().Unix()))},
		"data[VERSION]": {"1"}, "data[ACTIVE]": {"Y"}, "data[INSTALLED]": {"Y"}, "data[LANGUAGE_ID]": {"ru"},
		"auth[access_token]": {string(access)}, "auth[refresh_token]": {string(refresh)},
		"auth[expires]": {itoa(int(clk.now().Add(time.Hour).Unix()))}, "auth[expires_in]": {"3600"},
		"auth[scope]": {"im,imbot"}, "auth[domain]": {host}, "auth[server_endpoint]": {"https://oauth.bitrix24.tech/rest/"},
		"auth[client_endpoint]": {"https://acme.bitrix24.ru/rest/"}, "auth[member_id]": {v.st.MemberID()},
		"auth[application_token]": {token}, "auth[status]": {"L"}, "auth[user_id]": {"1"},
	}
	if got := form.Encode(); got != want.Encode() {
		t.Errorf("got  %s\nwant %s", got, want.Encode())
	}
	if again := v.st.Install(); again.Encode() != form.Encode() {
		t.Error("a repeated event is another")
	}

	form = v.box.Uninstall(host)
	want = url.Values{
		"event": {"ONAPPUNINSTALL"}, "event_handler_id": {"1"}, "ts": {itoa(int(clk.now().Unix()))},
		"data[LANGUAGE_ID]": {"ru"}, "data[CLEAN]": {"1"}, "auth[domain]": {host},
		"auth[server_endpoint]": {"https://oauth.bitrix24.tech/rest/"}, "auth[client_endpoint]": {"https://acme.bitrix24.ru/rest/"},
		"auth[member_id]": {v.st.MemberID()}, "auth[application_token]": {token},
	}
	if got := form.Encode(); got != want.Encode() || v.st.Uninstall().Encode() != got {
		t.Errorf("got  %s\nwant %s", got, want.Encode())
	}
	v.signsIn(string(access), "APPLICATION_NOT_FOUND")
	v.refused(question(refresh), 400, "invalid_grant")

	form = v.st.Install()
	if form.Get("auth[application_token]") == token || form.Get("auth[access_token]") == string(access) || form.Get("auth[member_id]") != v.st.MemberID() {
		t.Errorf("installed anew: %v", form)
	}
	v.signsIn(form.Get("auth[access_token]"), "")
	v.refused(question(refresh), 400, "invalid_grant") // ended by the portal, not traded: no rule broken
	v.refreshes(Secret(form.Get("auth[refresh_token]")))
	v.violated()
}

func TestInstallBringsAPairThatWorks(t *testing.T) {
	clk := newClock()
	v := visitApp(t, Portal{}, WithClock(clk.now))
	token := v.st.Install().Get("auth[application_token]")
	for _, end := range []func(){v.st.ExpireTokens, v.st.RevokeRefresh, func() { clk.move(time.Hour) }, func() { clk.move(181 * 24 * time.Hour) }} {
		end()
		form := v.st.Install()
		v.signsIn(form.Get("auth[access_token]"), "")
		v.refreshes(Secret(form.Get("auth[refresh_token]")))
		if form.Get("auth[application_token]") != token {
			t.Error("another application_token")
		}
	}
}

func TestSendInstall(t *testing.T) {
	v := visitApp(t, Portal{})
	events := make(chan url.Values, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.Path != "/install" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		events <- r.PostForm
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	for _, send := range []struct {
		name string
		by   func(context.Context, string) (int, error)
	}{{"ONAPPINSTALL", v.st.SendInstall}, {"ONAPPINSTALL", v.st.SendInstall}, {"ONAPPUNINSTALL", v.st.SendUninstall}} {
		status, err := send.by(t.Context(), server.URL+"/install")
		if err != nil || status != 503 {
			t.Fatalf("%d %v", status, err)
		}
		if form := <-events; form.Get("event") != send.name || form.Get("auth[member_id]") != v.st.MemberID() {
			t.Errorf("%v", form)
		}
	}
	if _, err := v.box.AddPortal(Unlimited("b.ru")).SendInstall(t.Context(), server.URL); err == nil {
		t.Error("a portal without an application sends")
	}
	if _, err := v.st.SendInstall(t.Context(), "http://127.0.0.1:1/"); err == nil || strings.Contains(err.Error(), v.box.TokenMark()) {
		t.Errorf("%v", err)
	}
}

// TestLoopbackEndpoints: a portal that other processes call by address has an
// endpoint that they can call.
func TestLoopbackEndpoints(t *testing.T) {
	for name, want := range map[string]string{
		"127.3.0.1:8080": "http://127.3.0.1:8080/rest/", "[::1]:80": "http://[::1]:80/rest/", "localhost": "http://localhost/rest/",
		"acme.bitrix24.ru": "https://acme.bitrix24.ru/rest/", "10.0.0.1": "https://10.0.0.1/rest/",
	} {
		if got := endpoint(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
