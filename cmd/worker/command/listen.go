// The worker's addresses, taken before it takes any task: a worker that cannot
// have its addresses must not be at work when it finds out.

package command

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"botfleet/cmd/internal/config"
)

// listeners are the addresses of a worker.
type listeners struct {
	people   net.Listener // HTTP_ADDR
	installs net.Listener // INSTALL_ADDR; nil: there is none
}

// listen takes the addresses. Who calls them waits until they are served.
func listen(cfg config.Config) (*listeners, error) {
	people, err := listenOn("HTTP_ADDR", cfg.HTTPAddr)
	if err != nil {
		return nil, err
	}
	l := &listeners{people: people}
	if cfg.InstallAddr == "" {
		return l, nil
	}
	if l.installs, err = listenOn("INSTALL_ADDR", cfg.InstallAddr); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func listenOn(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use, perhaps by another worker: each on one machine needs an address of its own; set %s to another port (0: any free one)", setting, addr, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return l, nil
}

// close gives the addresses back. Whoever serves one closes it as well, and a
// second time does no harm.
func (l *listeners) close() {
	_ = l.people.Close()
	if l.installs != nil {
		_ = l.installs.Close()
	}
}
