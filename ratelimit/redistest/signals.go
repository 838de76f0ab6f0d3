// The signals by which a server is stopped and frozen.

package redistest

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	terminate = syscall.SIGTERM
	freeze    = syscall.SIGSTOP
	thaw      = syscall.SIGCONT
)

func (s *Server) signal(sig os.Signal) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		s.tb.Fatal("redis-server is stopped")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal redis-server: %v", err)
	}
}

// stopped reports whether a process has stopped, where the system tells; the
// signal alone only asks it to.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true // no such file system
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(after, []byte("T"))
}

// awaitStopped waits until a process has stopped.
func (s *Server) awaitStopped(pid int) {
	s.tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for !stopped(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			s.tb.Fatal("redis-server does not stop running 5 s after SIGSTOP")
		}
	}
}
