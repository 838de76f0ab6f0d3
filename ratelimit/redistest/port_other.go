// A port for a server, where it cannot be kept while the server is stopped.

//go:build !linux

package redistest

import "net"

// hold picks a free port of loopback. Nothing keeps it while no server listens there.
func hold() (port int, release func(), err error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = l.Close() }()                    // nobody has connected
	return l.Addr().(*net.TCPAddr).Port, func() {}, nil //nolint:forcetypeassert // a TCP listener's
}
