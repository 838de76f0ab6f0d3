// What this process has learned of portals since it was told of them.

package signin

import (
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// maxKnown bounds the portals that are remembered: as many as a
// [portals.Cache] keeps. One that is forgotten costs a call with an old token.
const maxKnown = 10_000

// known is what was learned of one portal.
type known struct {
	portal portals.Portal // newest known
	// refused is the fingerprint of the access that the portal did not accept,
	// and refusal what it answered.
	refused string
	refusal bitrix.Error
	// failed is how the last renewal ended, when it brought nothing; it holds
	// until a time, so that each call does not begin the next.
	failed *bitrix.Error
	told   bool // a call was told of it
	until  time.Time
	since  time.Time // since when renewals have brought nothing
	tries  int       // how many did
	// barred is the place that a redirect leads to and the portal cannot have,
	// because it is another portal's; barredBy says so, for a time.
	barred      string
	barredBy    *bitrix.Error
	barredUntil time.Time
	// wasted is when the portal refused a token that was issued just then.
	wasted time.Time
}

// blockedFor is how long a Blocked end of a renewal stands after a call was
// first told of it: until the hold that follows from it is known everywhere
// here. The calls that began the renewal may all have left before its end, so
// it stands for untoldFor until there is one to tell.
const (
	blockedFor = 10 * time.Second
	untoldFor  = 10 * time.Minute
)

// newest returns the portal, or what is known of it that is newer.
func (c *Caller) newest(p *portals.Portal) portals.Portal {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[p.ID]
	switch {
	case k == nil:
		return *p
	case p.Generation > k.portal.Generation:
		delete(c.known, p.ID)
		return *p
	}
	return k.portal
}

// remember is the entry of a portal; the lock must be held.
func (c *Caller) remember(p portals.Portal) *known {
	k := c.known[p.ID]
	if k != nil {
		return k
	}
	if len(c.known) >= maxKnown {
		for id := range c.known { // any one: Go's order is random
			delete(c.known, id)
			break
		}
	}
	k = &known{portal: p}
	c.known[p.ID] = k
	return k
}

// learn keeps a portal as the newest known one, unless a newer one is known.
func (c *Caller) learn(p portals.Portal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.remember(p); k.portal.Generation <= p.Generation {
		k.portal = p
	}
}

// knows reports whether a portal is known to be there.
func (c *Caller) knows(p portals.Portal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[p.ID]
	return k != nil && k.portal.Access.Fingerprint() == p.Access.Fingerprint()
}

// barFor is how long a redirect to another portal's host is not followed: as long
// as it is, calls need not go there to be told.
const barFor = time.Minute

// bar keeps calls from following a portal to a place that is another portal's.
func (c *Caller) bar(home portals.Portal, place string, why *bitrix.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.remember(home)
	k.barred, k.barredBy, k.barredUntil = place, why, c.Now().Add(barFor)
}

// barred returns why a portal is not followed to a place, or nil.
func (c *Caller) barred(id, place string) *bitrix.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	if k == nil || k.barredBy == nil || k.barred != place || !c.Now().Before(k.barredUntil) {
		return nil
	}
	return k.barredBy
}

// forget forgets a portal.
func (c *Caller) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, id)
}

// refuse notes that a portal did not accept its credential.
func (c *Caller) refuse(p portals.Portal, e *bitrix.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.remember(p)
	k.refused, k.refusal = p.Access.Fingerprint(), *e
}

// refused returns the refusal of a credential that the portal is known not to
// accept, so that it is not sent again; nil where it may be.
func (c *Caller) refused(p *portals.Portal) *bitrix.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[p.ID]
	if k == nil || k.refused == "" || k.refused != p.Access.Fingerprint() {
		return nil
	}
	if k.failed != nil && k.failed.Class == bitrix.Blocked && !c.Now().Before(k.until) {
		// A person may have put it right on the portal; the portal will say.
		delete(c.known, p.ID)
		return nil
	}
	e := k.refusal
	e.Status = 0 // of this call there is no answer
	return &e
}

// failure is the end of the last renewal while it still stands, or nil. Its
// caller tells of it.
func (c *Caller) failure(id string) *bitrix.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	now := c.Now()
	if k == nil || k.failed == nil || !now.Before(k.until) {
		return nil
	}
	if !k.told && k.failed.Class == bitrix.Blocked {
		k.told, k.until = true, now.Add(blockedFor)
	}
	return k.failed
}

// conclude keeps the end of a renewal of p, and completes its Wait.
func (c *Caller) conclude(p portals.Portal, began time.Time, out *outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.remember(p)
	k.portal = out.portal
	if out.failed == nil {
		*k = known{portal: out.portal, wasted: k.wasted}
		return
	}
	if k.since.IsZero() {
		k.since = began
	}
	k.failed, k.told, k.until = out.failed, false, c.Now().Add(untoldFor)
	if w := out.failed.Wait; w != nil {
		k.tries++
		if w.Since.IsZero() {
			w.Since = k.since
		}
		w.Until = w.Until.Add(time.Duration(c.draw() * float64(spread(k.tries))))
		k.until = w.Until
	}
}

// spread is over how long portals are spread that were put off together, after
// a number of tries: without it they would all come back at one moment.
func spread(tries int) time.Duration {
	return min(time.Second<<min(tries, 10), 15*time.Second)
}

// tries is how many renewals of a portal in a row have brought nothing.
func (c *Caller) tries(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[id]; k != nil {
		return k.tries
	}
	return 0
}

// hindered is since when renewals of a portal have brought nothing; began, if
// they have not been tried before.
func (c *Caller) hindered(id string, began time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[id]; k != nil && !k.since.IsZero() {
		return k.since
	}
	return began
}

// wastedFor is how long a portal that has refused a token issued just then gets
// no other one: it would refuse that as well, and each takes the workers' place
// in the one that the others use.
const wastedFor = 5 * time.Minute

// waste notes that a portal has refused a token that was issued just now.
func (c *Caller) waste(p portals.Portal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remember(p).wasted = c.Now()
}

// wasteful reports whether a portal has refused such a token lately.
func (c *Caller) wasteful(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	return k != nil && !k.wasted.IsZero() && c.Now().Before(k.wasted.Add(wastedFor))
}

// serverPause is a time in which the authorization server as a whole is not
// asked by this process.
type serverPause struct {
	until time.Time
	why   *bitrix.Error
}

// pauseServer keeps what the authorization server, or the limiter before it, has
// said about all portals.
func (c *Caller) pauseServer(e *bitrix.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Wait.Until.After(c.server.until) {
		c.server = serverPause{until: e.Wait.Until, why: e}
	}
}

// serverPaused returns why the authorization server is not asked now, or nil.
func (c *Caller) serverPaused() *bitrix.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.Now().Before(c.server.until) {
		return nil
	}
	return c.server.why
}
