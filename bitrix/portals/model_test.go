// What the registry must do, said once more without Redis and without races.

package portals_test

import (
	"slices"

	"botfleet/bitrix/portals"
)

// creds are credentials as they are brought.
type creds struct {
	host, secret, refresh string
	webhook               bool
}

// company is a portal in the model.
type company struct {
	id, host, origin, member string
	now                      creds // host apart, the present ones
	imported, installed      creds
	earlier                  [8]creds // replaced tokens, the newest first
	later                    [8]creds // tokens that came after the present ones, the newest first
	strange                  bool     // sealed under the key that only strangers begin with
	generation               int64
	app                      string // application_token
	installs                 int
	gone                     bool
	client                   string
	burst                    int
}

// brought says whether credentials came before.
func (c *company) brought(b creds) bool {
	return b == c.imported || b == c.installed || slices.Contains(c.earlier[:], b)
}

// note8 puts credentials in front of others, unless they are among them.
func note8(all *[8]creds, b creds) {
	if b != (creds{}) && !slices.Contains(all[:], b) {
		copy(all[1:], all[:])
		all[0] = b
	}
}

// replace notes the tokens that b takes the place of.
func (c *company) replace(b creds) {
	if c.generation > 0 && !c.now.webhook {
		note8(&c.earlier, c.imported)
		note8(&c.earlier, c.installed)
	}
	came := c.later
	c.later = [8]creds{}
	at := slices.Index(came[:], b) // those before it came later
	copy(c.later[:], came[:max(at, 0)])
	for _, passed := range slices.Backward(came[at+1:]) {
		note8(&c.earlier, passed)
	}
	if at := slices.Index(c.earlier[:], b); at >= 0 { // an install may bring it anew
		copy(c.earlier[at:], c.earlier[at+1:])
		c.earlier[7] = creds{}
	}
}

// goBack stores tokens that came before: those that came after them are to come.
func (c *company) goBack(b creds) {
	was := *c
	at := slices.Index(was.earlier[:], b)
	if at < 0 && b == was.installed {
		return
	}
	c.later = [8]creds{}
	if at >= 0 {
		c.earlier = [8]creds{}
		copy(c.earlier[:], was.earlier[at+1:])
		copy(c.later[:], was.earlier[:at])
	}
	for _, s := range []creds{was.imported, was.installed} {
		if s != b && !slices.Contains(c.earlier[:], s) {
			note8(&c.later, s)
		}
	}
	for _, s := range slices.Backward(was.later[:]) {
		note8(&c.later, s)
	}
	if c.imported = b; b != was.installed {
		c.installed = creds{}
	}
}

type note struct {
	generation int64
	count      int
}

// world is the registry in the model.
type world struct {
	all     []*company
	names   map[string]*company
	members map[string]*company
	holds   map[*company]portals.Hold
	notes   map[*company]note
	loud    bool // since the cache was refreshed
	strange bool // who asks holds only the strangers' key
}

func newWorld() *world {
	return &world{nil, map[string]*company{}, map[string]*company{}, map[*company]portals.Hold{}, map[*company]note{}, true, false}
}

// Outcomes of what is asked of the registry.
const (
	done, refused, conflict, changed, unknown, closed = "done", "refused", "conflict", "changed", "unknown", "closed"
)

// store puts a company in the place of what it was, and makes everything lead
// to it; lapsed lost its host to it.
func (w *world) store(p *company, is company, lapsed *company) {
	was := *p
	if was == is {
		return
	}
	*p = is
	if !slices.Contains(w.all, p) {
		w.all = append(w.all, p)
	}
	for _, host := range []string{was.host, was.origin} {
		if host != is.host && host != is.origin && w.names[host] == p {
			delete(w.names, host)
		}
	}
	if o := w.names[is.host]; (o == nil || o == lapsed) && (!is.gone || is.host != was.host) {
		w.names[is.host] = p
	}
	if is.origin != "" && is.origin != was.origin && w.names[is.origin] == nil {
		w.names[is.origin] = p
	}
	if is.member != "" {
		w.members[is.member] = p
	}
}

func (c *company) rename(host string) {
	if c.origin == "" {
		c.origin = c.host
	}
	if c.host = host; c.origin == host {
		c.origin = ""
	}
}

// give stores credentials, sealed by who asks.
func (w *world) give(c *company, b creds) {
	c.now, c.generation, c.strange = b, c.generation+1, w.strange
}

// opens says whether who asks can open a company's credentials.
func (w *world) opens(c *company) bool { return c.strange || !w.strange }

// release ends a hold, unless it is a person's.
func (w *world) release(p *company) {
	if h, ok := w.holds[p]; ok && !h.ByOperator {
		delete(w.holds, p)
		w.loud = true
	}
}

// closedTo says whether who asks has not the keys of a company, or if it is a new
// one, of any other.
func (w *world) closedTo(p *company) bool {
	if p.generation > 0 {
		return !w.opens(p)
	}
	return len(w.all) > 0 && !slices.ContainsFunc(w.all, w.opens)
}

func (w *world) importing(member string, b creds, client string, burst int, lostKey bool) string {
	h, m := w.names[b.host], w.members[member]
	var p, lapsed *company
	switch renamed := h != nil && h.host != b.host; {
	case h == nil || h == m:
		p = m
	case m != nil && renamed:
		p, lapsed = m, h
	case m != nil:
		return refused
	case member == "" || h.member == "":
		p = h
	case renamed:
		lapsed = h
	default:
		return refused
	}
	if p == nil {
		p = &company{}
	}
	if !lostKey && w.closedTo(p) {
		return closed
	}
	is := *p
	is.client, is.burst = client, burst
	if member != "" {
		is.member = member
	}
	switch known := p.generation > 0 && p.brought(b); {
	case !known:
		is.replace(b)
		is.host, is.origin, is.imported = b.host, "", b
		w.give(&is, b)
		if is.gone || b.webhook {
			is.app = ""
		}
		is.gone = false
		delete(w.holds, p)
	case !w.opens(p):
		is.goBack(b)
		is.host, is.origin = b.host, ""
		w.give(&is, b)
		if b.webhook {
			is.app = ""
		}
		if b.host != p.host || b.secret != p.now.secret {
			w.release(p)
		}
	default:
		lapsed = nil
	}
	w.loud = w.loud || is != *p
	w.store(p, is, lapsed)
	return done
}

// relocated checks a host and member_id for a company.
func (w *world) relocated(p *company, host, member string) (lapsed *company, outcome string) {
	if p == nil {
		return nil, unknown
	}
	if m := w.members[member]; member != "" && (p.member != "" && p.member != member || m != nil && m != p) {
		return nil, conflict
	}
	if h := w.names[host]; h != nil && h != p {
		if !h.gone && h.host == host {
			return nil, conflict
		}
		lapsed = h
	}
	return lapsed, done
}

func (w *world) renew(p *company, generation int64, member string, b creds) string {
	lapsed, outcome := w.relocated(p, b.host, member)
	switch {
	case outcome != done:
		return outcome
	case p.generation == generation+1 && p.host == b.host && p.now.secret == b.secret && !p.now.webhook:
		return done
	case p.generation != generation:
		return changed
	}
	is := *p
	if member != "" {
		is.member = member
	}
	if b.host != is.host {
		is.rename(b.host)
	}
	w.give(&is, b)
	w.loud = w.loud || is.member != p.member || is.host != p.host
	w.release(p)
	w.store(p, is, lapsed)
	return done
}

func (w *world) move(p *company, generation int64, b creds) string {
	lapsed, outcome := w.relocated(p, b.host, "")
	switch {
	case outcome != done:
		return outcome
	case p.generation != generation:
		return changed
	case b.secret != p.now.secret || b.webhook != p.now.webhook:
		return changed
	case p.host == b.host:
		return done
	}
	is := *p
	is.rename(b.host)
	is.strange = w.strange
	w.loud = true
	w.store(p, is, lapsed)
	return done
}

func (w *world) install(member, app string, b creds) (p *company, fresh bool, outcome string) {
	h, m := w.names[b.host], w.members[member]
	if m == nil && h != nil && h.member == "" && h.host == b.host {
		m = h
	}
	if h != nil && h != m && !h.gone && h.host == b.host {
		return nil, false, refused
	}
	if m != nil && !m.gone && (m.app != "" && m.app != app || m.app == "" && m.host != b.host) {
		return nil, false, refused
	}
	p = m
	if p == nil {
		p = &company{host: b.host, now: creds{webhook: true}}
		defer func() { w.loud = true }()
	}
	is := *p
	is.member, is.app, is.gone = member, app, false
	fresh = p.app == "" || p.gone
	if fresh {
		is.installs++
	}
	same := p.brought(b) || b.host == p.host && b.secret == p.now.secret
	if p.gone || p.now.webhook || !same || !w.opens(p) {
		if is.host != b.host {
			is.rename(b.host)
		}
		is.replace(b)
		w.give(&is, b)
		is.installed, is.client = b, ""
		w.release(p)
		if h == m {
			h = nil
		}
	} else {
		h = nil
	}
	if is.burst == 0 {
		is.burst = 50
	}
	w.loud = w.loud || is != *p
	w.store(p, is, h)
	return p, fresh, done
}

func (w *world) uninstall(member, app string) string {
	p := w.members[member]
	switch {
	case p == nil:
		return unknown
	case p.app == "" || p.app != app:
		return refused
	}
	is := *p
	is.gone = true
	w.loud = w.loud || !p.gone
	w.store(p, is, nil)
	return done
}

func (w *world) remove(p *company) string {
	if p == nil {
		return unknown
	}
	w.all = slices.DeleteFunc(w.all, func(c *company) bool { return c == p })
	for _, index := range []map[string]*company{w.names, w.members} {
		for key, c := range index {
			if c == p {
				delete(index, key)
			}
		}
	}
	delete(w.holds, p)
	delete(w.notes, p)
	w.loud = true
	return done
}

func (w *world) hold(p *company, h portals.Hold) string {
	old, held := w.holds[p]
	if held {
		h.Since = old.Since
		if old.ByOperator && !h.ByOperator {
			h = old
		}
	}
	w.loud = w.loud || !held || h != old
	w.holds[p] = h
	return done
}

func (w *world) renewing(p *company, generation int64, add int) (before int, outcome string) {
	if p == nil {
		return 0, unknown
	}
	if p.generation != generation {
		return 0, changed
	}
	n := w.notes[p]
	if n.generation != generation {
		n = note{generation: generation}
	}
	before = n.count
	n.count = max(n.count+add, 0)
	w.notes[p] = n
	return before, done
}

// find is the company that a host or member_id leads to.
func (w *world) find(name string) *company {
	if p := w.names[name]; p != nil {
		return p
	}
	return w.members[name]
}
