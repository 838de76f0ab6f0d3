// CPU time: what a round costs, whoever else uses the machine.

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// spent is what something took: by the clock, and of the processors by this
// process and by Redis.
type spent struct{ clock, self, redis time.Duration }

func (s spent) String() string {
	return fmt.Sprintf("%.2f s (CPU %.2f s, Redis %.2f s)", s.clock.Seconds(), s.self.Seconds(), s.redis.Seconds())
}

// meter measures from its making.
type meter struct {
	redis *redisServer
	began time.Time
	self  time.Duration
	other time.Duration
}

func (s *redisServer) meter(ctx context.Context) meter {
	return meter{redis: s, self: ownCPU(), other: s.cpu(ctx), began: time.Now()}
}

func (m meter) read(ctx context.Context) spent {
	clock := time.Since(m.began)
	return spent{clock: clock, self: ownCPU() - m.self, redis: m.redis.cpu(ctx) - m.other}
}

// ownCPU is this process's CPU time so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpu is the server's CPU time so far; 0 when it does not say.
func (s *redisServer) cpu(ctx context.Context) (total time.Duration) {
	info, err := s.client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, _ := strconv.ParseFloat(value, 64)
			total += time.Duration(seconds * float64(time.Second))
		}
	}
	return total
}
