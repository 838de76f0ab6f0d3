// A redis-server that forgets nothing it has acknowledged, and dies when told to.

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/built"
)

// redisServer is a server on a port of its own, with its data in a folder.
type redisServer struct {
	life      context.Context //nolint:containedctx // of the process, which outlives who starts it
	dir, port string
	log       *os.File
	turn      sync.Mutex // one end at a time
	p         *built.Process
	client    *redis.Client // the judge's own, past all cables
}

func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port for Redis: %w", err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("find a free port for Redis: %w", err)
	}
	s := &redisServer{life: ctx, dir: filepath.Join(dir, "redis"), port: port}
	if err := os.Mkdir(s.dir, 0o750); err != nil {
		return nil, fmt.Errorf("make Redis' folder: %w", err)
	}
	if s.log, err = os.Create(filepath.Join(dir, "redis.log")); err != nil {
		return nil, fmt.Errorf("make Redis' log: %w", err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 5 * time.Second})
	return s, s.start(ctx)
}

func (s *redisServer) addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// readyWithin bounds the start of a program.
const readyWithin = 60 * time.Second

// start starts the server and waits until it answers with all its data.
func (s *redisServer) start(ctx context.Context) error {
	cmd := built.Command(s.life, "redis-server", nil, //nolint:contextcheck // it outlives who starts it
		"--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--maxmemory", "1gb", "--maxmemory-policy", "noeviction")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	p, err := built.Start(cmd)
	if err != nil {
		return err
	}
	s.p = p
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := p.Await(ctx, func() bool { return s.client.Ping(ctx).Err() == nil }); err != nil {
		return fmt.Errorf("redis-server does not answer, see redis.log: %w", err)
	}
	return nil
}

// restart ends the server by a signal, and starts it again some time later.
func (s *redisServer) restart(ctx context.Context, sig syscall.Signal, away time.Duration) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.end(sig); err != nil {
		return err
	}
	if err := sleep(ctx, away); err != nil {
		return err
	}
	return s.start(ctx)
}

// end ends the server by a signal, and waits.
func (s *redisServer) end(sig syscall.Signal) error {
	if err := s.p.Signal(sig); err != nil {
		return err
	}
	<-s.p.Ended()
	return nil
}

// close ends everything.
func (s *redisServer) close() {
	_ = s.client.Close() // nothing is kept by it
	if s.p != nil {
		s.p.Kill()
	}
	_ = s.log.Close() // it was written by another process
}
