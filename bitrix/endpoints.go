// Which hosts may be called, and which addresses their names may lead to.

package bitrix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Endpoints says where requests may go. Its zero value allows https on port
// 443 of public hosts, and nothing else: a portals file, or a portal that
// renames itself, must not be able to make this program call machines inside
// the operator's network.
type Endpoints struct {
	all      bool
	names    map[string]bool // host or host:port, as normalHost writes them for no scheme
	networks []netip.Prefix
	resolver *net.Resolver // nil: the machine's; for tests
}

// ParseEndpoints reads a list of exceptions: "" for none, "true" for any host
// and address, or comma-separated host, host:port, IP address, IP:port and
// CIDR network items. A listed host may use http, any port (or the one given)
// and any address. In a listed network any address may be called, by http too
// when it is written as an address, and https names may lead there.
func ParseEndpoints(s string) (Endpoints, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "false":
		return Endpoints{}, nil
	case "true":
		return Endpoints{all: true}, nil
	}
	e := Endpoints{names: map[string]bool{}}
	for item := range strings.SplitSeq(s, ",") {
		if err := e.allow(strings.TrimSpace(item)); err != nil {
			return Endpoints{}, fmt.Errorf("%q %w", cut(clean(item), 80), err)
		}
	}
	return e, nil
}

func (e *Endpoints) allow(item string) error {
	switch {
	case item == "":
		return errors.New("is an empty item; leave no comma too many")
	case strings.Contains(item, "://"):
		return errors.New("has a scheme; give the host alone")
	case strings.Contains(item, "/"):
		network, err := netip.ParsePrefix(item)
		if err != nil || network.Addr().Is4In6() {
			return errors.New("is not a network such as 10.0.0.0/8")
		}
		e.networks = append(e.networks, network.Masked())
		return nil
	}
	if addr, err := netip.ParseAddr(item); err == nil {
		if addr.Zone() != "" {
			return errors.New("has a zone; give the address alone")
		}
		addr = addr.Unmap()
		e.networks = append(e.networks, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	if strings.Contains(item, "*") {
		return errors.New("has a wildcard; list each host")
	}
	name, port, err := splitHost(item)
	if err != nil {
		return err
	}
	e.names[joinHost(name, port)] = true
	return nil
}

func joinHost(name, port string) string {
	if port == "" {
		return name
	}
	return net.JoinHostPort(name, port)
}

// exceptions names the setting that the commands of this module read for
// [ParseEndpoints].
const exceptions = "ALLOW_INSECURE_PORTALS lists exceptions"

// Check says whether host[:port] may be called by scheme, before its name is
// looked up; nil means yes. Where the name leads is checked again for every
// connection, on the address itself, so that a name that changes its address
// gains nothing.
func (e Endpoints) Check(scheme, host string) error {
	if strings.Contains(host, "@") {
		return errors.New("an address with a user name or password is never called")
	}
	if scheme != "https" && scheme != "http" {
		return errors.New("only https is called")
	}
	name, port, err := splitHost(host)
	if err != nil {
		return fmt.Errorf("address %w", err)
	}
	if port == "" {
		port = defaultPort(scheme)
	}
	if e.allowsName(name, port) {
		return nil
	}
	addr, notAddr := netip.ParseAddr(name)
	switch {
	case notAddr == nil && e.allowsAddr(addr):
		return nil
	case notAddr == nil && !publicAddr(addr):
		return fmt.Errorf("%s is not a public address; %s", name, exceptions)
	case notAddr != nil && !publicName(name):
		return fmt.Errorf("%s is not a public host name; %s", name, exceptions)
	case scheme == "http":
		return fmt.Errorf("%s may be called by https only, not http", name)
	case port != "443":
		return fmt.Errorf("%s may be called on port 443 only, not %s", name, port)
	}
	return nil
}

// publicName reports whether a name can be one on the Internet. Names under
// localhost, local and internal never are (RFC 6761, RFC 6762, ICANN's
// reservation of internal). A name that ends in a number is an IPv4 address in
// one of its old spellings to some resolvers: 127.1, 0x7f.1, 0177.0.0.1.
func publicName(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	last := name[dot+1:]
	switch {
	case dot < 0, last == "localhost", last == "local", last == "internal":
		return false
	}
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

// allowsName reports whether the operator listed the host, with any port or this one.
func (e Endpoints) allowsName(name, port string) bool {
	return e.all || e.names[name] || e.names[joinHost(name, port)]
}

// allowsLiteral reports whether name is an IP address in a listed network.
func (e Endpoints) allowsLiteral(name string) bool {
	addr, err := netip.ParseAddr(name)
	return err == nil && e.allowsAddr(addr)
}

func (e Endpoints) allowsAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, network := range e.networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// forbiddenError is a connection that the endpoint rules refused.
type forbiddenError struct{ text string }

func (e *forbiddenError) Error() string { return e.text }

// dial connects to hostport and refuses every address that the rules do not
// allow. The check is made on the address just before the connection, after
// the last look-up.
func (e Endpoints) dial(ctx context.Context, network, hostport string, timeout time.Duration) (net.Conn, error) {
	name, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second, Resolver: e.resolver}
	if !e.allowsName(strings.ToLower(strings.TrimSuffix(name, ".")), port) {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return e.checkDialed(name, address)
		}
	}
	return d.DialContext(ctx, network, hostport)
}

// checkDialed checks the address that a name has led to.
func (e Endpoints) checkDialed(name, address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err == nil && (e.allowsAddr(ap.Addr()) || publicAddr(ap.Addr())) {
		return nil
	}
	if err != nil {
		return &forbiddenError{name + " leads to something that is not an address"}
	}
	return &forbiddenError{fmt.Sprintf("%s leads to %s, which is not a public address; %s", name, ap.Addr(), exceptions)}
}
