// What becomes of a new pair.

package signin

import (
	"context"
	"errors"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// How long a new pair is tried to be stored. It is all that opens the portal, so
// a process that lives on does not give it up for an outage; one that is being
// closed cannot wait that long.
const (
	storeFor        = 15 * time.Minute
	storeAfterClose = 20 * time.Second
	storeOnce       = 10 * time.Second // one try
	firstStorePause = 100 * time.Millisecond
	lastStorePause  = 2 * time.Second
)

// settle stores a pair, at the portal's new host if it may have it, and at the
// old one otherwise: a pair that is not stored is lost.
func (r *renewal) settle(ctx context.Context, tokens bitrix.Tokens) outcome {
	old := r.portal
	if !sameMember(old.MemberID, tokens.MemberID) {
		return *r.blocked(strangeMember(old))
	}
	stay, err := bitrix.NewOAuth(old.Access.Endpoint(), tokens.Access.Reveal())
	if err != nil { // the server gave a token that no portal would take
		rest := LockTime - r.c.Now().Sub(r.locked)
		return *r.wait(max(rest, soon), CodeUnsure, "the authorization server's answer was not understood: "+err.Error(), nil)
	}
	access, objection := r.place(tokens, stay)
	refresh := tokens.Refresh
	if refresh.Reveal() == "" {
		refresh = old.Refresh
	}
	out, err := r.keep(ctx, access, refresh, tokens.MemberID)
	if conflict := (*portals.ConflictError)(nil); errors.As(err, &conflict) {
		objection = foreign(old, access, conflict)
		if out, err = r.keep(ctx, stay, refresh, tokens.MemberID); errors.As(err, &conflict) {
			out, err = r.keep(ctx, stay, refresh, "") // the member_id is somebody else's
		}
	}
	switch {
	case err != nil:
		return *r.unkept(err)
	case objection != nil && out.fresh:
		r.portal = out.portal
		return *r.blocked(objection)
	}
	return out
}

// place is the new token at the host that came with it, or where it was, with
// the reason why the new host is not used.
func (r *renewal) place(tokens bitrix.Tokens, stay bitrix.Access) (bitrix.Access, *bitrix.Error) {
	if strings.TrimSpace(tokens.Endpoint) == "" {
		return stay, nil
	}
	access, err := bitrix.NewOAuth(tokens.Endpoint, tokens.Access.Reveal())
	if err != nil {
		return stay, strangeEndpoint(r.portal, "", err)
	}
	if access.Host() == stay.Host() {
		return stay, nil // and keep its scheme
	}
	if err := r.c.Endpoints.CheckMove(r.portal.Access, access.Scheme()+"://"+access.Host()); err != nil {
		return stay, strangeEndpoint(r.portal, access.Host(), err)
	}
	return access, nil
}

// sameMember reports whether two member_ids are one, or one is not known.
func sameMember(x, y string) bool {
	x, y = strings.TrimSpace(x), strings.TrimSpace(y)
	return x == "" || y == "" || strings.EqualFold(x, y)
}

// keep stores a pair, however often that takes. Its errors are definite: the
// pair belongs nowhere, or the time is over.
func (r *renewal) keep(ctx context.Context, access bitrix.Access, refresh bitrix.Secret, memberID string) (outcome, error) {
	ctx = context.WithoutCancel(ctx)
	deadline, closing := r.c.Now().Add(storeFor), false
	for wait := firstStorePause; ; wait = min(2*wait, lastStorePause) {
		out, err := r.keepOnce(ctx, access, refresh, memberID)
		conflict := (*portals.ConflictError)(nil)
		switch {
		case err == nil, errors.As(err, &conflict), errors.Is(err, portals.ErrUnknown):
			return out, err
		case wait < lastStorePause && 2*wait >= lastStorePause: // once
			r.c.Log.Warn("a new pair of tokens could not be stored yet", "portal", r.portal.Name, "err", err)
		}
		if !closing && r.c.ctx.Err() != nil {
			deadline, closing = r.c.Now().Add(storeAfterClose), true
		}
		if !r.c.Now().Add(wait).Before(deadline) {
			return outcome{}, err
		}
		_ = pause(ctx, wait)
	}
}

// keepOnce stores a pair, or finds out that it is stored, or not wanted any more.
func (r *renewal) keepOnce(ctx context.Context, access bitrix.Access, refresh bitrix.Secret, memberID string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, storeOnce)
	defer cancel()
	p, err := r.c.Store.Renew(ctx, r.portal.ID, r.portal.Generation, access, refresh, memberID)
	if err == nil {
		return outcome{portal: p, fresh: true}, nil
	}
	if !errors.Is(err, portals.ErrChanged) {
		return outcome{}, err
	}
	// Newer credentials were imported, or an earlier try was stored after all.
	p, err = r.c.Store.Get(ctx, r.portal.ID)
	if err != nil {
		return outcome{}, err
	}
	_, ours := access.Reveal()
	_, token := p.Access.Reveal()
	return outcome{portal: p, fresh: token == ours}, nil
}

// unkept is the end of a renewal whose pair could not be stored.
func (r *renewal) unkept(err error) *outcome {
	if errors.Is(err, portals.ErrUnknown) {
		return r.blocked(removed())
	}
	r.c.Log.Error("a new pair of tokens could not be stored and is lost", "portal", r.portal.Name, "err", err)
	return r.trouble("store the new tokens", err)
}
