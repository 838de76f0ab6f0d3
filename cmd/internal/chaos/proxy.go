// The network between a program and Redis, which can be cut.

package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// mode is what a network lets through.
type mode string

const (
	whole    mode = "whole"
	refusing mode = "refusing" // connections are reset, new ones too
	dead     mode = "dead"     // nothing arrives anywhere, and nobody is told
	deaf     mode = "deaf"     // Redis hears everything, and its answers are lost
)

// proxy passes on TCP connections as its mode lets it.
type proxy struct {
	listener net.Listener
	target   string
	drag     time.Duration   // each piece from the program takes that long
	ctx      context.Context //nolint:containedctx // ends with the proxy
	end      context.CancelFunc
	work     sync.WaitGroup

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when the mode changes
	links   map[*link]bool
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	stale          bool // the other side has forgotten it; under the proxy's lock
}

func newProxy(ctx context.Context, target string, drag time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a proxy: %w", err)
	}
	p := &proxy{listener: l, target: target, drag: drag, mode: whole, changed: make(chan struct{}), links: map[*link]bool{}}
	p.ctx, p.end = context.WithCancel(ctx)
	p.work.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close ends all connections and waits.
func (p *proxy) close() {
	p.end()
	_ = p.listener.Close() // it was open, or it is closed
	p.reset(func(*link) bool { return true })
	p.work.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(c) })
	}
}

// serve passes on one connection until one side ends it.
func (p *proxy) serve(client net.Conn) {
	defer reset(client)
	if !p.passes(nil, true) {
		return
	}
	var d net.Dialer
	server, err := d.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer reset(server)
	l := &link{client: client, server: server}
	if !p.register(l) {
		return
	}
	defer p.forget(l)
	p.work.Go(func() {
		p.pump(l, server, client, true)
		_ = server.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // a TCP dialer made it; it may be gone
	})
	p.pump(l, client, server, false)
}

func (p *proxy) register(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.links[l] = true
	return true
}

func (p *proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// pump passes on what comes from one side. What has come before a cut, or during
// it, arrives when it has healed, as TCP sees to it.
func (p *proxy) pump(l *link, to, from net.Conn, asks bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if asks && p.drag > 0 {
				p.pause(p.drag)
			}
			if !p.passes(l, asks) {
				reset(l.client)
				reset(l.server)
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) pause(d time.Duration) {
	select {
	case <-p.ctx.Done():
	case <-time.After(d):
	}
}

// passes waits until something may pass, and reports whether it ever may.
func (p *proxy) passes(l *link, asks bool) bool {
	for {
		p.mu.Lock()
		m, changed := p.mode, p.changed
		stale := l != nil && l.stale
		p.mu.Unlock()
		switch {
		case p.ctx.Err() != nil, m == refusing, m == whole && stale:
			return false
		case m == whole, m == deaf && asks:
			return true
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return false
		}
	}
}

// set changes the mode. With forgets the far side has forgotten, when the network
// is whole again, the connections that there are: whoever uses one is told then.
func (p *proxy) set(m mode, forgets bool) {
	p.mu.Lock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		l.stale = l.stale || forgets
	}
	p.mu.Unlock()
	if m == refusing {
		p.reset(func(*link) bool { return true })
	}
}

// reset breaks connections.
func (p *proxy) reset(which func(*link) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if which(l) {
			reset(l.client)
			reset(l.server)
		}
	}
}

// reset ends a connection with a TCP reset.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may have ended
	}
	_ = c.Close() // likewise
}
