// The trade of a pair, and the answer that holds the new one.

package sandbox

import "time"

// trade replaces the pair if t is its refresh token, and returns the answer;
// lost says that the answer will not arrive. Otherwise it returns nil, and which
// rule was broken, if one was. One more try with a refresh token whose trade
// ended unknown breaks none: it is all that a program can do.
func (st *PortalState) trade(t token, lost bool) (answer []byte, broken ViolationKind) {
	st.mu.Lock()
	defer st.mu.Unlock()
	g := &st.grant
	switch {
	case t.generation >= g.floor && t.generation < g.generation:
		g.stats.Reused++
		st.box.auth.reused()
		if t.generation == g.generation-1 && g.lost && !g.forgiven {
			g.forgiven = true
			return nil, ""
		}
		return nil, DeadRefresh
	case t.generation != g.generation, g.revoked, g.gone, !st.box.now().Before(g.refreshEnds):
		return nil, ""
	}
	st.issue()
	g.lost = lost
	return appendValue(nil, st.tokenAnswer()), ""
}

func (a *AuthServer) reused() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Reused++
}

// tokenAnswer is the answer that holds the present pair, with the members in
// the order of the real one. The caller holds the lock.
func (st *PortalState) tokenAnswer() *array {
	g := &st.grant
	endpoint, member := endpoint(st.name), g.member
	if g.otherEndpoint != "" {
		endpoint = g.otherEndpoint
	}
	if g.otherMember != "" {
		member = g.otherMember
	}
	out := &array{}
	out.set("access_token", string(g.access))
	out.set("expires", int(g.accessEnds.Unix()))
	out.set("expires_in", st.box.expiresIn())
	out.set("scope", "app")
	out.set("domain", "oauth.bitrix24.tech")
	out.set("server_endpoint", serverEndpoint)
	out.set("status", appStatus)
	out.set("client_endpoint", endpoint)
	out.set("member_id", member)
	out.set("user_id", 1)
	out.set("refresh_token", string(g.refresh))
	return out
}

const (
	serverEndpoint = "https://oauth.bitrix24.tech/rest/"
	appStatus      = "L" // a local application
)

// expiresIn is how long access tokens live, in whole seconds, at least one.
func (s *Sandbox) expiresIn() int {
	life := scaled(s.opts.accessLife, s.opts.scale)
	return max(1, int(life/time.Second))
}

// endpoint is a portal's client_endpoint: https, but for loopback addresses,
// where nobody speaks it.
func endpoint(name string) string {
	scheme := "https"
	if isLoopback(name) {
		scheme = "http"
	}
	return scheme + "://" + name + "/rest/"
}
