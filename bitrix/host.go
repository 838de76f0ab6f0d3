// The host part of addresses: one way to write each.

package bitrix

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// maxHostChars: the longest name that DNS can hold, RFC 1035.
const maxHostChars = 253

// normalHost checks host[:port] and writes it in one way: lower case, no
// final dot, no port that the scheme has by itself, an IPv6 address in
// brackets. Its errors read after the name of what was parsed.
func normalHost(scheme, hostport string) (string, error) {
	if strings.Contains(hostport, "@") {
		return "", errors.New("must not hold a user name or password before the host")
	}
	name, port, err := splitHost(hostport)
	if err != nil {
		return "", err
	}
	if port == "" || port == defaultPort(scheme) {
		if strings.Contains(name, ":") {
			return "[" + name + "]", nil
		}
		return name, nil
	}
	return net.JoinHostPort(name, port), nil
}

// normalPlace writes scheme and host[:port] in one way, "scheme://host".
func normalPlace(scheme, hostport string) (string, error) {
	scheme = strings.ToLower(scheme)
	if scheme != "https" && scheme != "http" {
		return "", errors.New("must begin with https://, not with another scheme")
	}
	host, err := normalHost(scheme, hostport)
	if err != nil {
		return "", err
	}
	return scheme + "://" + host, nil
}

// splitHost takes host[:port] apart: a name or address in lower case without
// brackets, and the port or nothing.
func splitHost(hostport string) (name, port string, err error) {
	name = hostport
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		name, port = hostport[:i], hostport[i+1:]
		if !portOK(port) {
			return "", "", errors.New("has a port that is not a number from 1 to 65535")
		}
		port = strings.TrimLeft(port, "0")
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", errors.New("has a host in brackets that is not an IPv6 address")
		}
		return addr.String(), port, nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, port, checkName(name)
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("has no host")
	case len(name) > maxHostChars:
		return errors.New("has a host that is too long")
	case strings.IndexFunc(name, func(r rune) bool { return r != '.' && notSecretChar(r) }) >= 0:
		return errors.New("has a host with characters other than letters, digits, dots and hyphens (write a national name in its xn-- form)")
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "."), strings.Contains(name, ".."):
		return errors.New("has a host with a dot too many")
	}
	return nil
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}
