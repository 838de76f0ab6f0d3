// Package redistest starts Redis servers for tests: a real redis-server on a
// free port of loopback, in a directory of its own, gone when the test ends.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds on waiting for a server.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 20 * time.Second
	pollEvery    = 10 * time.Millisecond
	startTries   = 5 // another process may take the free port first
)

// Option is one line of the server's configuration.
type Option struct{ name, value string }

// AOF keeps every write on disk before it is answered, so that it survives Kill.
func AOF() Option { return Option{"appendonly", "yes"} }

// Password makes the server want a password.
func Password(p string) Option { return Option{"requirepass", p} }

// MaxMemory bounds the server's memory, as in "10mb".
func MaxMemory(size string) Option { return Option{"maxmemory", size} }

// Set sets any directive of redis.conf.
func Set(name, value string) Option { return Option{name, value} }

// Server is a running redis-server. Its address stays the same over restarts.
type Server struct {
	Addr string // host:port
	URL  string // what REDIS_URL would be, with the password

	tb       testing.TB
	dir      string
	password string
	options  []Option

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while stopped
	exited chan struct{}
	output *bytes.Buffer
}

// Start starts a server that lives as long as the test. It fails the test when
// there is no redis-server in PATH. Nothing is kept on disk unless [AOF] asks for it.
func Start(tb testing.TB, options ...Option) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatal("these tests need redis-server in PATH: install it, for example with apt-get install redis-server")
	}
	s := &Server{tb: tb, dir: tb.TempDir(), options: options}
	for _, o := range options {
		if o.name == "requirepass" {
			s.password = o.value
		}
	}
	var err error
	for range startTries {
		if err = s.pickAddr(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			tb.Cleanup(s.Stop)
			return s
		}
	}
	tb.Fatalf("start redis-server: %v", err)
	return nil
}

// pickAddr finds a port, and keeps it for as long as the test takes.
func (s *Server) pickAddr() error {
	port, release, err := hold()
	if err != nil {
		return err
	}
	s.tb.Cleanup(release)
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.URL = "redis://" + s.Addr + "/0"
	if s.password != "" {
		s.URL = "redis://:" + s.password + "@" + s.Addr + "/0"
	}
	return nil
}

// start runs the server and waits until it answers.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("it is running already")
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	args := []string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--daemonize", "no", "--appendfsync", "always"}
	for _, o := range s.options {
		args = append(args, "--"+o.name, o.value)
	}
	output := &bytes.Buffer{}
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { // ends with the process, which stop and Cleanup wait for
		_ = cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited, s.output = cmd, exited, output
	if err := s.awaitPong(port); err != nil {
		s.endLocked(true)
		return err
	}
	return nil
}

// awaitPong asks until the server answers with its own process id: another
// server may have taken the port.
func (s *Server) awaitPong(port string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Password: s.password,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	want := "process_id:" + strconv.Itoa(s.cmd.Process.Pid) + "\r\n"
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		info, err := client.Info(ctx, "server").Result()
		if err == nil && strings.Contains(info, want) && client.Ping(ctx).Err() == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended at once: %s", bytes.TrimSpace(s.output.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("no PONG within %v: %w", startTimeout, errors.Join(err, ctx.Err()))
		case <-ticker.C:
		}
	}
}

// Stop ends the server as an operator would. It may be stopped already.
func (s *Server) Stop() { s.end(false) }

// Kill ends the server without a last word, as a crash would.
func (s *Server) Kill() { s.end(true) }

// Restart starts the server again on its old address, stopping it first when it
// runs. Without [AOF] it comes back empty.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.tb.Fatalf("restart redis-server: %v", err)
	}
}

func (s *Server) end(kill bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(kill)
}

func (s *Server) endLocked(kill bool) {
	if s.cmd == nil {
		return
	}
	if !kill {
		_ = s.cmd.Process.Signal(terminate)
		_ = s.cmd.Process.Signal(thaw) // a frozen process would not see it
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-s.exited:
		case <-timer.C:
			s.tb.Errorf("redis-server did not stop within %v", stopTimeout)
		}
	}
	_ = s.cmd.Process.Kill() // an ended process is left alone
	<-s.exited
	s.cmd = nil
}

// Freeze stops the server's process from running without ending it: its
// connections stay open and silent. Thaw lets it go on.
func (s *Server) Freeze() {
	s.tb.Helper()
	s.signal(freeze)
	s.awaitStopped(s.cmd.Process.Pid)
}

// Thaw ends a Freeze.
func (s *Server) Thaw() { s.signal(thaw) }
