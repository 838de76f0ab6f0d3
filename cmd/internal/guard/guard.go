// Package guard says who may open the worker's pages: those that show the queue
// and let it be changed. What only tells that the worker lives is not behind it.
//
// On a loopback address the pages are open, as whoever reaches it is on the
// machine. On any other address they need a user and a password. Nothing of
// another site may change anything, in either case.
package guard

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"botfleet/bitrix"
)

// Config says where the pages are served and to whom.
type Config struct {
	// Addr is host:port, as the worker listens on it.
	Addr string
	// User and Password are asked for when both are given.
	User     string
	Password bitrix.Secret
	// Key is a secret of all workers. With the same one they know the same browsers:
	// those that have signed in, and that others' guesses do not shut out. Empty: each
	// process knows its own, until it ends.
	Key bitrix.Secret
	// Log is told when somebody guesses at the password.
	Log *slog.Logger
}

// Access is who may open the pages.
type Access int

const (
	// Open is everybody who reaches a loopback address.
	Open Access = iota
	// Password is whoever knows the user and the password.
	Password
	// Closed is nobody: the address is not loopback, and there is no password.
	Closed
)

// Access says who may open the pages.
func (c Config) Access() Access {
	switch {
	case c.User != "" && c.Password.Reveal() != "":
		return Password
	case loopbackAddr(c.Addr):
		return Open
	}
	return Closed
}

// New returns what wraps the pages. Pages set a Content-Security-Policy, and a
// Cache-Control if they may be kept; the other headers come from here.
func New(c Config) func(http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(refuseOtherSite))
	enter := gate(c)
	return func(pages http.Handler) http.Handler {
		inside := enter(cross.Handler(pages))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			setHeaders(w.Header())
			if !slices.Contains(methods, r.Method) {
				w.Header().Set("Allow", strings.Join(methods, ", "))
				http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
				return
			}
			inside.ServeHTTP(w, r)
		})
	}
}

// methods are those that pages know. OPTIONS is none of them: browsers send it for
// other sites before anything is allowed, and nothing ever is.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete}

// gate returns what lets those in who may.
func gate(c Config) func(http.Handler) http.Handler {
	switch c.Access() {
	case Password:
		return newDoor(c).wrap
	case Open:
		return onlyThisMachine
	case Closed:
	}
	return func(http.Handler) http.Handler { return http.HandlerFunc(refuseUnguarded) }
}

// setHeaders sets what every page and every refusal carries. The Referrer-Policy
// keeps addresses from other sites; "no-referrer" would also take the Origin from
// what forms send, by which other sites are told apart.
func setHeaders(h http.Header) {
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

// onlyThisMachine lets in what was asked under this machine's own name. Another
// name is one that a foreign page has made to lead here (DNS rebinding), or a
// proxy's: then those on its other side would need no password.
func onlyThisMachine(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackName(hostOf(r.Host)) || proxied(r.Header) {
			refuseUnguarded(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// proxyHeaders are what proxies add, beside X-Forwarded-….
var proxyHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "Cf-Connecting-Ip", "True-Client-Ip"}

// proxied reports whether a proxy says that it passes a request on.
func proxied(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded-") || slices.Contains(proxyHeaders, name) {
			return true
		}
	}
	return false
}

// loopbackAddr reports whether only this machine reaches a host:port. A name but
// localhost is not looked up: it may lead elsewhere tomorrow.
func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackName(host)
}

func loopbackName(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostOf is the name in a Host header, without its port.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
}
