package redisconn_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

// A Redis that hangs up on the first connections, in the middle of how they are
// opened, as one that dies or a balancer before it does: a patient client goes on
// with the next connection, and does not knock on the dead one for half a minute.
func TestAConnectionThatBreaksWhileItIsOpened(t *testing.T) {
	server, err := url.Parse(redistest.Start(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer func() { _ = l.Close() }()
	var refused atomic.Int32
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { relay(c, server.Host, &refused) })
		}
	})
	c, err := redisconn.Parse("redis://" + l.Addr().String() + "/0")
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(redisconn.Engine)
	began := time.Now()
	if err := redisconn.Shared(client).HSet(t.Context(), "h", "field", "value").Err(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); refused.Load() < brokenAtFirst || took > 5*time.Second {
		t.Errorf("it took %v, with %d connections that broke", took, refused.Load())
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// brokenAtFirst is how many connections break.
const brokenAtFirst = 3

// relay passes on a connection, unless it is one of the first: that one it closes
// after the first words.
func relay(client net.Conn, target string, refused *atomic.Int32) {
	defer func() { _ = client.Close() }()
	if refused.Add(1) <= brokenAtFirst {
		_, _ = client.Read(make([]byte, 64))
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}
