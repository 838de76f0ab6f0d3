// The authorization server, where an application's tokens are renewed.

package bitrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultAuthURL is Bitrix24's authorization server, for all zones.
	DefaultAuthURL = "https://oauth.bitrix24.tech/oauth/token/"
	// MethodToken is [Error.Method] of what the authorization server is asked.
	MethodToken = "oauth/token" //nolint:gosec // a name, no credential
)

// AuthConfig is how an [AuthServer] is asked. Zero values mean the defaults,
// but for ClientID and ClientSecret, which an application must have.
type AuthConfig struct {
	// URL is where tokens are renewed. Defaults to [DefaultAuthURL].
	URL string
	// ClientID and ClientSecret are the application's. The secret goes to URL
	// and nowhere else.
	ClientID     string
	ClientSecret Secret
	// UserAgent names the program, "name/version". Defaults to "botfleet".
	UserAgent string
	// Endpoints are the hosts and addresses that may be called, as for portals.
	Endpoints Endpoints
	// Timeout bounds a request from its start to the last byte of the answer.
	// Defaults to 20 s.
	Timeout time.Duration
	// Rate is how many requests per second this process makes at most, with as
	// many at once after a pause. Defaults to 20.
	Rate float64
	// Transport replaces the server's own connections, for tests and
	// rehearsals, as [Config.Transport] does. It must not repeat a request by
	// itself: net/http's does not, as these requests have a Body.
	Transport http.RoundTripper
	// Now is the wall clock. Defaults to time.Now.
	Now func() time.Time
}

func (c AuthConfig) withDefaults() AuthConfig {
	orDefault(&c.URL, DefaultAuthURL)
	orDefault(&c.UserAgent, "botfleet")
	orDefault(&c.Timeout, 20*time.Second)
	orDefault(&c.Rate, 20)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = newAuthTransport(c)
	}
	return c
}

// newAuthTransport makes a connection for each request. net/http repeats a GET
// on a kept connection that breaks, and a refresh token must not be shown
// twice by chance: the first time may have ended it.
func newAuthTransport(c AuthConfig) *http.Transport {
	t := newTransport(Config{Endpoints: c.Endpoints, Timeout: c.Timeout}.withDefaults())
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2 = false
	t.HTTP2 = nil
	return t
}

// Tokens is a new pair of tokens, and what came with it.
type Tokens struct {
	Access, Refresh Secret
	// Endpoint is client_endpoint as the server gave it, or empty. [NewOAuth]
	// and [Endpoints.CheckMove] say whether it may be used.
	Endpoint string
	MemberID string    // the portal's name for ever; empty when the server gave none
	Scope    []string  // what the application may do; empty when the server does not say
	Expires  time.Time // of Access; zero when the server does not say
	Status   string    // of the application on the portal: L, F, D, T, P or S
}

// AuthServer renews tokens at Bitrix24's authorization server. It keeps its own
// pace and leaves the server alone while it fails. It is safe for many
// goroutines and starts none of its own beyond those of its connections.
type AuthServer struct {
	config  AuthConfig
	url     url.URL
	header  http.Header // of every request; a transport must not change it
	pace    *pace
	closure closure
}

// NewAuthServer makes one. The error says in words what is wrong with the
// configuration, and repeats neither URL nor secret.
func NewAuthServer(config AuthConfig) (*AuthServer, error) {
	config = config.withDefaults()
	scheme, host, path, err := splitAddress(config.URL)
	if err != nil {
		return nil, fmt.Errorf("authorization server's URL %w", err)
	}
	if err := config.Endpoints.Check(scheme, host); err != nil {
		return nil, fmt.Errorf("authorization server's URL: %w", err)
	}
	switch {
	case config.ClientID == "":
		return nil, errors.New("client id is empty")
	case config.Timeout < 0, !(config.Rate > 0):
		return nil, errors.New("timeout and rate must be positive")
	}
	if err := checkToken(config.ClientID); err != nil {
		return nil, fmt.Errorf("client id %w", err)
	}
	if err := checkToken(config.ClientSecret.Reveal()); err != nil {
		return nil, fmt.Errorf("client secret %w", err)
	}
	return &AuthServer{
		config: config,
		url:    url.URL{Scheme: scheme, Host: host, Path: "/" + path},
		header: http.Header{"Accept": {"application/json"}, "User-Agent": {config.UserAgent}},
		pace:   newPace(config.Rate),
	}, nil
}

// Close closes idle connections. Requests under way go on.
func (s *AuthServer) Close() {
	if t, ok := s.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Refresh trades a refresh token for a new pair; the old one is dead from then
// on. It waits up to 2 s for its turn. Every error is an [*Error] with
// [MethodToken], and its Class says what became of the old pair:
//
//   - Blocked: the server says no for this portal, so the pair is of no use.
//   - Ambiguous: the request left and no readable answer came: the server may
//     have traded the pair, or not.
//   - Transient: the pair was certainly not traded.
//
// A Transient error has Wait when nothing is wrong with the pair and the
// server cannot be asked now: this process has asked too much, the server has
// failed three times in a row (it is then left alone for 5 s, doubling to 5
// min, with one request at a time to see whether it is back), or it refuses
// the application itself.
func (s *AuthServer) Refresh(ctx context.Context, refresh Secret) (Tokens, error) {
	k, failed := s.newCall(ctx, refresh.Reveal())
	if failed != nil {
		return Tokens{}, failed
	}
	pass, shut := s.closure.enter(s.config.Now())
	if shut != nil {
		return Tokens{}, k.shut(shut)
	}
	if failed := s.turn(k); failed != nil {
		s.closure.leave(pass, untold, nil, s.config.Now())
		return Tokens{}, failed
	}
	tokens, health, failed := s.ask(k) //nolint:contextcheck // k holds the caller's
	wait := s.closure.leave(pass, health, failed, s.config.Now())
	if failed == nil {
		return tokens, nil
	}
	if failed.Class == Transient {
		failed.Wait = wait
	}
	return Tokens{}, failed
}

// tokenCall is one request to the authorization server.
type tokenCall struct {
	*call
	query string // holds the client's secret and the refresh token
}

// newCall checks that a request may be made and makes its query.
func (s *AuthServer) newCall(ctx context.Context, refresh string) (*tokenCall, *Error) {
	secret := s.config.ClientSecret.Reveal()
	k := &tokenCall{call: &call{method: MethodToken, host: s.url.Host, caller: ctx, timed: ctx}}
	k.hide = secretForms(secret, refresh)
	if refresh == "" {
		return nil, k.fail(Blocked, CodeBadCall, "no refresh token is known for the portal", nil)
	}
	if err := checkToken(refresh); err != nil {
		return nil, k.fail(Blocked, CodeBadCall, "refresh token "+err.Error(), nil)
	}
	if err := tooLate(ctx, s.config.Now()); err != nil {
		return nil, k.notSent(err)
	}
	k.query = url.Values{
		"grant_type":    {"refresh_token"},
		"client_id":     {s.config.ClientID},
		"client_secret": {secret},
		"refresh_token": {refresh},
	}.Encode()
	// The query as a whole goes first: no part of an URL is to be shown.
	k.hide = append([]string{k.query}, k.hide...)
	return k, nil
}

// turn waits until the request may be made.
func (s *AuthServer) turn(k *tokenCall) *Error {
	wait, err := s.pace.turn(k.caller, s.config.Now())
	switch {
	case wait != nil:
		failed := k.fail(Transient, CodeNotSent, "too many tokens are being renewed at once; this one has to wait", nil)
		failed.Wait = wait
		return failed
	case err != nil:
		return k.notSent(err)
	}
	return nil
}

// ask makes the request and reads the answer.
func (s *AuthServer) ask(k *tokenCall) (Tokens, health, *Error) {
	timed, cancel := within(k.caller, s.config.Timeout)
	defer cancel()
	k.timed = timed
	begun := s.config.Now()
	out := &outgoing{stop: func() error { return tooLate(k.caller, s.config.Now()) }}
	response, err := s.config.Transport.RoundTrip(s.request(k, out))
	if err != nil {
		sent, refused := out.seal()
		// A caller who gives up soon says nothing about the server.
		hasty := s.config.Now().Sub(begun) < s.config.Timeout/4
		failed, health := k.noAnswer(err, sent, refused, hasty)
		return Tokens{}, health, failed
	}
	out.answered()
	defer func() { _ = response.Body.Close() }()
	body, err := readBody(response, maxTokenAnswer)
	return k.interpret(response.StatusCode, body, err, s.config.Now())
}

// request is a GET, as Bitrix24's documentation has it. Its Body is empty and
// not sent: it says when the request leaves, and keeps transports from
// repeating it.
func (s *AuthServer) request(k *tokenCall, out *outgoing) *http.Request {
	u := s.url
	u.RawQuery = k.query
	r := &http.Request{
		Method: http.MethodGet,
		URL:    &u,
		Host:   u.Host,
		Body:   out.open(),
		Header: s.header,
	}
	return r.WithContext(k.watch(out))
}

// checkToken checks the form of a token or of an application's key. Its errors
// read after the name of what was checked, and quote nothing.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("is empty")
	case len(token) > maxTokenBytes:
		return fmt.Errorf("is longer than %d bytes", maxTokenBytes)
	case strings.IndexFunc(token, notVisibleASCII) >= 0:
		return errors.New("holds a space, a control character or a letter outside ASCII")
	}
	return nil
}
