// The authorization server: trades refresh tokens for new pairs.

package sandbox

import (
	"net/url"
	"sync"
	"time"
)

// AuthServer is the authorization server in the box. Its methods may be called
// from many goroutines, also while requests are served.
type AuthServer struct {
	box         *Sandbox
	latency     time.Duration
	rate, burst float64

	mu         sync.Mutex
	addr       string // of its listener, once there is one
	faults     []*armed
	requests   uint64 // numbers requests, for the faults' decisions
	sources    sources
	inWork     int
	stats      AuthStats
	log        ring[RequestLog]
	violations ring[Violation]
	broken     int // violations in all
}

// WithAuthFaults gives the authorization server these faults, whatever portal
// is asked for. A fault for one portal is that portal's, with Methods
// "oauth/token".
func WithAuthFaults(f ...Fault) Option {
	return func(o *options) { o.authFaults = append(o.authFaults, f...) }
}

// WithAuthLatency lets the authorization server wait before it looks at a
// request. Scaled.
func WithAuthLatency(d time.Duration) Option { return func(o *options) { o.authLatency = d } }

// WithAuthRate limits the token requests of each source address: burst at once
// and rate a second, above that 503 QUERY_LIMIT_EXCEEDED. Without it there is
// no limit. The rate is scaled.
func WithAuthRate(rate float64, burst int) Option {
	return func(o *options) { o.authRate, o.authBurst = rate, burst }
}

func newAuthServer(s *Sandbox) *AuthServer {
	return &AuthServer{
		box: s, latency: scaled(s.opts.authLatency, s.opts.scale),
		rate: s.opts.authRate / s.opts.scale, burst: float64(s.opts.authBurst), sources: sources{},
		log: ring[RequestLog]{size: s.opts.logSize}, violations: ring[Violation]{size: s.opts.logSize},
	}
}

// Auth is the sandbox's authorization server.
func (s *Sandbox) Auth() *AuthServer { return s.auth }

// AuthURL is where the authorization server answers over plain http on
// loopback, for this process and others: http://127.0.0.1:PORT/oauth/token/. It
// opens the listener if need be; empty when that cannot be. By the sandbox's
// transport the server is also found at its names in the world,
// https://oauth.bitrix24.tech/oauth/token/ and https://oauth.bitrix.info/oauth/token/.
func (s *Sandbox) AuthURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.auth
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.addr == "" {
		addr, err := s.listen("127.0.0.1:0")
		if err != nil {
			return ""
		}
		a.addr = addr
	}
	return (&url.URL{Scheme: "http", Host: a.addr, Path: "/oauth/token/"}).String()
}

// Inject adds a fault that strikes whatever portal is asked for; its Delayed
// and For count from now. Methods does not matter here.
func (a *AuthServer) Inject(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	f.Methods = nil
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, f.arm(a.box.now(), a.box.opts.scale, len(a.faults)))
	return nil
}

// ClearFaults ends the server's own faults. Those of portals go on.
func (a *AuthServer) ClearFaults() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = nil
}

// answersTo reports whether a Host is the authorization server's.
func (a *AuthServer) answersTo(host string) bool {
	switch host = foldHost(host); host {
	case "oauth.bitrix24.tech", "oauth.bitrix.info":
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addr != "" && host == a.addr
}
