// A connection that asks before it writes.

package bitrix

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// gatedConn refuses to write when the call that has the connection says so. A
// process may be stopped between its last look at the clock and the write; the
// look before each write leaves no more than the way into the kernel.
type gatedConn struct {
	net.Conn
	gate atomic.Pointer[outgoing]
}

func (c *gatedConn) Write(p []byte) (int, error) {
	if out := c.gate.Load(); out != nil {
		if err := out.check(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// gate puts a call in charge of the connection that it was given. An HTTP/2
// connection serves many calls at once and is left alone: there the check of
// the body alone must do. So it is with connections of a foreign transport.
func gate(conn net.Conn, out *outgoing) {
	if secure, ok := conn.(*tls.Conn); ok {
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			return
		}
		conn = secure.NetConn()
	}
	if gated, ok := conn.(*gatedConn); ok {
		gated.gate.Store(out)
	}
}
