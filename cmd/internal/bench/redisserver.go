// A redis-server of the benchmark's own.

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server without persistence on a free port of loopback.
type redisServer struct {
	url    string
	client *redis.Client // for the benchmark's own questions
	cmd    *exec.Cmd
}

// startRedis starts a server that keeps nothing on disk. stop ends it.
func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port for Redis: %w", err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := l.Close(); err != nil {
		return nil, err
	}
	var output bytes.Buffer
	s := &redisServer{url: "redis://" + addr + "/0"}
	s.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server, which has to be in PATH: %w", err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: 100, MaxRetryBackoff: 50 * time.Millisecond})
	if err := s.client.Ping(ctx).Err(); err != nil {
		s.stop()
		return nil, fmt.Errorf("redis-server does not answer: %w: %s", err, bytes.TrimSpace(output.Bytes()))
	}
	return s, nil
}

func (s *redisServer) stop() {
	_ = s.client.Close()
	_ = s.cmd.Process.Kill() // it keeps nothing
	_ = s.cmd.Wait()
}

// empty drops everything, so that rounds do not slow each other.
func (s *redisServer) empty(ctx context.Context) error {
	if err := s.client.FlushDB(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	return nil
}

const (
	lookEvery = 5 * time.Millisecond
	// stuckAfter ends a round in which nothing happens any more.
	stuckAfter = time.Minute
)

// awaitCompleted returns when the queues hold n completed tasks. Both sides of
// a comparison are timed by it.
func (s *redisServer) awaitCompleted(ctx context.Context, queues []string, n int) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	most, at := 0, time.Now()
	for {
		done, err := s.completed(ctx, queues)
		if err != nil || done >= n {
			return err
		}
		if done > most {
			most, at = done, time.Now()
		}
		if time.Since(at) > stuckAfter {
			return fmt.Errorf("%d of %d tasks are completed, and none of the others for %v", done, n, stuckAfter)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (s *redisServer) completed(ctx context.Context, queues []string) (int, error) {
	cmds, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, q := range queues {
			p.ZCard(ctx, "asynq:{"+q+"}:completed")
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count the completed tasks: %w", err)
	}
	done := 0
	for _, c := range cmds {
		done += int(c.(*redis.IntCmd).Val())
	}
	return done, nil
}
