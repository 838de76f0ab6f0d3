// Calls against servers that answer well or badly.

package bitrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// local makes a client that may call loopback, and closes it after the test.
func local(t testing.TB, change func(*Config)) *Client {
	t.Helper()
	config := Config{Endpoints: mustEndpoints(t, "true"), Timeout: 20 * time.Second}
	if change != nil {
		change(&config)
	}
	c := NewClient(config)
	t.Cleanup(c.Close)
	return c
}

// serve starts a portal and gives a webhook access to it.
func serve(t testing.TB, handler http.HandlerFunc) Access {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return mustWebhook(t, server.URL+"/rest/1/"+testSecret+"/")
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func mustError(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %v", err)
	}
	return e
}

// TestPublicPage sends the two cURL examples of imbot.register's public page.
func TestPublicPage(t *testing.T) {
	bot := &Bot{Code: "newbot", Type: "B", EventHandler: "https://example.com/bot/events", OpenLine: "N", Properties: Properties{Name: "NewBot"}}
	hook := *bot
	hook.ClientID = "client"
	hook.Properties.WorkPosition = "Support bot"
	const common = `"CODE":"newbot","TYPE":"B","EVENT_HANDLER":"https://example.com/bot/events","OPENLINE":"N",`
	tests := []struct {
		name, path, body string
		bot              *Bot
		access           func(base string) (Access, error)
	}{
		{"webhook", "/rest/1/" + testSecret + "/imbot.register",
			`{` + common + `"PROPERTIES":{"NAME":"NewBot","WORK_POSITION":"Support bot"},"CLIENT_ID":"client"}`, &hook,
			func(base string) (Access, error) { return ParseWebhook(base + "/rest/1/" + testSecret) }},
		{"oauth", "/rest/imbot.register", `{` + common + `"PROPERTIES":{"NAME":"NewBot"},"auth":"` + testSecret + `"}`, bot,
			func(base string) (Access, error) { return NewOAuth(base, testSecret) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != "POST" || r.RequestURI != tt.path || r.Header.Get("Content-Type") != "application/json" ||
					r.Header.Get("Accept") != "application/json" || r.Header.Get("User-Agent") != "test/1" || r.Header.Get("Authorization") != "" {
					t.Errorf("%s %s %v", r.Method, r.RequestURI, r.Header)
				}
				var got, want any
				if json.Unmarshal(body, &got) != nil || json.Unmarshal([]byte(tt.body), &want) != nil || !cmp.Equal(got, want) {
					t.Errorf("sent %s", body)
				}
				_, _ = io.WriteString(w, `{"result":39,"time":{"start":1728626400.1,"duration":0.111,"processing":0.045,"operating_reset_at":1762349466,"operating":0.25}}`)
			}))
			defer server.Close()
			a, err := tt.access(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			got, err := local(t, func(c *Config) { c.UserAgent = "test/1" }).Register(t.Context(), a, tt.bot)
			want := Registered{BotID: 39, Time: Time{Operating: 250 * time.Millisecond, HasOperating: true,
				ResetAt: time.Unix(1762349466, 0), Duration: 111 * time.Millisecond, Processing: 45 * time.Millisecond}}
			if err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestRegisterAnswers(t *testing.T) {
	const html = "<html><body>nginx</body></html>"
	tests := []struct {
		name   string
		status int
		body   string
		id     int64
		exists bool
		class  Class
		code   string
	}{
		{"new", 200, `{"result":39}`, 39, false, "", ""},
		{"existing", 200, "\xef\xbb\xbf {\"result\":\"39\",\"time\":[]}\n", 39, true, "", ""},
		{"no id", 200, `{"result":false}`, 0, false, Ambiguous, CodeUnexpectedResult},
		{"null id", 200, `{"result":null}`, 0, false, Ambiguous, CodeUnexpectedResult},
		{"empty list", 200, `{"result":[]}`, 0, false, Ambiguous, CodeUnexpectedResult},
		{"fraction", 200, `{"result":1.5}`, 0, false, Ambiguous, CodeUnexpectedResult},
		{"huge id", 200, `{"result":99999999999999999999}`, 0, false, Ambiguous, CodeUnexpectedResult},
		{"code", 400, `{"error":"CODE_ERROR","error_description":"Bot code isn\u0027t specified"}`, 0, false, Validation, "CODE_ERROR"},
		{"error with 200", 200, `{"error":"NAME_ERROR"}`, 0, false, Validation, "NAME_ERROR"},
		{"error beside result", 200, `{"result":[],"error":"NAME_ERROR"}`, 0, false, Validation, "NAME_ERROR"},
		{"limit 503", 503, `{"error":"QUERY_LIMIT_EXCEEDED"}`, 0, false, Limit, "QUERY_LIMIT_EXCEEDED"},
		{"limit 429", 429, `{"error":"operation_time_limit"}`, 0, false, Limit, "operation_time_limit"},
		{"token", 401, `{"error":"expired_token"}`, 0, false, Token, "expired_token"},
		{"token capitals", 401, `{"error":"EXPIRED_TOKEN"}`, 0, false, Token, "EXPIRED_TOKEN"},
		{"quoted 500", 400, `{"error":"500","error_description":"birthday"}`, 0, false, Validation, "500"},
		{"number", 400, `{"error":100}`, 0, false, Validation, "100"},
		{"object", 400, `{"error":{"code":"NAME_ERROR","message":"x"}}`, 0, false, Validation, "NAME_ERROR"},
		{"list", 400, `{"error":["x"]}`, 0, false, Validation, "UNKNOWN"},
		{"text only", 500, `{"error":"","error_description":"x"}`, 0, false, Transient, "UNKNOWN"},
		{"unknown 5xx", 502, `{"error":"STRANGE"}`, 0, false, Transient, "STRANGE"},
		{"html 200", 200, html, 0, false, Ambiguous, CodeNotJSON},
		{"html 502", 502, html, 0, false, Ambiguous, CodeNotJSON},
		{"html 503", 503, html, 0, false, Ambiguous, CodeNotJSON},
		{"html 403", 403, html, 0, false, Blocked, CodeNotJSON},
		{"html 404", 404, html, 0, false, Blocked, CodeNotJSON},
		{"html 413", 413, html, 0, false, Validation, CodeNotJSON},
		{"html 429", 429, html, 0, false, Limit, CodeNotJSON},
		{"html 408", 408, html, 0, false, Transient, CodeNotJSON},
		{"redirect to nowhere", 302, html, 0, false, Ambiguous, CodeNotJSON},
		{"empty", 200, "", 0, false, Ambiguous, CodeEmpty},
		{"white space", 200, " \n", 0, false, Ambiguous, CodeEmpty},
		{"empty 504", 504, "", 0, false, Ambiguous, CodeEmpty},
		{"PHP list", 200, "[]", 0, false, Ambiguous, CodeNotJSON},
		{"null", 200, "null", 0, false, Ambiguous, CodeNotJSON},
		{"no envelope", 200, `{"time":{}}`, 0, false, Ambiguous, CodeNotJSON},
		{"gateway JSON", 502, `{"message":"bad gateway"}`, 0, false, Ambiguous, CodeNotJSON},
		{"result with 500", 500, `{"result":39}`, 0, false, Ambiguous, CodeNotJSON},
		{"cut", 200, `{"result":3`, 0, false, Ambiguous, CodeTruncated},
		{"two answers", 200, `{"result":3}{"result":4}`, 0, false, Ambiguous, CodeNotJSON},
		{"too large", 200, `{"result":"` + strings.Repeat("x", 5000) + `"}`, 0, false, Ambiguous, CodeTooLarge},
		{"too large 403", 403, strings.Repeat("x", 5000), 0, false, Transient, CodeTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := serve(t, text(tt.status, tt.body))
			got, err := local(t, func(c *Config) { c.MaxBody = 4000 }).Register(t.Context(), a, goodBot())
			if tt.class == "" {
				if err != nil || got.BotID != tt.id || got.Existed != tt.exists {
					t.Fatalf("got %+v, %v", got, err)
				}
				return
			}
			e := mustError(t, err)
			if e.Class != tt.class || e.Code != tt.code || e.Status != tt.status || e.Method != MethodRegister || e.Host != a.Host() {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	a := serve(t, text(400, `{"error":"CODE_ERROR","error_description":"Bot code\u0000 isn\u0027t\n specified `+strings.Repeat("ж", 400)+`"}`))
	_, err := local(t, nil).Register(t.Context(), a, goodBot())
	e := mustError(t, err)
	if !strings.HasPrefix(e.Error(), "imbot.register on "+a.Host()+": CODE_ERROR: Bot code isn't specified жж") {
		t.Error(e)
	}
	if n := len([]rune(e.Description)); n != 300 {
		t.Errorf("%d characters of description", n)
	}
}

func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for location, want := range map[string]string{
			"https://New.bitrix24.com:443/rest/1/" + testSecret + "/x": "https://new.bitrix24.com",
			"HTTP://new.bitrix24.com.:443/":                            "http://new.bitrix24.com:443",
			"//new.bitrix24.com/rest":                                  "http://new.bitrix24.com",
			"ftp://new.bitrix24.com/":                                  "",
			"https://user:" + testSecret + "@new.bitrix24.com/":        "",
			"https://evil.example:99999/":                              "",
			"/login":                                                   "",
			"::":                                                       "",
			"https://" + testSecret + ".example/":                      "",
		} {
			var calls atomic.Int32
			a := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			_, err := local(t, nil).Register(t.Context(), a, goodBot())
			e := mustError(t, err)
			if e.Class != Blocked || e.Code != CodePortalMoved || e.Status != status || calls.Load() != 1 || e.Credential != a.Fingerprint() {
				t.Errorf("%d: %+v after %d calls", status, e, calls.Load())
			}
			if strings.Contains(location, testSecret+".") {
				want = e.Location
			}
			if e.Location != want || strings.Contains(fmt.Sprintf("%+v %v", *e, e), testSecret) {
				t.Errorf("%s: Location %q, %v", location, e.Location, e)
			}
		}
	}
}

func TestBadCalls(t *testing.T) {
	c := local(t, nil)
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	if _, err := c.Register(t.Context(), Access{}, goodBot()); mustError(t, err).Code != CodeBadCall {
		t.Error(err)
	}
	if _, err := c.Register(t.Context(), a, nil); mustError(t, err).Class != Validation {
		t.Error(err)
	}
	for _, method := range []string{"", "a/b", "a?b", "../x"} {
		if _, _, err := c.Call(t.Context(), a, method, nil); mustError(t, err).Code != CodeBadCall {
			t.Error(err)
		}
	}
	if _, _, err := c.Call(t.Context(), a, "profile", []int{1}); mustError(t, err).Code != CodeBadCall {
		t.Error(err)
	}
}
