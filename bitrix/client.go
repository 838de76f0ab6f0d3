// The client and its connections.

package bitrix

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Config is how a [Client] calls. Zero values mean the defaults.
type Config struct {
	// UserAgent names the program to portals, "name/version". Defaults to "botfleet".
	UserAgent string
	// Endpoints are the hosts and addresses that may be called. The zero value
	// allows https to public ones.
	Endpoints Endpoints
	// Timeout bounds a call from its start to the last byte of the answer.
	// Defaults to 65 s: a cloud portal cuts a request off after 60 s, and its
	// word is better than silence.
	Timeout time.Duration
	// MaxBody is how many bytes of an answer are read, counted after
	// decompression. Defaults to 2 MB.
	MaxBody int64
	// DialTimeout bounds looking up a host and connecting to it, and then again
	// the TLS handshake. Defaults to 10 s.
	DialTimeout time.Duration
	// MaxIdleConns is how many idle connections are kept over all hosts, the
	// longest idle going first. Defaults to 1024.
	MaxIdleConns int
	// MaxIdleConnsPerHost is how many are kept for one host. Defaults to 4, as
	// many requests as one portal is usually sent at once.
	MaxIdleConnsPerHost int
	// IdleTimeout is how long an idle connection is kept. Defaults to 50 s,
	// below the 60 s and more after which servers close them: a request on a
	// connection that the server is closing ends ambiguously.
	IdleTimeout time.Duration
	// Transport replaces the client's own connections, for tests and
	// rehearsals. Endpoints.Check still applies to it; the check of the
	// addresses that names lead to is its own affair. A transport that fails
	// before it has read the request's body thereby says that nothing was sent.
	Transport http.RoundTripper
	// Now is the wall clock. Defaults to time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	orDefault(&c.UserAgent, "botfleet")
	orDefault(&c.Timeout, 65*time.Second)
	orDefault(&c.MaxBody, 2<<20)
	orDefault(&c.DialTimeout, 10*time.Second)
	orDefault(&c.MaxIdleConns, 1024)
	orDefault(&c.MaxIdleConnsPerHost, 4)
	orDefault(&c.IdleTimeout, 50*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = newTransport(c)
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxHeaderBytes bounds the headers of an answer; a portal's are under 4 KB.
const maxHeaderBytes = 64 << 10

// bufferBytes is each of the two buffers of a connection, of which there may be
// thousands: a call and its answer fit, and what is longer passes them by.
const bufferBytes = 2 << 10

// newTransport makes connections for thousands of hosts with few requests each.
//
// It uses no proxy, not even the environment's: behind one it would be the
// proxy that looks names up and connects, and the endpoint rules would not see
// the address.
func newTransport(c Config) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, hostport string) (net.Conn, error) {
			conn, err := c.Endpoints.dial(ctx, network, hostport, c.DialTimeout)
			if err != nil {
				return nil, err
			}
			return &gatedConn{Conn: conn}, nil
		},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// Thousands of hosts called now and then: resuming saves a round trip.
			ClientSessionCache: tls.NewLRUClientSessionCache(c.MaxIdleConns),
		},
		TLSHandshakeTimeout:    c.DialTimeout,
		ResponseHeaderTimeout:  c.Timeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         bufferBytes,
		WriteBufferSize:        bufferBytes,
		MaxIdleConns:           c.MaxIdleConns,
		MaxIdleConnsPerHost:    c.MaxIdleConnsPerHost,
		IdleConnTimeout:        c.IdleTimeout,
		ForceAttemptHTTP2:      true, // a DialContext of one's own switches it off
		// Without pings a dead HTTP/2 connection swallows request after request.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// Client calls portals. It is safe for many goroutines and starts none of its
// own beyond those of its connections.
type Client struct {
	config Config
	header http.Header // of every request; a transport must not change it
}

// NewClient makes a client.
func NewClient(config Config) *Client {
	config = config.withDefaults()
	return &Client{config: config, header: http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/json"},
		"User-Agent":   {config.UserAgent},
	}}
}

// Close closes idle connections. Calls under way go on.
func (c *Client) Close() {
	if t, ok := c.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
