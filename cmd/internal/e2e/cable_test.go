// A connection between processes and a server that a test can pull out.

package e2e

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// cable is a TCP connection between processes and a server that can be pulled out.
type cable struct {
	addr, target string

	mu      sync.Mutex
	out     bool
	ends    map[net.Conn]bool
	running sync.WaitGroup
}

// newCable serves until the test ends.
func newCable(t *testing.T, target string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: l.Addr().String(), target: target, ends: map[net.Conn]bool{}}
	c.running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() { c.serve(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.pull()
		c.running.Wait()
	})
	return c
}

// serve carries one connection until a side ends it or the cable is pulled.
func (c *cable) serve(near net.Conn) {
	defer c.drop(near)
	far, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", c.target)
	if err != nil {
		return
	}
	defer c.drop(far)
	if !c.keep(near, far) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

func (c *cable) keep(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range ends {
		c.ends[e] = true
	}
	return !c.out
}

func (c *cable) drop(end net.Conn) {
	_ = end.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, end)
}

// pull breaks all connections with a reset; new ones end at once.
func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = true
	for e := range c.ends {
		if tcp, ok := e.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = e.Close()
	}
}

func (c *cable) plugIn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = false
}

// lasts waits as long as an outage is to last.
func lasts(d time.Duration) { <-time.After(d) }
