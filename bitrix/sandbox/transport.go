// A transport that leads any host to the sandbox, over real TCP.

package sandbox

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Transport sends the requests of an http.Client to the sandbox's default
// listener, whatever host they name. A request to https is treated as one: the
// portal behaves as behind TLS, though none is spoken. As net/http's own it
// repeats a GET whose kept connection broke, if it has no body: a program that
// must not ask twice, as with a refresh token, has to see to that.
type Transport struct {
	box  *Sandbox
	base *http.Transport
}

func newTransport(s *Sandbox) *Transport {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	return &Transport{box: s, base: &http.Transport{
		DialContext: dialer.DialContext,
		// All portals share one address, so one host's pool serves them all.
		MaxIdleConns:        4096,
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}
}

// Transport returns the sandbox's transport; every call returns the same one.
func (s *Sandbox) Transport() http.RoundTripper { return s.transport }

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	addr, err := t.box.open()
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper closes the body, always
		}
		return nil, fmt.Errorf("send to sandbox: %w", err)
	}
	out := *r
	if out.Host == "" {
		out.Host = r.URL.Host
	}
	out.URL = &url.URL{Scheme: "http", Host: addr, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	out.Header = r.Header.Clone()
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set(forwardedProto, r.URL.Scheme)
	resp, err := t.base.RoundTrip(&out)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.base.CloseIdleConnections() }
