// Renewing tokens: what is asked, what an answer means, and when nobody asks.

package bitrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What must be in no error; with the characters that URLs escape.
const (
	oldRefresh   = "0ldRefresh+Token/77="
	clientSecret = "cl13ntS3cret&%7f"
	newAccess1   = "n3wAccessToken55"
	newRefresh1  = "n3wRefreshToken66"
)

// authServer makes a client of the authorization server at a URL.
func authServer(t testing.TB, at string, change func(*AuthConfig)) *AuthServer {
	t.Helper()
	config := AuthConfig{URL: at, ClientID: "app.1", ClientSecret: NewSecret(clientSecret), Endpoints: mustEndpoints(t, "true")}
	if change != nil {
		change(&config)
	}
	s, err := NewAuthServer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// answers makes one whose server always answers the same, without a network.
func answers(t testing.TB, status int, body string) *AuthServer {
	t.Helper()
	return authServer(t, "", func(c *AuthConfig) { c.Transport = saying(status, body) })
}

func saying(status int, body string) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

const pair = `"access_token":"` + newAccess1 + `","refresh_token":"` + newRefresh1 + `"`

func TestRefresh(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := url.Values{"grant_type": {"refresh_token"}, "client_id": {"app.1"}, "client_secret": {clientSecret}, "refresh_token": {oldRefresh}}
		if r.Method != "GET" || r.URL.Path != "/oauth/token/" || r.URL.RawQuery != want.Encode() || r.ContentLength != 0 ||
			len(r.TransferEncoding) > 0 || r.Header.Get("User-Agent") != "test/1" || r.Header.Get("Accept") != "application/json" {
			t.Errorf("%s %s %d %v %v", r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding, r.Header)
		}
		_, _ = io.WriteString(w, `{`+pair+`,"expires":1762349466,"expires_in":3600,"scope":"imbot,crm","domain":"oauth.bitrix24.tech",`+
			`"server_endpoint":"https://oauth.bitrix24.tech/rest/","status":"L","client_endpoint":"https://acme.bitrix24.ru/rest/",`+
			`"member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":1}`)
	}))
	defer server.Close()
	s := authServer(t, server.URL+"/oauth/token/", func(c *AuthConfig) { c.UserAgent = "test/1" })
	for range 2 {
		got, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
		if err != nil {
			t.Fatal(err)
		}
		if got.Access.Reveal() != newAccess1 || got.Refresh.Reveal() != newRefresh1 || got.Endpoint != "https://acme.bitrix24.ru/rest/" ||
			got.MemberID != "a223c6b3710f85df22e9377d6c4f7553" || !slices.Equal(got.Scope, []string{"imbot", "crm"}) || got.Status != "L" ||
			!got.Expires.Equal(time.Unix(1762349466, 0)) {
			t.Errorf("%+v", got)
		}
		if shown := fmt.Sprintf("%v %+v %#v %+v", got, got, got, s); strings.Contains(shown, newAccess1) || strings.Contains(shown, newRefresh1) || strings.Contains(shown, clientSecret) {
			t.Error(shown)
		}
	}
}

func TestNewAuthServerRefuses(t *testing.T) {
	tests := []struct {
		change func(*AuthConfig)
		want   string
	}{
		{func(c *AuthConfig) { c.ClientID = "" }, "client id"},
		{func(c *AuthConfig) { c.ClientID = "a b" }, "client id"},
		{func(c *AuthConfig) { c.ClientSecret = Secret{} }, "client secret"},
		{func(c *AuthConfig) { c.ClientSecret = NewSecret("a\n" + clientSecret) }, "client secret"},
		{func(c *AuthConfig) { c.ClientSecret = NewSecret(strings.Repeat(clientSecret, 1000)) }, "client secret"},
		{func(c *AuthConfig) { c.URL = "http://oauth.bitrix24.tech/oauth/token/" }, "https only"},
		{func(c *AuthConfig) { c.URL = "https://oauth.bitrix24.tech/?a=" + clientSecret }, "?"},
		{func(c *AuthConfig) { c.URL = "https://a:" + clientSecret + "@oauth.bitrix24.tech/" }, "user name"},
		{func(c *AuthConfig) { c.URL = "https://169.254.169.254/" }, "not a public"},
		{func(c *AuthConfig) { c.Rate = -1 }, "rate"},
		{func(c *AuthConfig) { c.Timeout = -1 }, "timeout"},
	}
	for _, tt := range tests {
		c := AuthConfig{ClientID: "app.1", ClientSecret: NewSecret(clientSecret)}
		if _, err := NewAuthServer(c); err != nil {
			t.Fatal(err)
		}
		tt.change(&c)
		if _, err := NewAuthServer(c); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// TestAuthAnswers: who is to blame, and whether the old pair is still good.
// wait marks errors that have Wait from the first time on.
func TestAuthAnswers(t *testing.T) {
	const html, wait = "<html>nginx</html>", true
	no := func(code string) string { return `{"error":"` + code + `"}` }
	tests := []struct {
		status int
		body   string
		class  Class
		code   string
		health health
		wait   bool
	}{
		{400, no("invalid_grant"), Blocked, "invalid_grant", well, false},
		{200, no("invalid_grant"), Blocked, "invalid_grant", well, false},
		{500, no("INVALID_GRANT"), Blocked, "INVALID_GRANT", well, false},
		{402, no("PAYMENT_REQUIRED"), Blocked, "PAYMENT_REQUIRED", well, false},
		{503, no("PAYMENT_REQUIRED"), Blocked, "PAYMENT_REQUIRED", well, false},
		{400, no("invalid_scope"), Blocked, "invalid_scope", well, false},
		{400, no("invalid_request"), Blocked, "invalid_request", well, false},
		{401, no("expired_token"), Blocked, "expired_token", well, false},
		{403, no("unheard_of"), Blocked, "unheard_of", well, false},
		{400, `{"error_description":"no"}`, Blocked, "UNKNOWN", well, false},
		{400, `{"error":{"code":"invalid_grant","message":"x"}}`, Blocked, "invalid_grant", well, false},
		{401, no("invalid_client"), Transient, "invalid_client", refuses, wait},
		{200, no("INVALID_CLIENT"), Transient, "INVALID_CLIENT", refuses, wait},
		{400, no("unauthorized_client"), Transient, "unauthorized_client", refuses, wait},
		{400, no("wrong_client"), Transient, "wrong_client", refuses, wait},
		{404, no("APPLICATION_NOT_FOUND"), Transient, "APPLICATION_NOT_FOUND", refuses, wait},
		{500, no("unheard_of"), Transient, "unheard_of", ill, false},
		{500, no("INTERNAL_SERVER_ERROR"), Transient, "INTERNAL_SERVER_ERROR", ill, false},
		{400, no("INTERNAL_SERVER_ERROR"), Transient, "INTERNAL_SERVER_ERROR", ill, false},
		{400, no("temporarily_unavailable"), Transient, "temporarily_unavailable", ill, false},
		{503, no("QUERY_LIMIT_EXCEEDED"), Transient, "QUERY_LIMIT_EXCEEDED", ill, false},
		{401, no("QUERY_LIMIT_EXCEEDED"), Transient, "QUERY_LIMIT_EXCEEDED", ill, false},
		{429, no("too_many"), Transient, "too_many", ill, false},
		{502, html, Transient, CodeNotJSON, ill, false},
		{503, "", Transient, CodeEmpty, ill, false},
		{503, `{"message":"x"}`, Transient, CodeNotJSON, ill, false},
		{429, html, Transient, CodeNotJSON, ill, false},
		{403, html, Transient, CodeNotJSON, ill, false},
		{404, "", Transient, CodeEmpty, ill, false},
		{302, html, Transient, CodeNotJSON, ill, false},
		{504, html, Ambiguous, CodeNotJSON, ill, false},
		{500, html, Ambiguous, CodeNotJSON, ill, false},
		{500, "", Ambiguous, CodeEmpty, ill, false},
		{200, html, Ambiguous, CodeNotJSON, ill, false},
		{200, "", Ambiguous, CodeEmpty, ill, false},
		{200, "[]", Ambiguous, CodeNotJSON, ill, false},
		{200, "{}", Ambiguous, CodeNotJSON, ill, false},
		{200, `{"access_token":null,"refresh_token":false}`, Ambiguous, CodeNotJSON, ill, false},
		{200, `{"result":true}`, Ambiguous, CodeNotJSON, ill, false},
		{200, `{` + pair, Ambiguous, CodeTruncated, ill, false},
		{200, `{` + pair + `}{}`, Ambiguous, CodeNotJSON, ill, false},
		{200, `{"access_token":"` + newAccess1 + `"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{"refresh_token":"` + newRefresh1 + `"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{"access_token":["x"],"refresh_token":"x"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{"access_token":"` + newAccess1 + `\n","refresh_token":"x"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{"access_token":"жук","refresh_token":"x"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{"access_token":"x","refresh_token":"` + strings.Repeat(newRefresh1, 500) + `"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{` + pair + `,"member_id":"a b"}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{400, `{` + pair + `}`, Ambiguous, CodeUnexpectedResult, ill, false},
		{200, `{` + pair + `,"x":"` + strings.Repeat("x", maxTokenAnswer) + `"}`, Ambiguous, CodeTooLarge, ill, false},
		{502, strings.Repeat("x", maxTokenAnswer+1), Transient, CodeTooLarge, ill, false},
	}
	for _, tt := range tests {
		name := fmt.Sprintf("%d %.60s", tt.status, tt.body)
		s := answers(t, tt.status, tt.body)
		_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
		e := mustError(t, err)
		if e.Class != tt.class || e.Code != tt.code || e.Status != tt.status || e.Method != MethodToken || e.Host != "oauth.bitrix24.tech" || e.Credential != "" {
			t.Errorf("%s: %s %+v", name, e.Class, e)
		}
		if (e.Wait != nil) != tt.wait {
			t.Errorf("%s: wait %v", name, e.Wait)
		}
		if failures := s.closure.failures; (failures == 0) != (tt.health == well) {
			t.Errorf("%s: %d failures noted", name, failures)
		}
		if e.Description == "" || tt.wait != strings.Contains(e.Description, "BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET") {
			t.Errorf("%s: %q", name, e.Description)
		}
	}
}

func TestTokenAnswerForms(t *testing.T) {
	now := time.Unix(1800000000, 0)
	tests := []struct {
		body    string
		expires time.Time
		scope   string
		member  string
	}{
		{`{` + pair + `}`, time.Time{}, "[]", ""},
		{"\xef\xbb\xbf {\"ACCESS_TOKEN\":\"a\",\"Refresh_Token\":\"b\"}\n", time.Time{}, "[]", ""},
		{`{"access_token":12345,"refresh_token":67890,"member_id":42}`, time.Time{}, "[]", "42"},
		{`{` + pair + `,"expires":"1800003600","expires_in":"3600","scope":"imbot, crm"}`, now.Add(time.Hour), "[imbot crm]", ""},
		{`{` + pair + `,"expires":0,"expires_in":"3600","scope":["imbot","crm"]}`, now.Add(time.Hour), "[imbot crm]", ""},
		{`{` + pair + `,"expires":"soon","expires_in":-5,"scope":{"a":1},"status":7}`, time.Time{}, "[]", ""},
		{`{` + pair + `,"expires":1e300,"expires_in":1e300,"scope":[]}`, time.Time{}, "[]", ""},
		{`{` + pair + `,"member_id":null,"client_endpoint":[]}`, time.Time{}, "[]", ""},
		{`{` + pair + `,"error":"odd"}`, time.Time{}, "[]", ""},
	}
	for _, tt := range tests {
		s := authServer(t, "", func(c *AuthConfig) {
			c.Transport, c.Now = saying(200, tt.body), func() time.Time { return now }
		})
		got, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
		if err != nil || !got.Expires.Equal(tt.expires) || fmt.Sprint(got.Scope) != tt.scope || got.MemberID != tt.member || got.Access.Reveal() == "" {
			t.Errorf("%s: %+v, %v", tt.body, got, err)
		}
	}
}

func TestRefreshNeedsAToken(t *testing.T) {
	s := authServer(t, "", func(c *AuthConfig) {
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { t.Error("asked"); return nil, io.EOF })
	})
	for _, token := range []string{"", "a b", "a\n", strings.Repeat("x", maxTokenBytes+1)} {
		_, err := s.Refresh(t.Context(), NewSecret(token))
		if e := mustError(t, err); e.Class != Blocked || e.Code != CodeBadCall || e.Wait != nil {
			t.Errorf("%q: %+v", token, e)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Refresh(gone, NewSecret(oldRefresh))
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || !errors.Is(err, context.Canceled) || e.Wait != nil {
		t.Errorf("%+v", e)
	}
}

// TestServerIsLeftAlone: three failures shut the way for everybody, one tries
// after 5 s, then after 10; an answer opens it.
func TestServerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answer := saying(503, "")
		s := authServer(t, "", func(c *AuthConfig) {
			c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { asked.Add(1); return answer(r) })
		})
		refresh := func() *Error {
			if _, err := s.Refresh(t.Context(), NewSecret(oldRefresh)); err != nil {
				return mustError(t, err)
			}
			return nil
		}
		begun := time.Now()
		for i := range 3 {
			if e := refresh(); e.Class != Transient || (e.Wait != nil) != (i == 2) {
				t.Errorf("%d: %+v", i, e)
			}
		}
		expect := func(calls int32, until, since time.Time) {
			t.Helper()
			e := refresh()
			if e == nil || e.Class != Transient || e.Wait == nil || !e.Wait.Until.Equal(until) || !e.Wait.Since.Equal(since) || asked.Load() != calls {
				t.Errorf("%d asked; %+v, %+v", asked.Load(), e, e.Wait)
			}
		}
		expect(3, begun.Add(5*time.Second), begun)
		if e := refresh(); e.Code != CodeEmpty || !strings.Contains(e.Description, "left alone") || !strings.Contains(e.Description, "HTTP 503") {
			t.Error(e)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's clock
		expect(4, begun.Add(15*time.Second), begun)
		expect(4, begun.Add(15*time.Second), begun)
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		answer = saying(400, `{"error":"invalid_grant"}`)
		if e := refresh(); e.Class != Blocked || e.Wait != nil {
			t.Errorf("%+v", e)
		}
		answer = saying(200, `{`+pair+`}`)
		for range 3 {
			if e := refresh(); e != nil {
				t.Error(e)
			}
		}
		answer = saying(503, "")
		if e := refresh(); e.Wait != nil {
			t.Error("one failure after an answer shuts the way")
		}
	})
}

// TestAmbiguousNeverWaits: Wait says that the pair is as it was, which after a
// 504 nobody knows, also for the failure that shuts the way.
func TestAmbiguousNeverWaits(t *testing.T) {
	s := answers(t, 504, "")
	for i := range 5 {
		_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
		e := mustError(t, err)
		if shut := i >= illInARow; (e.Wait != nil) != shut || (e.Class == Transient) != shut {
			t.Errorf("%d: %s %+v", i, e.Class, e)
		}
	}
}

// TestOneProbe: after a closure one asks, however many come.
func TestOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		s := authServer(t, "", func(c *AuthConfig) {
			c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if asked.Add(1) > 3 {
					<-release
					return saying(200, `{`+pair+`}`)(r)
				}
				return saying(401, `{"error":"invalid_client"}`)(r)
			})
		})
		for range 3 {
			_, _ = s.Refresh(t.Context(), NewSecret(oldRefresh))
		}
		time.Sleep(minClosure) //nolint:forbidigo // the bubble's clock
		results := make(chan error, 10)
		for range 10 {
			go func() { _, err := s.Refresh(t.Context(), NewSecret(oldRefresh)); results <- err }()
		}
		synctest.Wait()
		if asked.Load() != 4 || len(results) != 9 {
			t.Errorf("%d asked, %d were sent away", asked.Load(), len(results))
		}
		for range 9 {
			if e := mustError(t, <-results); e.Wait == nil || !e.Wait.Until.After(time.Now()) || !strings.Contains(e.Description, "BITRIX_CLIENT_ID") {
				t.Errorf("%+v", e)
			}
		}
		close(release)
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}
