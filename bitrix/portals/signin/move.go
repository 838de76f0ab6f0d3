// Following a portal that was renamed.

package signin

import (
	"context"
	"errors"
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
	moved := a.portal
	moved.Access, moved.Name, moved.Credential = access, access.Host(), access.Fingerprint()
	f := a.c.move(moved)
	switch landed := f.await(ctx, a.spare(ctx)); {
	case landed && f.failed != nil:
		return a.tell(f.failed, e)
	case landed:
		moved = f.portal
	}
	// Where the store does not answer, the rules have allowed the new host all
	// the same: that it is stored only saves others this redirect.
	if a.spare(ctx) <= 0 {
		return a.tell(a.movedLater(ctx), e)
	}
	a.portal = moved
	return nil
}

// movedLater is the end of a call that has no time left to be repeated.
func (a *attempt) movedLater(ctx context.Context) *bitrix.Error {
	now := a.c.Now()
	return &bitrix.Error{
		Class: bitrix.Transient, Code: bitrix.CodePortalMoved, Description: "the portal was renamed; the call is made at its new host",
		Wait: &bitrix.Wait{Until: now, Since: now}, Err: ctx.Err(),
	}
}

const (
	// moveFor is how long a new host is tried to be stored.
	moveFor = 15 * time.Minute
	// moveOnce bounds one try.
	moveOnce = 5 * time.Second
)

// move stores a portal's new host, once for all calls that were sent there.
func (c *Caller) move(moved portals.Portal) *flight {
	return c.join("move "+moved.ID+" "+moved.Access.Endpoint(), func(ctx context.Context, land func(outcome)) {
		ctx, cancel := context.WithTimeout(ctx, moveFor)
		defer cancel()
		out, err := c.moveOnce(ctx, moved)
		if err == nil {
			if out.failed == nil {
				c.learn(out.portal)
			}
			land(out)
			return
		}
		// Its calls go on there; the store is told when it can be.
		c.Log.Warn("a portal's new host could not be stored yet", "portal", moved.Name, "err", err)
		c.learn(moved)
		land(outcome{portal: moved, goesOn: true})
		for wait := firstStorePause; err != nil && pause(ctx, wait) == nil; wait = min(2*wait, lastStorePause) {
			out, err = c.moveOnce(ctx, moved)
			switch {
			case err == nil && out.failed == nil:
				c.learn(out.portal)
			case err == nil:
				c.forget(moved.ID) // it may not be there after all: the next call tells why
			}
		}
	})
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
