// Package embedded serves an in-memory Redis from inside the process, for a
// laptop, tests and the quick start: `enqueue run` without REDIS_URL, and
// `worker --embedded`.
//
// It keeps nothing on disk, has no password, and takes the commands of a real
// Redis at about a tenth to a third of its speed.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how often keys expire. Advancing the clock looks at every key (some
// 18 ms for 100,000 of them), which is why it is not done at each command,
// as miniredis could by itself.
const tick = time.Second

// Server is one in-memory Redis.
type Server struct {
	redis *miniredis.Miniredis
	addr  string
	stop  chan struct{}
	once  sync.Once
	done  sync.WaitGroup
}

// Start serves on addr, as in "127.0.0.1:6379"; an empty addr takes a free port
// on loopback. Close stops it.
func Start(addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("embedded Redis: the address %q is not host:port", addr)
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return nil, startError(addr, err)
	}
	s := &Server{redis: m, addr: m.Addr(), stop: make(chan struct{})}
	s.done.Go(s.expire)
	return s, nil
}

// startError says what keeps an address from being served.
func startError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use"):
		return fmt.Errorf("embedded Redis: %s is in use, perhaps by a real Redis: stop that, or use it without --embedded", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("embedded Redis: %s may not be served by this user: use a port above 1023", addr)
	}
	return fmt.Errorf("embedded Redis: listen on %s: %w", addr, err)
}

// expire lets time pass: miniredis moves TTLs only when told to. Its clock
// (the TIME command) is the system's in any case.
func (s *Server) expire() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			now := time.Now() // not the tick's own time: ticks are dropped under load
			s.redis.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// URL is what REDIS_URL would be for this server.
func (s *Server) URL() string { return "redis://" + s.addr + "/0" }

// Close stops serving, cuts the connections, drops the data and waits until
// everything has ended. It may be called more than once.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		s.done.Wait()
		s.redis.Close()
	})
}
