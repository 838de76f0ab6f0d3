// Secrets that reach someone they are not meant for: which ones the sandbox
// knows, and the search for them in requests.

package sandbox

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// secretKind says what a secret is, in the words of violations.
type secretKind string

const (
	clientSecret secretKind = "client_secret"
	appToken     secretKind = "application_token"
	webhookKind  secretKind = "webhook"
	tokenSecret  secretKind = "token"
	sessionKind  secretKind = "session"
)

// minSecret is the length from which secrets are looked for: shorter ones stand
// in innocent texts by accident. It is also the width of the search.
const minSecret = 8

// knownSecret is a secret and the portals that may be sent it.
type knownSecret struct {
	kind   secretKind
	owners []*PortalState // none for a client_secret
}

// secrets are all secrets that a sandbox knows. Every request is searched for
// them, so that the search must cost next to nothing: one look into a table of
// bits for each byte, and into maps only where that hits.
type secrets struct {
	mint  *mint
	count atomic.Int64 // secrets and issuers; zero ends every search at once

	bits [1 << 12]atomic.Uint64 // of the last eight bytes of each secret

	mu      sync.RWMutex
	known   map[string]*knownSecret
	tails   map[uint64][]string     // last eight bytes → secrets
	issuers map[uint32]*PortalState // by serial: portals that tokens are issued for
	serial  uint32
}

func newSecrets() *secrets {
	s := &secrets{mint: newMint(), known: map[string]*knownSecret{}, tails: map[uint64][]string{}, issuers: map[uint32]*PortalState{}}
	s.mark(s.tokenTail())
	return s
}

// tokenTail is what the search finds a token by: the first digits of the mark.
func (s *secrets) tokenTail() uint64 { return binary.LittleEndian.Uint64([]byte(s.mint.markText())) }

// bitOf spreads eight bytes over the table of bits.
func bitOf(tail uint64) (word uint64, bit uint64) {
	h := tail * 0x9E3779B97F4A7C15 >> 46
	return h >> 6, 1 << (h & 63)
}

func (s *secrets) mark(tail uint64) {
	word, bit := bitOf(tail)
	s.bits[word].Or(bit)
}

// add makes a secret known; owner may be sent it.
func (s *secrets) add(kind secretKind, value Secret, owner *PortalState) {
	text := string(value)
	if len(text) < minSecret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.known[text]
	if k == nil {
		k = &knownSecret{kind: kind}
		s.known[text] = k
		tail := binary.LittleEndian.Uint64([]byte(text[len(text)-minSecret:]))
		s.tails[tail] = append(s.tails[tail], text)
		s.mark(tail)
		s.count.Add(1)
	}
	if owner != nil && !slices.Contains(k.owners, owner) {
		k.owners = append(k.owners, owner)
	}
}

// enroll gives a portal the serial that its tokens carry.
func (s *secrets) enroll(st *PortalState) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	s.issuers[s.serial] = st
	s.count.Add(1)
	return s.serial
}

// drop takes a secret from a portal; without portals it is no longer looked for.
func (s *secrets) drop(value Secret, owner *PortalState) {
	text := string(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.known[text]
	if k == nil {
		return
	}
	k.owners = slices.DeleteFunc(k.owners, func(o *PortalState) bool { return o == owner })
	if len(k.owners) > 0 || k.kind == clientSecret {
		return
	}
	delete(s.known, text)
	s.count.Add(-1)
	tail := binary.LittleEndian.Uint64([]byte(text[len(text)-minSecret:]))
	s.tails[tail] = slices.DeleteFunc(s.tails[tail], func(other string) bool { return other == text })
	if len(s.tails[tail]) == 0 {
		delete(s.tails, tail)
	}
}

// forget ends what is known of a portal that was replaced.
func (s *secrets) forget(st *PortalState) {
	for _, value := range st.ownSecrets() {
		s.drop(value, st)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issuers[st.grant.serial] == st {
		delete(s.issuers, st.grant.serial)
		s.count.Add(-1)
	}
}

// ownSecrets are the secrets that a portal accepts.
func (st *PortalState) ownSecrets() []Secret {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := append([]Secret{st.grant.appToken}, st.cfg.Sessions...)
	for _, w := range st.webhooks {
		out = append(out, w.Secret)
	}
	for value := range st.tokens {
		out = append(out, value)
	}
	return out
}

// issuer finds the portal that a token was issued for; nil when it is not one
// of this sandbox, or of a portal that is no more.
func (s *secrets) issuer(text string) (*PortalState, token) {
	t, ok := s.mint.read([]byte(text))
	if !ok {
		return nil, token{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.issuers[t.serial], t
}

// place is who a request has reached.
type place struct {
	host string
	st   *PortalState // nil where no portal answers
	auth bool         // the authorization server
}

// strays notes the secrets in a request that are not meant for who got it, each
// once.
func (s *Sandbox) strays(at place, method string, r *http.Request, body []byte) {
	if s.secrets.count.Load() == 0 {
		return
	}
	var found []Violation
	note := func(v Violation) {
		if !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	head := make([]byte, 0, 1024)
	head = appendHead(head, r)
	s.secrets.search(head, at, note)
	s.secrets.search(body, at, note)
	for _, v := range found {
		v.At, v.Method, v.Host = s.now(), method, clip(at.host)
		if at.st != nil {
			at.st.note(v)
		} else {
			s.auth.note(v)
		}
	}
}

// appendHead puts together what a request says before its body, decoded too
// where it is encoded.
func appendHead(b []byte, r *http.Request) []byte {
	uri := r.RequestURI
	if uri == "" {
		uri = r.URL.RequestURI()
	}
	b = append(append(b, uri...), '\n')
	if strings.IndexByte(uri, '%') >= 0 {
		b = append(append(b, formDecode(uri)...), '\n')
	}
	for _, values := range r.Header {
		for _, v := range values {
			b = append(append(b, v...), '\n')
		}
	}
	if user, password, ok := r.BasicAuth(); ok {
		b = append(append(append(append(b, user...), '\n'), password...), '\n')
	}
	return b
}

// search goes through a text for secrets that are astray.
func (s *secrets) search(text []byte, at place, note func(Violation)) {
	for i := 0; i+minSecret <= len(text); i++ {
		tail := binary.LittleEndian.Uint64(text[i:])
		word, bit := bitOf(tail)
		if s.bits[word].Load()&bit != 0 {
			s.look(text, i, tail, at, note)
		}
	}
}

// look compares what stands around text[i:] with the secrets.
func (s *secrets) look(text []byte, i int, tail uint64, at place, note func(Violation)) {
	if start := i - markAt; start >= 0 && start+tokenDigits <= len(text) && tail == s.tokenTail() {
		if t, ok := s.mint.read(text[start : start+tokenDigits]); ok {
			s.judgeToken(t, at, note)
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, secret := range s.tails[tail] {
		if bytes.HasSuffix(text[:i+minSecret], []byte(secret)) {
			s.known[secret].judge(at, note)
		}
	}
}

// judgeToken notes an issued token, unless it is an access token at its own
// portal or a refresh token at the authorization server.
func (s *secrets) judgeToken(t token, at place, note func(Violation)) {
	if at.auth && t.kind == refreshToken || at.st != nil && t.kind == accessToken && t.serial == at.st.grant.serial {
		return
	}
	s.mu.RLock()
	owner := s.issuers[t.serial]
	s.mu.RUnlock()
	v := Violation{Kind: StraySecret, Secret: t.kind.String()}
	if owner != nil {
		v.Secret += " of " + owner.cfg.Name
	}
	note(v)
}

// judge notes a secret, unless it is one of the portal that got it, or a
// client_secret at the authorization server.
func (k *knownSecret) judge(at place, note func(Violation)) {
	switch {
	case k.kind == clientSecret:
		if !at.auth {
			note(Violation{Kind: LeakedClientSecret, Secret: string(clientSecret)})
		}
	case at.st == nil || k.kind == appToken || !slices.Contains(k.owners, at.st):
		v := Violation{Kind: StraySecret, Secret: string(k.kind)}
		if len(k.owners) > 0 {
			v.Secret += " of " + k.owners[0].cfg.Name
		}
		note(v)
	}
}
