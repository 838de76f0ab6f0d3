// The sandbox itself: portals by name, listeners, beginning and end.

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sandbox holds portals and serves them on loopback. Its methods may be called
// from many goroutines.
type Sandbox struct {
	opts      options
	server    *http.Server
	closing   chan struct{} // closed when the sandbox closes
	transport *Transport
	events    *http.Client // sends portals' events
	secrets   *secrets
	auth      *AuthServer
	conns     sync.WaitGroup // connections being served
	serving   sync.WaitGroup // listeners' loops
	working   sync.WaitGroup // requests, and work that outlives them

	portals sync.Map // name in lower case → *PortalState

	inWork, mostInWork atomic.Int64 // requests

	mu      sync.Mutex
	closed  bool
	addr    string // of the default listener, once there is one
	count   int    // of portals
	states  []*PortalState
	members map[string]*PortalState // by member_id
}

// New makes a sandbox. It opens no socket before one is needed; [Sandbox.Open]
// does so at once. Options that cannot be meant (a portal without a name, a
// fault of no kind) surface in Open, and so in [Start]: the portals concerned
// are not there.
func New(opts ...Option) *Sandbox {
	s := &Sandbox{
		opts: defaults(), closing: make(chan struct{}), events: newEventClient(),
		secrets: newSecrets(), members: map[string]*PortalState{},
	}
	for _, o := range opts {
		o(&s.opts)
	}
	s.startAuth()
	s.server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // broken connections are the point here
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         s.connState,
	}
	s.transport = newTransport(s)
	if like := s.opts.unknown; like != nil {
		named := *like
		named.Name = "unknown"
		s.opts.problem = errors.Join(s.opts.problem, named.check(), s.checkApp(named))
	}
	for _, p := range s.opts.portals {
		if _, err := s.Add(p); err != nil {
			s.opts.problem = errors.Join(s.opts.problem, err)
		}
	}
	return s
}

// startAuth makes the authorization server.
func (s *Sandbox) startAuth() {
	s.auth = newAuthServer(s)
	for _, secret := range s.opts.apps {
		s.secrets.add(clientSecret, secret, nil)
	}
	for _, f := range s.opts.authFaults {
		s.opts.problem = errors.Join(s.opts.problem, s.auth.Inject(f))
	}
}

// connKey finds a request's connection in its context.
type connKey struct{}

// TB is the part of testing.TB that [Start] needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Start makes and opens a sandbox that lives as long as the test.
func Start(tb TB, opts ...Option) *Sandbox {
	tb.Helper()
	s := New(opts...)
	tb.Cleanup(s.Close)
	if err := s.Open(); err != nil {
		tb.Fatalf("start sandbox: %v", err)
	}
	return s
}

// Open opens the default listener, on a free port of 127.0.0.1, unless it is
// open, and reports options that could not be meant.
func (s *Sandbox) Open() error {
	if s.opts.problem != nil {
		return s.opts.problem
	}
	_, err := s.open()
	return err
}

func (s *Sandbox) open() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr != "" {
		return s.addr, nil
	}
	addr, err := s.listen("127.0.0.1:0")
	s.addr = addr
	return addr, err
}

// Addr is the address of the default listener, which it opens if need be; empty
// when that cannot be.
func (s *Sandbox) Addr() string {
	addr, err := s.open()
	if err != nil {
		return ""
	}
	return addr
}

// Listen also serves on another loopback address, such as 127.3.4.5 or
// 127.3.4.5:8080, and returns it with its port: a name for a portal that other
// processes can call.
func (s *Sandbox) Listen(ip string) (addr string, err error) {
	host, port, err := net.SplitHostPort(ip)
	if err != nil {
		host, port = strings.Trim(ip, "[]"), "0"
	}
	parsed := net.ParseIP(host)
	if parsed == nil || !parsed.IsLoopback() {
		return "", fmt.Errorf("sandbox: %q is no loopback address", ip)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listen(net.JoinHostPort(host, port))
}

// listen starts to serve an address. The caller holds the lock.
func (s *Sandbox) listen(address string) (string, error) {
	if s.closed {
		return "", http.ErrServerClosed
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	s.serving.Go(func() {
		_ = s.server.Serve(l) // ends with Close
	})
	return l.Addr().String(), nil
}

// connState counts connections, so that Close can wait for them.
func (s *Sandbox) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
		select {
		case <-s.closing:
			_ = c.Close() // accepted too late for the server to know it
		default:
		}
	case http.StateClosed:
		s.conns.Done()
	default: // still open
	}
}

// Close ends the sandbox: what hangs is let go, connections are closed, and all
// its goroutines are waited for. Work in progress is abandoned.
func (s *Sandbox) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	_ = s.server.Close() // closing listeners twice is all that can go wrong
	s.serving.Wait()
	s.conns.Wait()
	s.working.Wait()
	s.transport.CloseIdleConnections()
}

// begin admits a request, unless the sandbox is closing.
func (s *Sandbox) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.working.Add(1)
	if n := s.inWork.Add(1); n > s.mostInWork.Load() {
		s.mostInWork.Store(n) // the lock keeps others from storing
	}
	return true
}

func (s *Sandbox) end() {
	s.inWork.Add(-1)
	s.working.Done()
}

// MaxConcurrent is the most requests that all portals had in work at once.
func (s *Sandbox) MaxConcurrent() int { return int(s.mostInWork.Load()) }

// spawn runs work that may outlive its request. Only requests may call it: they
// keep the count above zero.
func (s *Sandbox) spawn(work func()) { s.working.Go(work) }

// sleep waits as a portal does, whether or not its client still listens. It
// returns false when the sandbox closes first.
func (s *Sandbox) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
		return false
	}
}

func (s *Sandbox) now() time.Time { return s.opts.now() }
