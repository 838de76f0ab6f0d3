// Calls against servers that answer well, badly or not at all.

package bitrix

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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
		{"too large 403", 403, strings.Repeat("x", 5000), 0, false, Blocked, CodeTooLarge},
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
			"https://New.bitrix24.com:443/rest/1/" + testSecret + "/x": "new.bitrix24.com",
			"https://user:" + testSecret + "@evil.example/":            "evil.example",
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
			if e.Class != Blocked || e.Code != CodePortalMoved || e.Status != status || calls.Load() != 1 {
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

// raw serves connections by hand.
func raw(t *testing.T, handle func(conn *net.TCPConn)) Access {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(conn.(*net.TCPConn))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return mustWebhook(t, "http://"+listener.Addr().String()+"/rest/1/"+testSecret)
}

func readRequest(conn net.Conn) {
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// hang keeps a connection open until the client closes it.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestTransportFailures(t *testing.T) {
	write := func(conn net.Conn, s string) { _, _ = io.WriteString(conn, s) }
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name   string
		handle func(conn *net.TCPConn)
		class  Class
		codes  string
	}{
		// Whether the body leaves before the client notices is luck: either class is true.
		{"closed before reading", func(c *net.TCPConn) {}, "", CodeReset},
		{"reset after reading", func(c *net.TCPConn) { readRequest(c); _ = c.SetLinger(0) }, Ambiguous, CodeReset},
		{"closed after reading", func(c *net.TCPConn) { readRequest(c) }, Ambiguous, CodeReset},
		{"silence", func(c *net.TCPConn) { readRequest(c); hang(c) }, Ambiguous, CodeTimeout},
		{"slow headers", func(c *net.TCPConn) { readRequest(c); write(c, ok); hang(c) }, Ambiguous, CodeTimeout},
		{"slow body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 14\r\n\r\n{\"res"); hang(c) }, Ambiguous, CodeTimeout},
		{"cut body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 14\r\n\r\n{\"res") }, Ambiguous, CodeTruncated},
		{"cut chunks", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Transfer-Encoding: chunked\r\n\r\nff\r\n{\"res") }, Ambiguous, CodeTruncated},
		{"reset in body", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+"Content-Length: 14\r\n\r\n{\"res")
			_ = c.SetLinger(0)
		}, Ambiguous, CodeTruncated + " " + CodeReset},
		{"not gzip", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
		}, Ambiguous, CodeTruncated},
		{"cut body of 403", func(c *net.TCPConn) { readRequest(c); write(c, "HTTP/1.1 403 No\r\nContent-Length: 14\r\n\r\n<html") }, Blocked, CodeTruncated},
		{"not HTTP", func(c *net.TCPConn) { readRequest(c); write(c, "SSH-2.0-OpenSSH\r\n") }, Ambiguous, CodeBadHTTP},
		{"endless headers", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 200)+"\r\n")
		}, Ambiguous, CodeBadHTTP + " " + CodeReset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := raw(t, tt.handle)
			_, err := local(t, func(c *Config) {
				if strings.Contains(tt.codes, CodeTimeout) {
					c.Timeout = 2 * time.Second // the connection itself must be made in it
				}
			}).Register(t.Context(), a, goodBot())
			e := mustError(t, err)
			if tt.class == "" && e.Class == Transient {
				tt.class = Transient
			} else if tt.class == "" {
				tt.class = Ambiguous
			}
			if e.Class != tt.class || !strings.Contains(tt.codes, e.Code) {
				t.Errorf("%s %v", e.Class, e)
			}
		})
	}
}

// TestEchoServer: a server that sends the request back has the secret in its
// "answer", and net/http quotes it.
func TestEchoServer(t *testing.T) {
	a := raw(t, func(c *net.TCPConn) {
		var got []byte
		buffer := make([]byte, 1000)
		for !strings.HasSuffix(string(got), "}}") {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			got = append(got, buffer[:n]...)
		}
		_, _ = c.Write(got)
		hang(c)
	})
	_, err := local(t, nil).Register(t.Context(), a, goodBot())
	e := mustError(t, err)
	if shown := fmt.Sprintf("%v %+v %#v %v %+v", e, *e, e, e.Err, e.Err); strings.Contains(shown, testSecret) || !strings.Contains(shown, hidden) {
		t.Error(shown)
	}
}

func TestNothingListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = local(t, nil).Register(t.Context(), mustWebhook(t, "http://"+address+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeRefused {
		t.Error(e.Class, e)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(text(200, `{"result":39}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports what the test provokes
	server.StartTLS()
	defer server.Close()
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	_, err := local(t, nil).Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeTLS {
		t.Error(e.Class, e)
	}
	plain := serve(t, text(200, ""))
	_, err = local(t, nil).Register(t.Context(), mustWebhook(t, "https://"+plain.Host()+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeTLS {
		t.Error(e.Class, e)
	}
}

// TestHTTP2: the client's own connections speak it where the server does.
func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"result":%d}`, r.ProtoMajor)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := local(t, nil)
	transport := c.config.Transport.(*http.Transport)
	transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	got, err := c.Register(t.Context(), mustWebhook(t, server.URL+"/rest/1/"+testSecret), goodBot())
	if err != nil || got.BotID != 2 {
		t.Errorf("HTTP/%d, %v", got.BotID, err)
	}
}

// TestDialCheck: a host name that leads to a loopback address is not called,
// and a network of the operator's lets it through.
func TestDialCheck(t *testing.T) {
	a := serve(t, text(200, `{"result":39}`))
	port := a.Host()[strings.LastIndex(a.Host(), ":"):]
	for _, list := range []string{"", "127.0.0.0/8"} {
		// The transport alone: Check, which runs before, refuses this port.
		transport := newTransport(Config{Endpoints: mustEndpoints(t, list)}.withDefaults())
		c := local(t, func(c *Config) { c.Transport = transport })
		_, err := c.Register(t.Context(), a, goodBot())
		if list != "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if e := mustError(t, err); e.Class != Blocked || e.Code != CodeForbiddenEndpoint {
			t.Error(e.Class, e)
		}
	}
	_, err := local(t, func(c *Config) { c.Endpoints = Endpoints{} }).
		Register(t.Context(), mustWebhook(t, "http://acme.bitrix24.ru"+port+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Blocked || e.Code != CodeForbiddenEndpoint {
		t.Error(e.Class, e)
	}
}

func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if c := local(t, nil); c.config.Transport.(*http.Transport).Proxy != nil {
		t.Error("the client uses a proxy")
	}
}

func TestCompressedAnswersCountOpened(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `{"result":"`+strings.Repeat("0", 1<<20)+`7"}`)
		_ = z.Close()
	})
	_, err := local(t, func(c *Config) { c.MaxBody = 1 << 19 }).Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Code != CodeTooLarge {
		t.Error(e)
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCallerEndsTheCall(t *testing.T) {
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()
	never := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("called"); return nil, io.EOF })
	for _, ctx := range []context.Context{gone, late} {
		_, err := NewClient(Config{Transport: never}).Register(ctx, a, goodBot())
		if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || !errors.Is(err, ctx.Err()) {
			t.Error(e.Class, e)
		}
	}
	for _, reads := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			if reads {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			cancel()
			return nil, r.Context().Err()
		})
		_, err := NewClient(Config{Transport: transport}).Register(ctx, a, goodBot())
		e := mustError(t, err)
		want := map[bool]string{false: "transient NOT_SENT", true: "ambiguous CANCELLED"}[reads]
		if string(e.Class)+" "+e.Code != want || !errors.Is(err, context.Canceled) {
			t.Errorf("read %v: %s %v", reads, e.Class, e)
		}
	}
}

// TestFrozenSender: the wall clock has passed the deadline although no timer
// has noticed; the transport gets no body, now or later.
func TestFrozenSender(t *testing.T) {
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var frozen atomic.Bool
	var body io.ReadCloser
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		frozen.Store(true)
		body, _ = r.GetBody()
		n, err := body.Read(make([]byte, 10))
		if n != 0 || err == nil {
			t.Errorf("%d bytes leave after the deadline", n)
		}
		return nil, fmt.Errorf("write: %w", err)
	})
	now := func() time.Time {
		if frozen.Load() {
			return time.Now().Add(2 * time.Hour)
		}
		return time.Now()
	}
	_, err := NewClient(Config{Transport: transport, Now: now}).Register(ctx, a, goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(e.Class, e)
	}
	frozen.Store(false)
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errSealed) {
		t.Errorf("%d bytes leave after the call, %v", n, err)
	}
}

// TestFrozenSenderOnAConnection is the same with real connections, plain and
// safe, new and reused: the server must see no request, not even its headers.
func TestFrozenSenderOnAConnection(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var seen, looks, good atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				text(200, `{"result":1}`)(w, r)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if scheme == "http" {
				server.Start()
			} else {
				server.StartTLS()
			}
			defer server.Close()
			c := local(t, func(c *Config) {
				c.Now = func() time.Time {
					if looks.Add(1) > good.Load() {
						return time.Now().Add(2 * time.Hour)
					}
					return time.Now()
				}
			})
			if scheme == "https" {
				c.config.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
			a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			register := func(goodLooks int32) error {
				looks.Store(0)
				good.Store(goodLooks)
				_, err := c.Register(ctx, a, goodBot())
				return err
			}
			for _, warm := range []bool{false, true} {
				if warm {
					if err := register(1000); err != nil {
						t.Fatal(err)
					}
				}
				// The look before the connection is good, the one before writing is not.
				if e := mustError(t, register(1)); e.Class != Transient || e.Code != CodeNotSent {
					t.Error(warm, e.Class, e)
				}
			}
			if seen.Load() != 1 {
				t.Errorf("the server saw %d requests", seen.Load())
			}
		})
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

func TestBots(t *testing.T) {
	tests := []struct {
		result string
		want   []ListedBot
		bad    bool
	}{
		{`[]`, []ListedBot{}, false},
		{`{"7":{"ID":"7","NAME":"B","CODE":"b","OPENLINE":"N"},"3":{"ID":3,"NAME":null,"CODE":"A","OPENLINE":"Y"}}`,
			[]ListedBot{{3, "", "A", true}, {7, "B", "b", false}}, false},
		{`[{"ID":"1","CODE":"x"}]`, []ListedBot{{1, "", "x", false}}, false},
		{`{"9":{"CODE":"x"},"x":{"CODE":"y"},"10":null,"11":"z"}`, []ListedBot{{9, "", "x", false}, {10, "", "", false}}, false},
		{`false`, nil, true},
		{`"x"`, nil, true},
	}
	for _, tt := range tests {
		var sent string
		a := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			sent = r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] + string(body)
			_, _ = io.WriteString(w, `{"result":`+tt.result+`}`)
		})
		got, _, err := local(t, nil).Bots(t.Context(), a, "app")
		if (err != nil) != tt.bad || !cmp.Equal(got, tt.want) || sent != `imbot.bot.list{"CLIENT_ID":"app"}` {
			t.Errorf("%s: %+v, %v; sent %s", tt.result, got, err, sent)
		}
	}
}

func TestUpdate(t *testing.T) {
	const want = `{"BOT_ID":39,"CLIENT_ID":"app1","FIELDS":{"CODE":"helper","EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"X"}}}`
	for result, ok := range map[string]bool{"true": true, `"1"`: true, "false": false, "null": false} {
		var sent []byte
		a := serve(t, func(w http.ResponseWriter, r *http.Request) {
			sent, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, `{"result":`+result+`,"time":{"operating":"1.5"}}`)
		})
		b := goodBot()
		b.Properties = Properties{Name: "X"}
		cost, err := local(t, nil).Update(t.Context(), a, 39, b)
		if (err == nil) != ok || string(sent) != want || ok && cost.Operating != 1500*time.Millisecond {
			t.Errorf("%s: %v, %v; sent %s", result, cost, err, sent)
		}
	}
}

// TestConnectionIsKept: one connection serves call after call, errors included.
func TestConnectionIsKept(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(text(400, `{"error":"CODE_ERROR"}`))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := local(t, nil)
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	for range 5 {
		if _, err := c.Register(t.Context(), a, goodBot()); mustError(t, err).Code != "CODE_ERROR" {
			t.Fatal(err)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

// TestReusedConnectionClosed: the server closed the idle connection. The call
// finds a new one, or says that the connection ended, before or after sending.
func TestReusedConnectionClosed(t *testing.T) {
	server := httptest.NewServer(text(200, `{"result":1}`))
	defer server.Close()
	c := local(t, nil)
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	for range 20 {
		if _, err := c.Register(t.Context(), a, goodBot()); err != nil && mustError(t, err).Code != CodeReset {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
}

func TestFormEncoding(t *testing.T) {
	values, err := url.ParseQuery(strings.TrimPrefix(UpdateCommand("$result[r00]", goodBot()).text(), "imbot.update?"))
	if err != nil || values.Get("FIELDS[PROPERTIES][NAME]") != "Helper" || values.Get("FIELDS[CODE]") != "helper" ||
		values.Get("BOT_ID") != "$result[r00]" || values.Get("CLIENT_ID") != "app1" || values.Has("FIELDS[TYPE]") {
		t.Error(values, err)
	}
}
