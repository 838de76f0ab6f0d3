// An application as a portal has it installed: its pair of tokens, how long
// they live, and what ends them.

package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Lifetimes of tokens (public page "OAuth 2.0 token automatic renewal").
const (
	accessLife  = time.Hour
	refreshLife = 180 * 24 * time.Hour
)

// WithApplication makes an application known to the authorization server. The
// portals that have it installed name its id in [Portal.App].
func WithApplication(id string, secret Secret) Option {
	return func(o *options) {
		if id == "" || secret == "" {
			o.problem = errors.Join(o.problem, errors.New("sandbox: application without an id or a secret"))
			return
		}
		if o.apps == nil {
			o.apps = map[string]Secret{}
		}
		o.apps[id] = secret
	}
}

// WithTokenLife sets how long access and refresh tokens live that are issued
// from now on. Defaults to 1 hour and 180 days; both are scaled, zero keeps
// the default.
func WithTokenLife(access, refresh time.Duration) Option {
	return func(o *options) {
		if access > 0 {
			o.accessLife = access
		}
		if refresh > 0 {
			o.refreshLife = refresh
		}
	}
}

// WithStrictRotation lets an access token die with the refresh token that it
// was issued with, as an older page of the documentation has it. Without it an
// access token is good until it expires, whatever is refreshed meanwhile.
func WithStrictRotation() Option { return func(o *options) { o.strictRotation = true } }

// maxLiving bounds the access tokens of one portal that are good at once.
const maxLiving = 64

// grant is what a portal's application holds. The portal's lock guards all but
// serial and member.
type grant struct {
	serial uint32 // in its tokens; 0 when no application is installed
	member string // member_id

	generation      uint32 // of the pair
	access, refresh Secret
	accessEnds      time.Time
	refreshEnds     time.Time
	living          []Secret // access tokens in the order they were issued
	floor           uint32   // pairs before it were ended by the portal, not traded
	revoked         bool     // the refresh token is dead without having been traded
	lost            bool     // the answer that held the pair was spoiled
	forgiven        bool     // a second try after that has been seen

	appToken Secret
	installs int
	gone     bool // uninstalled

	otherMember, otherEndpoint string // what answers say in place of the truth
	inWork                     int
	stats                      AuthStats
}

// memberID is the member_id of a portal that is given none.
func memberID(name string) string {
	sum := sha256.Sum256([]byte("member " + name))
	return hex.EncodeToString(sum[:16])
}

// installApp gives a new portal its application's first pair.
func (st *PortalState) installApp() {
	if st.cfg.App == "" {
		return
	}
	st.grant.serial = st.box.secrets.enroll(st)
	st.grant.member = st.cfg.MemberID
	if st.grant.member == "" {
		st.grant.member = memberID(foldHost(st.cfg.Name))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.issue()
	st.renewAppToken()
}

// renewAppToken gives the portal the application_token of its next
// installation. The caller holds the lock.
func (st *PortalState) renewAppToken() {
	g := &st.grant
	st.box.secrets.drop(g.appToken, st)
	g.appToken = st.box.secrets.mint.applicationToken(g.serial, g.installs)
	g.installs++
	st.box.secrets.add(appToken, g.appToken, st)
}

// issue replaces the pair. The caller holds the lock.
func (st *PortalState) issue() {
	g, now := &st.grant, st.box.now()
	g.generation++
	g.accessEnds = now.Add(scaled(st.box.opts.accessLife, st.box.opts.scale))
	g.refreshEnds = now.Add(scaled(st.box.opts.refreshLife, st.box.opts.scale))
	made := token{kind: accessToken, expires: unix32(g.accessEnds), serial: g.serial, generation: g.generation}
	g.access = st.box.secrets.mint.issue(made)
	made.kind, made.expires = refreshToken, unix32(g.refreshEnds)
	g.refresh = st.box.secrets.mint.issue(made)
	g.revoked, g.lost, g.forgiven = false, false, false
	st.bury(func(t Token) bool { return st.box.opts.strictRotation || !now.Before(t.Expires) })
	if len(g.living) >= maxLiving {
		delete(st.tokens, g.living[0])
		g.living = g.living[1:]
	}
	g.living = append(g.living, g.access)
	st.tokens[g.access] = Token{Value: g.access, App: st.cfg.App, Expires: g.accessEnds}
}

// bury forgets the living access tokens that are to die. The caller holds the lock.
func (st *PortalState) bury(dies func(Token) bool) {
	g := &st.grant
	living := make([]Secret, 0, len(g.living)+1)
	for _, value := range g.living {
		if dies(st.tokens[value]) {
			delete(st.tokens, value)
			continue
		}
		living = append(living, value)
	}
	g.living = living
}

// notLiving is the error for an access token that is not among the living. The
// caller holds the lock.
func (c *call) notLiving() *failure {
	t, ok := c.st.box.secrets.mint.read([]byte(c.signIn.token))
	switch {
	case !ok || t.kind != accessToken || t.serial != c.st.grant.serial:
		return c.dialect().fail("invalid_token")
	case c.st.grant.gone:
		return c.dialect().fail("APPLICATION_NOT_FOUND")
	}
	return c.dialect().fail("expired_token")
}

// MemberID is what identifies the portal for ever; empty when it has no
// application.
func (st *PortalState) MemberID() string { return st.grant.member }

// Pair is the application's present pair of tokens, expired or not; empty when
// the portal has no application.
func (st *PortalState) Pair() (access, refresh Secret) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.grant.access, st.grant.refresh
}

// ExpireTokens lets all access tokens that the application was issued expire
// now. Refresh tokens stay good.
func (st *PortalState) ExpireTokens() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.bury(func(Token) bool { return true })
	st.grant.accessEnds = st.box.now()
}

// ExpireTokens does so on all portals.
func (s *Sandbox) ExpireTokens() {
	for _, st := range s.Portals() {
		st.ExpireTokens()
	}
}

// RevokeRefresh kills the refresh token, as when the application's access is
// withdrawn: invalid_grant until it is installed again. Access tokens stay good.
func (st *PortalState) RevokeRefresh() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.grant.revoked = true
}

// AnswerAs lets the authorization server's answers for this portal name another
// member_id or client_endpoint; empty means the truth.
func (st *PortalState) AnswerAs(memberID, endpoint string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.grant.otherMember, st.grant.otherEndpoint = memberID, endpoint
}

// checkApp finds what is wrong with a portal's application. The caller holds
// the sandbox's lock.
func (s *Sandbox) checkApp(p Portal) error {
	if p.App == "" {
		return nil
	}
	if _, ok := s.opts.apps[p.App]; !ok {
		return fmt.Errorf("sandbox: portal %q: no application %q, see WithApplication", p.Name, p.App)
	}
	name := foldHost(p.Name)
	member := p.MemberID
	if member == "" {
		member = memberID(name)
	}
	// The portal that this one replaces, see add, gives its member_id up.
	if other := s.members[member]; other != nil && other.Name() != name {
		return fmt.Errorf("sandbox: portal %q: member_id %s is that of portal %q", p.Name, member, other.cfg.Name)
	}
	return nil
}
