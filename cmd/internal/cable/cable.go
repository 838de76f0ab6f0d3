// Package cable is the network between programs and a server, which can be cut:
// TCP connections are passed on as the cable's mode lets them.
package cable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Mode is what a cable lets through.
type Mode string

// All modes. Of what is cut only Refusing is lost: the rest arrives when the cable
// is whole again, as TCP sees to it.
const (
	Whole    Mode = "whole"
	Refusing Mode = "refusing" // connections are reset, new ones too
	Dead     Mode = "dead"     // nothing arrives anywhere, and nobody is told
	Deaf     Mode = "deaf"     // the server hears everything, and its answers do not arrive
)

// Cable passes on TCP connections to a server.
type Cable struct {
	listener net.Listener
	target   string
	drag     time.Duration   // each piece from the program takes that long
	ctx      context.Context //nolint:containedctx // ends with the cable
	end      context.CancelFunc
	work     sync.WaitGroup

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed when the mode changes
	left    int64         // bytes until it is dead, where halted is there
	halted  chan struct{}
	links   map[*link]bool
}

// link is one connection through the cable.
type link struct {
	client, server net.Conn
	stale          bool // the other side has forgotten it; under the cable's lock
}

// New opens a whole cable to the server at target, on a free port of loopback. Each
// piece on its way to the server takes as long as drag. Close ends it.
func New(ctx context.Context, target string, drag time.Duration) (*Cable, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a cable: %w", err)
	}
	c := &Cable{listener: l, target: target, drag: drag, mode: Whole, changed: make(chan struct{}), links: map[*link]bool{}}
	c.ctx, c.end = context.WithCancel(ctx)
	c.work.Go(c.accept)
	return c, nil
}

// Addr is where programs find the server: 127.0.0.1:4711.
func (c *Cable) Addr() string { return c.listener.Addr().String() }

// Close ends all connections and waits.
func (c *Cable) Close() {
	c.end()
	_ = c.listener.Close() // it was open, or it is closed
	c.reset()
	c.work.Wait()
}

func (c *Cable) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.work.Go(func() { c.serve(client) })
	}
}

// serve passes on one connection until one side ends it.
func (c *Cable) serve(client net.Conn) {
	defer func() { _ = client.Close() }() // an end, unless it has been reset
	if !c.passes(nil, true) {
		reset(client)
		return
	}
	var d net.Dialer
	server, err := d.DialContext(c.ctx, "tcp", c.target)
	if err != nil {
		reset(client)
		return
	}
	defer func() { _ = server.Close() }() // likewise
	l := &link{client: client, server: server}
	if !c.register(l) {
		return
	}
	defer c.forget(l)
	c.work.Go(func() {
		c.pump(l, server, client, true)
		_ = server.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // a TCP dialer made it; it may be gone
	})
	c.pump(l, client, server, false)
}

func (c *Cable) register(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.links[l] = true
	return true
}

func (c *Cable) forget(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
}

// pump passes on what comes from one side, until its end or a reset.
func (c *Cable) pump(l *link, to, from net.Conn, asks bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if asks && c.drag > 0 {
				c.pause(c.drag)
			}
			if !c.passes(l, asks) {
				l.reset()
				return
			}
			if asks {
				c.count(n)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				l.reset()
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.reset()
			}
			return
		}
	}
}

func (c *Cable) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

// passes waits until something may pass, and reports whether it ever may.
func (c *Cable) passes(l *link, asks bool) bool {
	for {
		c.mu.Lock()
		m, changed := c.mode, c.changed
		stale := l != nil && l.stale
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil, m == Refusing, m == Whole && stale:
			return false
		case m == Whole, m == Deaf && asks:
			return true
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return false
		}
	}
}

// DeadAfter makes a whole cable dead when programs have sent so many bytes more, and
// closes the channel then. The piece in which they are the last still arrives.
func (c *Cable) DeadAfter(bytes int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.halted = bytes, make(chan struct{})
	return c.halted
}

// count takes a piece on its way to the server off what DeadAfter lets through.
func (c *Cable) count(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted == nil {
		return
	}
	if c.left -= int64(bytes); c.left > 0 {
		return
	}
	c.change(Dead)
	close(c.halted)
	c.halted = nil
}

// change sets the mode and tells those who wait for another one, under the cable's lock.
func (c *Cable) change(m Mode) {
	c.mode = m
	close(c.changed)
	c.changed = make(chan struct{})
}

// Set changes the mode. With forgets the far side has forgotten, when the cable
// is whole again, the connections that there are: whoever uses one is told then.
func (c *Cable) Set(m Mode, forgets bool) {
	c.mu.Lock()
	c.change(m)
	for l := range c.links {
		l.stale = l.stale || forgets
	}
	c.mu.Unlock()
	if m == Refusing {
		c.reset()
	}
}

// reset breaks all connections.
func (c *Cable) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.links {
		l.reset()
	}
}

func (l *link) reset() {
	reset(l.client)
	reset(l.server)
}

// reset ends a connection with a TCP reset.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may have ended
	}
	_ = c.Close() // likewise
}
