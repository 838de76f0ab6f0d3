// What a portal may be called.

package portals

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxHost is the longest host name: 253 characters, RFC 1035.
const maxHost = 253

// normalName is how a portal's name is stored and compared.
func normalName(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// nameProblem says why s is no host or host:port in lower case; "" when it is.
// It shows nothing of a value that may be a credential in the wrong place.
func nameProblem(s string) string {
	switch {
	case s == "":
		return "is missing; write the portal's host: acme.bitrix24.ru"
	case strings.Contains(s, "/"):
		return "is not a host but a URL" + hostHint(s)
	case strings.ContainsAny(s, "@?#"):
		return "is not a host; write it without user, parameters and path: acme.bitrix24.ru"
	case strings.IndexFunc(s, func(r rune) bool { return r > '~' }) >= 0:
		return "holds letters outside ASCII; write the host's xn-- form (punycode)"
	case strings.IndexFunc(s, func(r rune) bool { return r <= ' ' }) >= 0:
		return "holds a space or a control character"
	}
	return hostProblem(s)
}

// hostHint proposes the host of a URL, when there is a plain one in it.
func hostHint(s string) string {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || !strings.Contains(u.Host, ".") || nameProblem(strings.ToLower(u.Host)) != "" {
		return "; write only its host: acme.bitrix24.ru"
	}
	return "; write only its host: " + strings.ToLower(u.Host)
}

func hostProblem(s string) string {
	host := s
	if strings.HasPrefix(s, "[") || strings.Contains(s, ":") {
		if h, port, err := net.SplitHostPort(s); err == nil {
			if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
				return "has a port that is not a number from 1 to 65535"
			}
			host = h
		} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			host = s[1 : len(s)-1]
		} else {
			return "is not of the form host or host:port (an IPv6 address goes in brackets: [::1]:8080)"
		}
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return "is not an IPv6 address"
		}
		return ""
	}
	return labelsProblem(host)
}

// labelsProblem checks the parts between the dots.
func labelsProblem(host string) string {
	if host == "" || len(host) > maxHost {
		return fmt.Sprintf("must be a host name of 1 to %d characters", maxHost)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "is not a host name: each part between its dots has 1 to 63 characters and no dash at its ends"
		}
		if strings.IndexFunc(label, notHostChar) >= 0 {
			return "is not a host name: it holds characters other than letters, digits, dots and dashes"
		}
	}
	return ""
}

func notHostChar(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// hostName is the key under which a name is looked up: a host without the port
// that https has anyway.
func hostName(s string) string { return strings.TrimSuffix(normalName(s), ":443") }
