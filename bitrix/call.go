// One REST call: from a method and its parameters to an answer or an *Error.

package bitrix

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// Call calls any method and returns its result as it came. params is anything
// that encoding/json makes an object of, or nil. Every error is an [*Error].
func (c *Client) Call(ctx context.Context, a Access, method string, params any) (json.RawMessage, Time, error) {
	ans, err := c.do(ctx, a, method, params)
	if err != nil {
		return nil, Time{}, err
	}
	return ans.result, ans.time, nil
}

// call is one request under way.
type call struct {
	access    Access
	method    string
	host      string          // who is asked, when it is no portal
	hide      []string        // what its errors must not hold when there is no access, longest first
	caller    context.Context //nolint:containedctx // the caller's; its end is the caller's doing
	timed     context.Context //nolint:containedctx // within the client's own timeout
	tlsFailed atomic.Bool
}

// scrub makes text fit for an error of this call.
func (k *call) scrub(text string, n int) string {
	if k.hide != nil {
		return scrub(text, n, k.hide)
	}
	return k.access.scrub(text, n)
}

// fail makes an error of this call. Everything from outside is scrubbed here.
func (k *call) fail(class Class, code, description string, below error) *Error {
	e := &Error{
		Class:       class,
		Code:        code,
		Description: k.scrub(description, maxDescription),
		Method:      k.method,
		Host:        firstOf(k.host, k.access.Host()),
		Credential:  k.access.Fingerprint(),
	}
	if below != nil {
		e.Err = &cause{text: k.scrub(below.Error(), maxDescription), err: below}
	}
	return e
}

// do makes one request. The error is nil or an *Error; it is an interface here,
// as a nil *Error in one would not be nil to the callers of this package.
func (c *Client) do(ctx context.Context, a Access, method string, params any) (answer, error) {
	timed, cancel := within(ctx, c.config.Timeout)
	defer cancel()
	k := &call{access: a, method: method, caller: ctx, timed: timed}
	out, failed := c.prepare(k, params)
	if failed != nil {
		return answer{}, failed
	}
	response, err := c.config.Transport.RoundTrip(c.request(k, out)) //nolint:contextcheck // k.timed is made of ctx
	if err != nil {
		sent, refused := out.seal()
		return answer{}, k.transportError(err, sent, refused)
	}
	out.answered()
	defer func() { _ = response.Body.Close() }()
	if location, moved := redirect(response, a.Scheme()); moved {
		return answer{}, k.movedError(response.StatusCode, location)
	}
	body, err := readBody(response, c.config.MaxBody)
	ans, failed := k.interpret(response.StatusCode, body, err)
	if failed != nil {
		return answer{}, failed
	}
	return ans, nil
}

// within bounds a call by the client's timeout, unless its caller's deadline
// comes first: a second timer for each call would be a tenth of its cost.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// prepare checks that the call may be made and encodes it.
func (c *Client) prepare(k *call, params any) (*outgoing, *Error) {
	if k.access.IsZero() {
		return nil, k.fail(Blocked, CodeBadCall, "no credentials are known for the portal", nil)
	}
	if !methodName(k.method) {
		k.method = "?"
		return nil, k.fail(Validation, CodeBadCall, "the method's name is not one", nil)
	}
	if err := c.config.Endpoints.Check(k.access.Scheme(), k.access.Host()); err != nil {
		return nil, k.fail(Blocked, CodeForbiddenEndpoint, err.Error(), nil)
	}
	payload, err := encodeBody(params, k.access.token())
	if err != nil {
		return nil, k.fail(Validation, CodeBadCall, "parameters: "+err.Error(), err)
	}
	out := &outgoing{payload: payload, stop: func() error { return tooLate(k.caller, c.config.Now()) }}
	if err := out.stop(); err != nil {
		return nil, k.notSent(err)
	}
	return out, nil
}

// tooLate says why a request may not be written any more. A process that was
// frozen or suspended does not notice by its timers, which stood still with
// it; so the wall clock is compared, without the monotonic one.
func tooLate(ctx context.Context, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if ok && !now.Round(0).Before(deadline.Round(0)) {
		return context.DeadlineExceeded
	}
	return nil
}

// request makes the HTTP request of a call.
func (c *Client) request(k *call, out *outgoing) *http.Request {
	r := &http.Request{
		Method:        http.MethodPost,
		URL:           k.access.methodURL(k.method),
		Host:          k.access.Host(),
		ContentLength: int64(len(out.payload)),
		Body:          out.open(),
		GetBody:       func() (io.ReadCloser, error) { return out.open(), nil },
		Header:        c.header,
	}
	return r.WithContext(k.watch(out))
}

// watch makes the context of a request: it puts the call in charge of its
// connection, and notices a handshake that fails.
func (k *call) watch(out *outgoing) context.Context {
	return httptrace.WithClientTrace(k.timed, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { gate(got.Conn, out) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err != nil {
				k.tlsFailed.Store(true)
			}
		},
	})
}

// object is a JSON object, ready to be sent.
type object []byte

// encodeBody makes the JSON object of a call. An access token goes into it as
// "auth", as the public page has it.
func encodeBody(params any, token string) ([]byte, error) {
	if params == nil {
		params = struct{}{}
	}
	body, done := params.(object)
	if !done {
		var err error
		if body, err = json.Marshal(params); err != nil {
			return nil, err
		}
	}
	if len(body) < 2 || body[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	if token == "" {
		return body, nil
	}
	quoted, err := json.Marshal(token)
	if err != nil {
		return nil, err
	}
	body = body[:len(body)-1]
	if len(body) > 1 {
		body = append(body, ',')
	}
	body = append(body, `"auth":`...)
	body = append(body, quoted...)
	return append(body, '}'), nil
}

// errTooLarge is an answer over the limit.
var errTooLarge = errors.New("the answer is too large")

// announced bounds how much room is made for a body before any of it has come.
const announced = 64 << 10

func readBody(r *http.Response, limit int64) ([]byte, error) {
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= announced {
		body.Grow(int(n) + bytes.MinRead) // one look beyond the end, without growing
	}
	n, err := body.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err == nil && n > limit {
		err = errTooLarge
	}
	return body.Bytes(), err
}

// redirect reports whether an answer sends the caller elsewhere, and to which
// "scheme://host", if that is one that could be called at all: the portal was
// renamed. Nothing is followed here; credentials go to no host that the caller
// has not named.
func redirect(r *http.Response, scheme string) (place string, moved bool) {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return "", false
	}
	location := r.Header.Get("Location")
	if location == "" {
		return "", false
	}
	to, err := url.Parse(location)
	if err != nil || to.User != nil {
		return "", true
	}
	place, err = normalPlace(firstOf(to.Scheme, scheme), to.Host)
	if err != nil {
		return "", true
	}
	return place, true
}

func (k *call) movedError(status int, location string) *Error {
	text := "the portal answers with a redirect that names no other host"
	if location == k.access.place() {
		location = ""
	}
	if location != "" {
		text = "the portal has moved to " + location
	}
	e := k.fail(Blocked, CodePortalMoved, text, nil)
	e.Status = status
	e.Location = k.scrub(location, len("https://")+maxHostChars+len(":65535"))
	return e
}
