// Following a portal that was renamed.

package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// follow takes a call to where a redirect leads. The redirect ran nothing.
func (a *attempt) follow(ctx context.Context, e *bitrix.Error) *bitrix.Error {
	a.places = append(a.places, a.portal.Access.Endpoint())
	scheme, host, _ := strings.Cut(e.Location, "://")
	access, err := a.portal.Access.At(scheme, host)
	if err == nil {
		err = a.c.Endpoints.CheckMove(a.portal.Access, e.Location)
	}
	switch {
	case err != nil:
		return a.tell(mayNotMove(host, err), e)
	case slices.Contains(a.places, access.Endpoint()):
		return a.tell(notFollowed(host, "it sends back here"), e)
	case len(a.places) > maxHops:
		return a.tell(notFollowed(host, "one redirect too many in a row"), e)
	}
	if why := a.c.barred(a.home.ID, access.Endpoint()); why != nil {
		return a.tell(why, e)
	}
	if a.spare(ctx) <= 0 {
		return a.tell(a.movedLater(ctx), e)
	}
	a.portal.Access, a.portal.Name, a.portal.Credential = access, access.Host(), access.Fingerprint()
	return nil
}

// judge says what becomes of a call that failed where a redirect has led it. Any
// portal can send its callers to any other: only a host that knows the
// credentials is where the portal is now.
func (a *attempt) judge(ctx context.Context, e *bitrix.Error) *bitrix.Error {
	switch {
	case e.Class == bitrix.Blocked:
		return a.refusedAway(block(e.Code, ""), e)
	case showsAcceptance(e):
		a.arrive(ctx)
	}
	return e
}

// showsAcceptance reports whether an error shows that the portal knows its
// caller: it is the portal's own, and about what was asked.
func showsAcceptance(e *bitrix.Error) bool {
	if e.Wait != nil || e.Status == 0 || e.Status == http.StatusUnauthorized {
		return false
	}
	switch strings.ToUpper(e.Code) {
	case "", bitrix.CodeBadCall, bitrix.CodeEmpty, bitrix.CodeNotJSON, bitrix.CodeTruncated, bitrix.CodeTooLarge:
		return false // nothing of the portal's was read
	case "QUERY_LIMIT_EXCEEDED", "ERROR_METHOD_NOT_FOUND":
		return false // said to callers whom the portal has not looked at yet
	}
	switch e.Class {
	case bitrix.Validation, bitrix.Conflict, bitrix.Limit, bitrix.Transient:
		return true
	case bitrix.Token, bitrix.Blocked, bitrix.Ambiguous:
	}
	return false
}

// refusedAway completes an error for the caller. Where a redirect has led to it,
// the portal is held under the credentials that are known, and the words say so.
func (a *attempt) refusedAway(failed, e *bitrix.Error) *bitrix.Error {
	told, home, there := a.tell(failed, e), a.home.Access.Host(), a.portal.Access.Host()
	if !a.away() { // it may be remembered from there
		there = cmp.Or(e.Host, home)
	}
	if told.Class != bitrix.Blocked || there == home {
		return told
	}
	if failed.Code == e.Code { // of the host there, not of the authorization server
		told.Code = bitrix.CodePortalMoved
	}
	told.Description = notAcceptedThere(home, there, e.Code, failed.Description)
	return told
}

// arrive keeps the place where a call was accepted, if a redirect has led there.
// It waits a little for the store: until it is known, others go the long way.
func (a *attempt) arrive(ctx context.Context) {
	if !a.away() {
		return
	}
	home := a.home
	a.goHome(a.portal)
	if a.c.knows(a.portal) {
		return
	}
	switch f := a.c.move(home, a.portal); {
	case !f.await(ctx, patience): // it comes later
	case f.failed != nil:
		a.home = home
	default:
		a.goHome(f.portal)
	}
}

// movedLater is the end of a call that has no time left to be repeated.
func (a *attempt) movedLater(ctx context.Context) *bitrix.Error {
	now := a.c.Now()
	return &bitrix.Error{
		Class: bitrix.Transient, Code: bitrix.CodePortalMoved, Description: "the portal answers with a redirect, which is followed when the call is made again",
		Wait: &bitrix.Wait{Until: now, Since: now}, Err: ctx.Err(),
	}
}

const (
	// moveFor is how long a new host is tried to be stored.
	moveFor = 15 * time.Minute
	// moveOnce bounds one try.
	moveOnce = 5 * time.Second
)

// move stores a portal's new host, once for all calls that were accepted there.
func (c *Caller) move(home, moved portals.Portal) *flight {
	return c.join("move "+moved.ID+" "+moved.Access.Endpoint(), func(ctx context.Context, land func(outcome)) {
		ctx, cancel := context.WithTimeout(ctx, moveFor)
		defer cancel()
		out, err := c.moveOnce(ctx, moved)
		if err == nil {
			c.settleMove(home, moved, out)
			land(out)
			return
		}
		// Its calls go on there; the store is told when it can be.
		c.Log.Warn("a portal's new host could not be stored yet", "portal", moved.Name, "err", err)
		c.learn(moved)
		land(outcome{portal: moved, goesOn: true})
		for wait := firstStorePause; err != nil && pause(ctx, wait) == nil; wait = min(2*wait, lastStorePause) {
			out, err = c.moveOnce(ctx, moved)
			if err == nil {
				c.settleMove(home, moved, out)
			}
		}
	})
}

// settleMove takes over what the store says of a move.
func (c *Caller) settleMove(home, moved portals.Portal, out outcome) {
	if out.failed == nil {
		c.learn(out.portal)
		return
	}
	c.forget(moved.ID) // what was called is not where the portal may be
	c.bar(home, moved.Access.Endpoint(), out.failed)
	c.Log.Warn("a portal's new host is not stored", "portal", home.Name, "reason", out.failed.Description)
}

// moveOnce stores a new host. An error means that the store did not answer.
func (c *Caller) moveOnce(ctx context.Context, moved portals.Portal) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, moveOnce)
	defer cancel()
	p, err := c.Store.Move(ctx, moved.ID, moved.Generation, moved.Access)
	if errors.Is(err, portals.ErrChanged) {
		p, err = c.Store.Get(ctx, moved.ID) // newer credentials, with a host of their own
		return outcome{portal: p}, err
	}
	out := outcome{portal: p}
	switch conflict := (*portals.ConflictError)(nil); {
	case errors.As(err, &conflict):
		out.portal, out.failed = moved, notFollowed(moved.Name, conflict.Error())
		return out, nil
	case errors.Is(err, portals.ErrUnknown):
		out.portal, out.failed = moved, removed()
		return out, nil
	case err != nil:
		return out, err
	}
	c.Meter.Moved()
	c.Log.Info("a portal was renamed", "portal", p.Name)
	return out, nil
}
