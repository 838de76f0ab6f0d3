// One renewal of a portal's token: from a refusal to a stored pair.

package signin

import (
	"context"
	"errors"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

const (
	// renewWithin bounds a renewal until the authorization server is asked.
	renewWithin = 45 * time.Second
	// lookEvery is how often, while another process has the lock, the store is
	// asked whether that has brought new credentials.
	lookEvery = time.Second
	// askWithin is how long after the lock was asked for the request may begin,
	// and answerWithin how long it may take, 2 s in line and 20 s for the answer
	// of [bitrix.AuthServer] included: the lock must outlast both.
	askWithin    = 10 * time.Second
	answerWithin = 25 * time.Second
	// noteWithin bounds the taking back of a note.
	noteWithin = 5 * time.Second
	// maxUnknown is how many trades of one pair may end unknown. The old pair is
	// tried once more after the first; after the second it is surely dead.
	maxUnknown = 2
)

// renewal is the work of one goroutine.
type renewal struct {
	c       *Caller
	refused portals.Portal // with the credential that the portal did not accept
	refusal *bitrix.Error
	portal  portals.Portal // as the store has it
	held    bool           // it was held when the renewal began
	locked  time.Time      // the lock is ours since then, or a little later
	earlier int            // trades of this pair that ended unknown before
}

// run renews, unless somebody else has done so.
func (r *renewal) run(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	r.portal = r.refused
	if out := r.look(ctx); out != nil {
		return *out
	}
	r.held = r.portal.Held != nil
	if out := r.cannot(); out != nil {
		return *out
	}
	unlock, out := r.lock(ctx)
	if out != nil {
		return *out
	}
	end, again := r.trade(ctx)
	// A pair whose trade ended unknown, or was refused, is left alone by
	// everybody until the lock ends by itself.
	if end.failed == nil || again {
		unlock()
	}
	return end
}

// look reads the portal. It returns an outcome when there is nothing left to
// renew.
func (r *renewal) look(ctx context.Context) *outcome {
	p, err := r.c.Store.Get(ctx, r.refused.ID)
	switch {
	case errors.Is(err, portals.ErrUnknown):
		return r.blocked(removed())
	case errors.Is(err, portals.ErrSealed):
		return r.wait(sealedWait, CodePending, err.Error(), nil)
	case err != nil:
		return r.trouble("read the portal's credentials", err)
	}
	r.portal = p
	switch {
	case p.Gone != nil:
		return r.blocked(gone(p.Gone))
	case r.renewed():
		return &outcome{portal: p}
	case p.Held != nil && !r.held && !r.locked.IsZero():
		// Another process was told that there is no new pair.
		return r.wait(waitForHold, CodePending, "the portal is being held", nil)
	}
	return nil
}

// renewed reports whether the store's credential is another one than the one
// that was refused. The same token at another host of the same generation is
// none: that host may be known to this process alone.
func (r *renewal) renewed() bool {
	now, was := r.portal.Access, r.refused.Access
	if r.portal.Generation > r.refused.Generation {
		return now.Fingerprint() != was.Fingerprint()
	}
	_, token := now.Reveal()
	_, old := was.Reveal()
	return token != old || now.Account() != was.Account()
}

// cannot returns why this portal's credential cannot be renewed at all, or why
// it is not tried now.
func (r *renewal) cannot() *outcome {
	switch {
	case r.portal.Access.Webhook():
		return r.blocked(deadWebhook(r.refusal, r.portal))
	case r.portal.Refresh.Reveal() == "":
		return r.blocked(noRefreshToken(r.refusal, r.portal))
	case r.c.Auth == nil:
		return r.blocked(noApplication(r.refusal, r.c.WithoutAuth))
	}
	if why := r.c.serverPaused(); why != nil {
		return r.serverWait(why)
	}
	return nil
}

// lock waits for the fleet's lock, and looks whether its present holder, or the
// last one, has done the work.
func (r *renewal) lock(ctx context.Context) (unlock func(), out *outcome) {
	for {
		r.locked = r.c.Now()
		try, cancel := context.WithTimeout(ctx, lookEvery)
		unlock, err := r.c.Locks.Lock(try, r.refused.ID)
		taken := err != nil && try.Err() != nil
		cancel()
		switch {
		case err != nil && !taken:
			return nil, r.trouble("lock the portal for a renewal", err)
		case ctx.Err() != nil:
			if err == nil {
				unlock()
			}
			return nil, r.wait(soon, CodePending, "the access token is being renewed elsewhere", nil)
		}
		out := r.look(ctx)
		switch {
		case err == nil && out != nil:
			unlock()
			return nil, out
		case err == nil:
			return unlock, nil
		case out != nil:
			return nil, out
		}
	}
}

// trade asks for a new pair and stores it. again says that the pair was
// certainly not traded and may be tried by anybody.
func (r *renewal) trade(ctx context.Context) (out outcome, again bool) {
	if out := r.note(ctx); out != nil {
		return *out, true
	}
	if r.tooLate(ctx) {
		r.unnote(ctx)
		return *r.wait(soon, CodePending, "the process was held up before it could ask for a new token", nil), true
	}
	tokens, failed := r.ask(ctx)
	if failed != nil {
		return r.refusedBy(ctx, failed)
	}
	r.c.Meter.Refreshed(Renewed)
	r.c.authWorks()
	return r.settle(ctx, tokens), false
}

// note tells the store that the pair is about to be traded.
func (r *renewal) note(ctx context.Context) *outcome {
	earlier, err := r.c.Store.Renewing(ctx, r.portal.ID, r.portal.Generation)
	switch {
	case errors.Is(err, portals.ErrChanged):
		if out := r.look(ctx); out != nil {
			return out
		}
		return r.wait(soon, CodePending, "the portal's credentials were changed meanwhile", nil)
	case errors.Is(err, portals.ErrUnknown):
		return r.blocked(removed())
	case err != nil:
		r.unnote(ctx) // it may be there, with no trade behind it
		return r.trouble("note the renewal", err)
	case earlier >= maxUnknown:
		r.unnote(ctx)
		return r.blocked(lostTwice(r.portal))
	}
	r.earlier = earlier
	return nil
}

// unnote takes the note back. One that stays counts as a trade whose end nobody
// knows, which at worst has the pair tried less often.
func (r *renewal) unnote(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	err := r.c.Store.NotRenewed(ctx, r.portal.ID, r.portal.Generation)
	if err != nil && !errors.Is(err, portals.ErrChanged) && !errors.Is(err, portals.ErrUnknown) {
		r.c.Log.Warn("the note of a renewal that did not happen could not be taken back", "portal", r.portal.Name, "err", err)
	}
}

// tooLate reports whether the lock may end before an answer would come. The
// time is compared by the wall clock: a process that was frozen or suspended
// does not notice by its timers.
func (r *renewal) tooLate(ctx context.Context) bool {
	return ctx.Err() != nil || r.c.Now().Round(0).Sub(r.locked.Round(0)) > askWithin
}

// ask asks the authorization server. Closing does not break it off: the answer
// would be lost.
func (r *renewal) ask(ctx context.Context) (bitrix.Tokens, *bitrix.Error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	tokens, err := r.c.Auth.Refresh(asking, r.portal.Refresh)
	if err == nil {
		return tokens, nil
	}
	if e, ok := errors.AsType[*bitrix.Error](err); ok {
		return bitrix.Tokens{}, e
	}
	return bitrix.Tokens{}, &bitrix.Error{
		Class: bitrix.Ambiguous, Code: bitrix.CodeUnexpectedResult,
		Description: "the authorization server's answer was not understood", Err: err,
	}
}

// refusedBy says what follows from a request that brought no pair.
func (r *renewal) refusedBy(ctx context.Context, e *bitrix.Error) (out outcome, again bool) {
	switch {
	case e.Class == bitrix.Ambiguous:
		r.c.Meter.Refreshed(Lost)
		r.c.authFailed(e)
		rest := LockTime - r.c.Now().Sub(r.locked)
		return *r.wait(max(rest, soon), CodeUnsure, "the authorization server's answer was lost ("+said(e)+"); the old refresh token is tried once more", e), false
	case e.Wait != nil:
		r.c.Meter.Refreshed(PutOff)
		r.c.authFailed(e)
		r.unnote(ctx)
		if e.Status == 0 { // not asked at all: so it is for everybody. An answer is about this portal.
			r.c.pauseServer(e)
		}
		return *r.serverWait(e), true
	case e.Class == bitrix.Blocked:
		r.c.Meter.Refreshed(Refused)
		r.unnote(ctx)
		if newer := r.meanwhile(ctx); newer != nil {
			return *newer, true
		}
		return *r.blocked(notAccepted(e, r.portal, r.earlier > 0)), false
	}
	r.c.Meter.Refreshed(PutOff)
	r.c.authFailed(e)
	r.unnote(ctx)
	return *r.wait(r.backoff(), e.Code, "the access token could not be renewed: "+said(e), e), true
}

// meanwhile looks for credentials that came while the server was asked: a
// process that was frozen on the way asks with a pair that is not in use any more.
func (r *renewal) meanwhile(ctx context.Context) *outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	p, err := r.c.Store.Get(ctx, r.portal.ID)
	if err != nil {
		return nil
	}
	r.portal = p
	if p.Gone != nil || !r.renewed() {
		return nil
	}
	return &outcome{portal: p}
}

// Backoff of renewals that the authorization server does not grant just now.
const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute
)

// backoff doubles with every try of this portal.
func (r *renewal) backoff() time.Duration {
	return min(firstBackoff<<min(r.c.tries(r.portal.ID), 10), lastBackoff)
}
