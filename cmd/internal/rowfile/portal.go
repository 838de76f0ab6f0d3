// The portal of a row, in the form in which portals are known.

package rowfile

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

var errPortal = errors.New(`is not a host; give it as acme.bitrix24.ru or host:port`)

// errPortalPath does not repeat the value: what follows the host is often a
// webhook's secret.
var errPortalPath = errors.New("holds more than a host; give the host alone (a webhook's URL belongs in the portals file)")

// normalPortal makes host or host:port, in lower case, of what people write:
// spaces around it, capitals, https:// before it, a slash after it.
func normalPortal(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			s = rest
			break
		}
	}
	s = strings.TrimSuffix(s, "/")
	if strings.ContainsAny(s, `/?#@\`) {
		return "", errPortalPath
	}
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		port, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || port == 0 {
			return "", errPortal
		}
		host = s[:i]
	}
	if !isHost(host) {
		return "", errPortal
	}
	// The port that https has anyway: with and without it, a portal is the same.
	return strings.TrimSuffix(s, ":443"), nil
}

// isHost tells whether a name could be a host's. Letters of any script may be
// in it: there are portals with Cyrillic names.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && net.ParseIP(inner) != nil
	}
	if s == "" || len(s) > 253 { // RFC 1035: 255 octets on the wire
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, r := range label {
			letter := r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z'
			if !letter && !foreignLetter(r) {
				return false
			}
		}
	}
	return true
}
