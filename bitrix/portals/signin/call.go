// One call on its way through renewals and renames.

package signin

import (
	"context"
	"errors"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// Register registers a bot, as [bitrix.Client.Register] does.
func (c *Caller) Register(ctx context.Context, p *portals.Portal, b *bitrix.Bot) (bitrix.Registered, error) {
	return call(ctx, c.begin(ctx, p, bitrix.MethodRegister), func(a bitrix.Access) (bitrix.Registered, error) {
		return c.API.Register(ctx, a, b)
	})
}

// Bots lists a portal's bots, as [bitrix.Client.Bots] does.
func (c *Caller) Bots(ctx context.Context, p *portals.Portal, clientID string) ([]bitrix.ListedBot, bitrix.Time, error) {
	var at bitrix.Time
	bots, err := call(ctx, c.begin(ctx, p, bitrix.MethodBotList), func(a bitrix.Access) (bots []bitrix.ListedBot, err error) {
		bots, at, err = c.API.Bots(ctx, a, clientID)
		return bots, err
	})
	return bots, at, err
}

// Update changes a bot, as [bitrix.Client.Update] does.
func (c *Caller) Update(ctx context.Context, p *portals.Portal, botID int64, b *bitrix.Bot) (bitrix.Time, error) {
	return call(ctx, c.begin(ctx, p, bitrix.MethodUpdate), func(a bitrix.Access) (bitrix.Time, error) {
		return c.API.Update(ctx, a, botID, b)
	})
}

const (
	// maxRounds is how often a call looks for another token: the store's, which
	// may have expired too, and then a new one; once more for a change meanwhile.
	maxRounds = 3
	// maxHops is how many redirects one call follows. A portal is renamed now
	// and then; more than three names in a row are a fault.
	maxHops = 3
	// mostUseful is the rest of its time below which a call is not repeated but
	// put off: a batch is made to end within 20 s.
	mostUseful = 20 * time.Second
)

// attempt is one call, with all its repeats.
type attempt struct {
	c      *Caller
	method string
	home   portals.Portal // as it is known
	portal portals.Portal // as it is to be called next: home, or where a redirect leads
	fresh  bool           // its token was issued during this call
	sent   int            // requests
	rounds int
	places []string      // where it was called before a redirect
	useful time.Duration // a shorter rest of the time is not used
}

// begin begins a call.
func (c *Caller) begin(ctx context.Context, p *portals.Portal, method string) *attempt {
	a := &attempt{c: c, method: method}
	a.goHome(c.newest(p))
	if deadline, ok := ctx.Deadline(); ok {
		// Half of a short time is useful, or nothing ever would be.
		a.useful = min(mostUseful, time.Until(deadline)/2)
	}
	return a
}

// goHome has a portal called where it is known to be.
func (a *attempt) goHome(p portals.Portal) { a.home, a.portal = p, p }

// away reports whether a redirect leads elsewhere than where the portal is known
// to be.
func (a *attempt) away() bool { return a.portal.Access.Endpoint() != a.home.Access.Endpoint() }

// charge tells of a request to come, if it is a repeat: the first has its leave.
func (a *attempt) charge(ctx context.Context) {
	if a.sent++; a.sent > 1 && a.c.Charge != nil {
		p := a.home
		a.c.Charge(ctx, &p, 1)
	}
}

// call sends until there is an answer that no renewal and no move can mend.
func call[T any](ctx context.Context, a *attempt, send func(bitrix.Access) (T, error)) (T, error) {
	for {
		var out T
		e := a.c.refused(&a.portal)
		if e == nil {
			a.charge(ctx)
			var err error
			if out, err = send(a.portal.Access); err == nil {
				a.arrive(ctx)
				return out, nil
			}
			e = a.asError(err)
		}
		if e = a.mend(ctx, e); e != nil {
			return out, e
		}
	}
}

// mend does something about a failed call, and returns nil when it can be
// repeated, and otherwise what its caller is told.
func (a *attempt) mend(ctx context.Context, e *bitrix.Error) *bitrix.Error {
	switch {
	case e.Class == bitrix.Token:
		return a.renew(ctx, e)
	case e.Code == bitrix.CodePortalMoved && e.Location != "":
		return a.follow(ctx, e)
	case a.away():
		return a.judge(ctx, e)
	}
	return e
}

// renew gets another token for a call that was refused with the present one.
func (a *attempt) renew(ctx context.Context, e *bitrix.Error) *bitrix.Error {
	c := a.c
	if a.fresh {
		c.waste(a.home)
	}
	if c.wasteful(a.portal.ID) {
		return a.refusedAway(uselessToken(e), e)
	}
	if newer := c.newest(&a.home); newer.Generation > a.home.Generation && a.spare(ctx) > 0 {
		a.goHome(newer) // it came while the call was on its way
		return nil
	}
	// The token is what was refused, wherever it was: only where the portal is
	// known to be is remembered.
	c.refuse(a.home, e)
	if failed := c.failure(a.portal.ID); failed != nil {
		return a.refusedAway(failed, e)
	}
	refused := a.home
	f := c.join("renew "+refused.ID, func(ctx context.Context, land func(outcome)) {
		began := c.Now()
		out := (&renewal{c: c, refused: refused, refusal: e}).run(ctx)
		c.conclude(refused, began, &out)
		land(out)
	})
	landed := f.await(ctx, a.spare(ctx))
	switch a.rounds++; {
	case landed && f.failed != nil:
		_ = c.failure(a.portal.ID) // so that it is known to be told
		return a.refusedAway(f.failed, e)
	case !landed || a.spare(ctx) <= 0 || a.rounds > maxRounds:
		return a.tell(a.pending(ctx, f), e)
	}
	a.goHome(f.portal)
	a.fresh = f.fresh
	return nil
}

// spare is how much time a call has left beyond what its repeat needs.
func (a *attempt) spare(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline) - a.useful
	}
	return patience
}

// pending is the end of a call that a renewal did not come in time for. The
// longer the renewal takes, the later the call is to come back.
func (a *attempt) pending(ctx context.Context, f *flight) *bitrix.Error {
	now := a.c.Now()
	began := now
	if f != nil {
		began = f.began
	}
	wait := min(max(now.Sub(began), 2*time.Second), 15*time.Second)
	return &bitrix.Error{
		Class: bitrix.Transient, Code: CodePending, Description: "the access token is being renewed",
		Wait: &bitrix.Wait{Until: now.Add(wait), Since: a.c.hindered(a.portal.ID, began)}, Err: ctx.Err(),
	}
}

// tell completes an error for the caller. e is the portal's own refusal: its
// status says whether the portal was asked at all.
func (a *attempt) tell(failed, e *bitrix.Error) *bitrix.Error {
	told := *failed
	told.Method, told.Status = a.method, e.Status
	if told.Host == "" {
		told.Host = a.home.Access.Host()
	}
	if told.Credential == "" {
		told.Credential = a.home.Access.Fingerprint()
	}
	return &told
}

// asError returns an error of the API as what it is.
func (a *attempt) asError(err error) *bitrix.Error {
	if e, ok := errors.AsType[*bitrix.Error](err); ok {
		return e
	}
	return a.tell(&bitrix.Error{
		Class: bitrix.Ambiguous, Code: bitrix.CodeCancelled, Description: "the call was broken off", Err: err,
	}, &bitrix.Error{})
}
