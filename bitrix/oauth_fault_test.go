// An authorization server that fails in every way: what became of the pair is
// known as far as it can be, and no error holds a secret or the URL.

package bitrix

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shown is everything that a program could print of an error.
func shown(err error) string {
	var text strings.Builder
	for ; err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(&text, "%v|%+v|%#v|%q|", err, err, err, err)
		if e, ok := errors.AsType[*Error](err); ok {
			encoded, _ := json.Marshal(e)
			fmt.Fprintf(&text, "%+v|%#v|%s|", *e, *e, encoded)
		}
	}
	return text.String()
}

// mustHide fails when a text shows a secret in some form, or the URL.
func mustHide(t testing.TB, text string) {
	t.Helper()
	for _, secret := range append(secretForms(oldRefresh, clientSecret, newAccess1, newRefresh1), "grant_type", "client_secret=", "refresh_token=") {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown in %s", secret, text)
		}
	}
}

// echo sends back what it gets, as an answer of its own.
func echo(r *http.Request) string { return r.URL.String() + " " + r.RequestURI + " " + r.URL.RawQuery }

func TestAuthFaults(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	write := func(c net.Conn, s string) { _, _ = io.WriteString(c, s) }
	tests := []struct {
		name   string
		handle func(*net.TCPConn)
		class  Class
		codes  string
	}{
		{"reset after reading", func(c *net.TCPConn) { readRequest(c); _ = c.SetLinger(0) }, Ambiguous, CodeReset},
		{"closed after reading", func(c *net.TCPConn) { readRequest(c) }, Ambiguous, CodeReset},
		{"silence", func(c *net.TCPConn) { readRequest(c); hang(c) }, Ambiguous, CodeTimeout},
		{"slow headers", func(c *net.TCPConn) { readRequest(c); write(c, ok); hang(c) }, Ambiguous, CodeTimeout},
		{"slow body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 99\r\n\r\n{"+pair); hang(c) }, Ambiguous, CodeTimeout},
		{"slow 503", func(c *net.TCPConn) {
			readRequest(c)
			write(c, "HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\n<")
			hang(c)
		}, Transient, CodeTimeout},
		{"cut body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 999\r\n\r\n{"+pair) }, Ambiguous, CodeTruncated},
		{"not HTTP", func(c *net.TCPConn) { readRequest(c); write(c, pair+"\r\n") }, Ambiguous, CodeBadHTTP},
		{"bad header", func(c *net.TCPConn) { readRequest(c); write(c, ok+pair+"\r\n\r\n") }, Ambiguous, CodeBadHTTP},
		{"echo as HTTP", func(c *net.TCPConn) {
			buffer := make([]byte, 4000)
			n, _ := c.Read(buffer)
			write(c, string(buffer[:n]))
			hang(c)
		}, Ambiguous, CodeBadHTTP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			a := raw(t, func(c *net.TCPConn) { asked.Add(1); tt.handle(c) })
			s := authServer(t, "http://"+a.Host()+"/oauth/token/", func(c *AuthConfig) {
				c.Timeout = 20 * time.Second
				if strings.Contains(tt.codes, CodeTimeout) {
					c.Timeout = time.Second // the connection itself must be made in it
				}
			})
			_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
			e := mustError(t, err)
			if e.Class != tt.class || !strings.Contains(tt.codes, e.Code) || s.closure.failures != 1 {
				t.Errorf("%s %v, %d failures", e.Class, e, s.closure.failures)
			}
			if asked.Load() != 1 {
				t.Errorf("the server was asked %d times", asked.Load())
			}
			mustHide(t, shown(err))
		})
	}
}

// TestAuthAnswersQuoteNothing: pages and errors that repeat the request.
func TestAuthAnswersQuoteNothing(t *testing.T) {
	for _, status := range []int{200, 301, 302, 307, 400, 401, 403, 404, 429, 500, 502, 503, 504} {
		for _, form := range []string{
			"<html>%s</html>", `{"error":"%s","error_description":"%[1]s"}`, `{"error":"invalid_client","error_description":"%s"}`,
			`{"error":{"code":"%s","message":"%[1]s"}}`, `{"access_token":"%s"}`, `{"refresh_token":"%s","access_token":"жук ` + newAccess1 + `"}`, `{"error":"%s`,
		} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "https://evil.example/?"+r.URL.RawQuery)
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, form, echo(r)+" "+oldRefresh+" "+clientSecret)
			}))
			_, err := authServer(t, server.URL+"/oauth/token/", nil).Refresh(t.Context(), NewSecret(oldRefresh))
			server.Close()
			if err == nil {
				t.Errorf("%d %s is a success", status, form)
			}
			mustHide(t, shown(err))
		}
	}
}

// TestAuthRedirectIsNotFollowed: the credentials go to no other address.
func TestAuthRedirectIsNotFollowed(t *testing.T) {
	var other atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other.Add(1) }))
	defer stranger.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger.URL+r.RequestURI, status)
		}))
		_, err := authServer(t, server.URL+"/oauth/token/", nil).Refresh(t.Context(), NewSecret(oldRefresh))
		server.Close()
		if e := mustError(t, err); e.Class != Transient || e.Location != "" || other.Load() != 0 {
			t.Errorf("%d: %+v, %d requests to a stranger", status, e, other.Load())
		}
		mustHide(t, shown(err))
	}
}

// TestAuthUnsent: the pair is certainly as it was.
func TestAuthUnsent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	safe := httptest.NewUnstartedServer(text(200, `{`+pair+`}`))
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	safe.StartTLS()
	defer safe.Close()
	plain := httptest.NewServer(text(200, `{`+pair+`}`))
	defer plain.Close()
	tests := []struct {
		name, url, code string
	}{
		{"refused", "http://" + listener.Addr().String() + "/", CodeRefused},
		{"unknown certificate", safe.URL + "/", CodeTLS},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1) + "/", CodeTLS},
	}
	for _, tt := range tests {
		s := authServer(t, tt.url, nil)
		for i := range 4 {
			_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
			if e := mustError(t, err); e.Class != Transient || e.Code != tt.code || (e.Wait != nil) != (i >= 2) {
				t.Errorf("%s: %s %v, %+v", tt.name, e.Class, e, e.Wait)
			}
			mustHide(t, shown(err))
		}
	}
	trusted := authServer(t, safe.URL+"/", nil)
	trusted.config.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: safe.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if _, err := trusted.Refresh(t.Context(), NewSecret(oldRefresh)); err != nil {
		t.Error(err)
	}
}

// TestAuthAddressIsChecked: the name leads inside the network. That is nothing
// about the portal, so its rows wait.
func TestAuthAddressIsChecked(t *testing.T) {
	victim := listen(t)
	names := &zone{answers: []string{"127.0.0.1"}}
	s := authServer(t, "https://oauth.example:"+victim.port+"/", func(c *AuthConfig) {
		inner := newAuthTransport(AuthConfig{Endpoints: Endpoints{resolver: names.resolver()}}.withDefaults())
		c.Transport = inner
	})
	_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeForbiddenEndpoint || e.Wait == nil {
		t.Errorf("%s %+v", e.Class, e)
	}
	if victim.calls(t) != 0 {
		t.Error("a connection was made")
	}
	mustHide(t, shown(err))
}

// TestAuthCallerGivesUp: what a caller's haste does is not the server's failure.
func TestAuthCallerGivesUp(t *testing.T) {
	for _, reads := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		s := authServer(t, "", func(c *AuthConfig) {
			c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if reads {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				cancel()
				return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: r.Context().Err()}
			})
		})
		_, err := s.Refresh(ctx, NewSecret(oldRefresh))
		e := mustError(t, err)
		want := map[bool]string{false: "transient NOT_SENT", true: "ambiguous CANCELLED"}[reads]
		if string(e.Class)+" "+e.Code != want || !errors.Is(err, context.Canceled) || s.closure.failures != 0 {
			t.Errorf("read %v: %s %v, %d failures", reads, e.Class, e, s.closure.failures)
		}
		mustHide(t, shown(err))
	}
}

// TestAuthFrozenSender: the process stood still until the deadline was over;
// the server must see nothing of the request.
func TestAuthFrozenSender(t *testing.T) {
	var seen, looks atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	s := authServer(t, server.URL+"/", func(c *AuthConfig) {
		c.Now = func() time.Time {
			if looks.Add(1) > 4 { // the looks before the connection are good
				return time.Now().Add(2 * time.Hour)
			}
			return time.Now()
		}
	})
	_, err := s.Refresh(ctx, NewSecret(oldRefresh))
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || seen.Load() != 0 || s.closure.failures != 0 {
		t.Errorf("%s %v; the server saw %d requests", e.Class, e, seen.Load())
	}
}

// TestAuthNeverRepeats: net/http's own transport, with connections kept, must
// not show a refresh token twice when a connection breaks.
func TestAuthNeverRepeats(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{`+pair+`}`)
	}))
	defer server.Close()
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	s := authServer(t, server.URL+"/", func(c *AuthConfig) { c.Transport = kept })
	if _, err := s.Refresh(t.Context(), NewSecret(oldRefresh)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
	if e := mustError(t, err); e.Class != Ambiguous || asked.Load() != 2 {
		t.Errorf("%s %v after %d requests", e.Class, e, asked.Load())
	}
}

// TestAuthSecretsNeverInErrors: whoever repeats secrets, in which form ever.
func TestAuthSecretsNeverInErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.StringMatching(`[!-~]{12,40}`)
		refresh, key := draw.Draw(t, "refresh"), draw.Draw(t, "key")
		secret := rapid.SampledFrom([]string{refresh, key, refresh + key, key + refresh}).Draw(t, "which")
		said := rapid.SampledFrom([]string{secret, url.QueryEscape(secret), url.PathEscape(secret), lowerEscapes(url.QueryEscape(secret)),
			secret[:5] + "\u0000" + secret[5:], strings.Repeat("я", 295) + secret, "\u200b" + secret[:3] + "\u200b" + secret[3:]}).Draw(t, "said")
		quoted, _ := json.Marshal(said)
		broken := func(read bool, err func(r *http.Request) error) roundTrip {
			return func(r *http.Request) (*http.Response, error) {
				if read {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				return nil, err(r)
			}
		}
		wrap := func(cause error) func(r *http.Request) error {
			return func(r *http.Request) error {
				return &url.Error{Op: "Get" + said, URL: r.URL.String(), Err: fmt.Errorf("%s: %w", said, cause)}
			}
		}
		read := rapid.Bool().Draw(t, "read")
		transport := rapid.SampledFrom([]roundTrip{
			saying(400, `{"error":`+string(quoted)+`,"error_description":`+string(quoted)+`}`),
			saying(401, `{"error":"invalid_client","error_description":`+string(quoted)+`}`),
			saying(500, `{"error":{"code":`+string(quoted)+`,"message":`+string(quoted)+`}}`),
			saying(200, said), saying(502, said), saying(200, `{"access_token":`+string(quoted)+`}`),
			broken(read, wrap(io.EOF)), broken(read, wrap(syscall.ECONNREFUSED)), broken(read, wrap(syscall.ECONNRESET)),
			broken(read, wrap(errors.New("malformed HTTP response"))), broken(read, wrap(context.DeadlineExceeded)),
			broken(read, wrap(&net.DNSError{Name: said, IsNotFound: true})), broken(read, wrap(x509.HostnameError{Host: said, Certificate: &x509.Certificate{}})),
		}).Draw(t, "fault")
		s, err := NewAuthServer(AuthConfig{ClientID: "app.1", ClientSecret: NewSecret(key), Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 { // the fourth is told what the third one saw
			_, err := s.Refresh(context.Background(), NewSecret(refresh))
			if err == nil {
				continue
			}
			text := shown(err) + fmt.Sprintf("%+v %#v", s, s)
			for _, form := range append(secretForms(refresh, key), "grant_type") {
				if strings.Contains(text, form) {
					t.Fatalf("%q is in %s", form, text)
				}
			}
		}
	})
}

func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{`{` + pair + `,"expires":"1800003600","scope":"imbot,crm","member_id":"a1","status":"L","client_endpoint":"https://a.bitrix24.ru/rest/"}`,
		`{"error":"invalid_grant","error_description":"\u0027"}`, `{"access_token":1,"refresh_token":2,"expires_in":3600,"scope":["a"]}`,
		`{"error":{"code":1}}`, `[]`, `{"access_token":`, "\xef\xbb\xbf{}", `<html>`, `{"access_token":"a","refresh_token":"b","error":"\u0001"}`,
		`{"error":"\u0001","error_description":"\u0001"}`, `{"error":"` + oldRefresh + `","error_description":"` + clientSecret + `"}`} {
		for _, status := range []int{200, 302, 401, 503, 504} {
			f.Add(status, []byte(seed))
		}
	}
	now := time.Unix(1800000000, 0)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		k := &tokenCall{call: &call{method: MethodToken, host: "oauth.bitrix24.tech", caller: t.Context(), timed: t.Context(), hide: secretForms(oldRefresh, clientSecret)}}
		got, health, failed := k.interpret(status, body, nil, now)
		switch {
		case failed == nil:
			if status != 200 || health != well || checkToken(got.Access.Reveal()) != nil || checkToken(got.Refresh.Reveal()) != nil || len(got.MemberID) > maxMemberID {
				t.Errorf("%d %q: %+v", status, body, got)
			}
			if !got.Expires.IsZero() && got.Expires.Year() > 2300 {
				t.Errorf("%q: expires %s", body, got.Expires)
			}
		case got.Access.Reveal() != "" || got.Refresh.Reveal() != "":
			t.Errorf("%q: tokens beside an error", body)
		case failed.Code == "" || failed.Status != status || failed.Description == "" || failed.Wait != nil:
			t.Errorf("incomplete: %+v", failed)
		case failed.Class != Blocked && failed.Class != Ambiguous && failed.Class != Transient:
			t.Errorf("class %s", failed.Class)
		case (health == well) != (failed.Class == Blocked):
			t.Errorf("%s, but the server is %d", failed.Class, health)
		case failed.Class != Ambiguous && status >= 200 && status < 300 && !strings.Contains(strings.ToLower(string(body)), "error"):
			t.Errorf("%d %q certainly traded nothing?", status, body)
		case strings.ContainsAny(failed.Error(), "\n\r\x00"):
			t.Errorf("untidy: %q", failed)
		}
		if failed != nil {
			text := shown(failed)
			for _, form := range secretForms(oldRefresh, clientSecret) {
				if strings.Contains(text, form) {
					t.Errorf("%q is in %s", form, text)
				}
			}
		}
	})
}
