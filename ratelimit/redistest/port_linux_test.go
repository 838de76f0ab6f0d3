// Whose the port of a stopped server is.

package redistest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestAStoppedServerKeepsItsPort(t *testing.T) {
	s := Start(t)
	s.Stop()
	if c, err := net.Dial("tcp", s.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection: %v, %v", c, err)
	}
	others := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		}), err)
	}}
	if l, err := others.Listen(t.Context(), "tcp", s.Addr); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another server got its port: %v, %v", l, err)
	}
	s.Restart()
	client := Client(t, s.URL)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}
