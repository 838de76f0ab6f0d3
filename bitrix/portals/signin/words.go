// How renewals and moves end when they bring nothing, in words for a person.

package signin

import (
	"cmp"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// Codes of errors that no portal and no server gives.
const (
	// CodePending: the token is being renewed, here or elsewhere; or the store
	// that is needed for it does not answer.
	CodePending = "TOKEN_RENEWAL_PENDING"
	// CodeUnsure: the authorization server's answer was lost. The old pair is
	// tried once more.
	CodeUnsure = "TOKEN_RENEWAL_UNSURE"
	// CodeLost: answers were lost twice. The application has to be installed again.
	CodeLost = "TOKEN_RENEWAL_LOST"
	// CodeWrongPortal: the refresh token is another portal's.
	CodeWrongPortal = "TOKEN_OF_ANOTHER_PORTAL"
	// CodeUnknownPortal: the portal was removed from the store.
	CodeUnknownPortal = "PORTAL_UNKNOWN"
	// CodePortalGone: the portal has uninstalled the application.
	CodePortalGone = "PORTAL_GONE"
)

// How long calls wait for what passes by itself.
const (
	soon        = 2 * time.Second
	storeWait   = 5 * time.Second // for a store that did not answer
	sealedWait  = time.Minute     // for a person to import the portal again, or to give the worker a key
	waitForHold = 2 * time.Second // for a hold that was just made
)

// blocked ends a renewal for good, until a person acts.
func (r *renewal) blocked(e *bitrix.Error) *outcome {
	e.Host, e.Credential = r.portal.Access.Host(), r.portal.Access.Fingerprint()
	r.c.Log.Warn("a portal's token cannot be renewed", "portal", e.Host, "code", e.Code, "reason", e.Description)
	return &outcome{portal: r.portal, failed: e}
}

// wait ends a renewal for now.
func (r *renewal) wait(d time.Duration, code, text string, below *bitrix.Error) *outcome {
	e := &bitrix.Error{
		Class: bitrix.Transient, Code: code, Description: text,
		Host: r.portal.Access.Host(), Credential: r.portal.Access.Fingerprint(),
		Wait: &bitrix.Wait{Until: r.c.Now().Add(d)},
	}
	if below != nil {
		e.Err = below
	}
	return &outcome{portal: r.portal, failed: e}
}

// serverWait ends a renewal until the authorization server can be asked again.
func (r *renewal) serverWait(e *bitrix.Error) *outcome {
	out := r.wait(max(e.Wait.Until.Sub(r.c.Now()), time.Second), e.Code, "the access token could not be renewed: "+said(e), e)
	out.failed.Wait.Since = e.Wait.Since
	return out
}

// trouble ends a renewal whose store or lock did not answer.
func (r *renewal) trouble(what string, err error) *outcome {
	r.c.Log.Warn("a portal's token could not be renewed", "portal", r.portal.Name, "err", err)
	return r.wait(storeWait, CodePending, what+": "+err.Error(), nil)
}

// said is what the authorization server has said: its code, and its words.
func said(e *bitrix.Error) string {
	if e.Description == "" {
		return "authorization server: " + e.Code
	}
	return "authorization server: " + e.Code + ": " + e.Description
}

func block(code, text string) *bitrix.Error {
	return &bitrix.Error{Class: bitrix.Blocked, Code: code, Description: text}
}

func removed() *bitrix.Error { return block(CodeUnknownPortal, "the portal has been removed") }

func gone(g *portals.Gone) *bitrix.Error { return block(CodePortalGone, g.Reason) }

func deadWebhook(refusal *bitrix.Error, p portals.Portal) *bitrix.Error {
	return block(refusal.Code, "the portal does not accept this webhook: make a new one on "+p.Access.Host()+" and import it")
}

func noRefreshToken(refusal *bitrix.Error, p portals.Portal) *bitrix.Error {
	return block(refusal.Code, "the access token is no longer accepted, and no refresh token is known: import "+
		p.Access.Host()+" with its refresh_token, or have the application installed there again")
}

func noApplication(refusal *bitrix.Error, why string) *bitrix.Error {
	return block(refusal.Code, "the access token is no longer accepted, and "+cmp.Or(why, "cannot be renewed because BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET are not set"))
}

func lostTwice(p portals.Portal) *bitrix.Error {
	return block(CodeLost, "the answer of the authorization server was lost twice: have the application installed again on "+p.Access.Host())
}

// notAccepted is the authorization server's no.
func notAccepted(e *bitrix.Error, p portals.Portal, lostBefore bool) *bitrix.Error {
	host := p.Access.Host()
	text := "the authorization server gives no new token for " + host + " (" + said(e) + ")"
	switch {
	case !isInvalidGrant(e.Code):
	case lostBefore:
		text = "the refresh token is not accepted, and the answer to an earlier renewal was lost: have the application installed again on " + host + " (" + said(e) + ")"
	default:
		text = "the refresh token is not accepted: have the application installed again on " + host + " (" + said(e) + ")"
	}
	told := block(e.Code, text)
	told.Err = e
	return told
}

func uselessToken(e *bitrix.Error) *bitrix.Error {
	return block(e.Code, "the portal refuses a token that was issued just now: have the application installed again, or the portal's clock and address checked")
}

func strangeMember(p portals.Portal) *bitrix.Error {
	return block(CodeWrongPortal, "the refresh token belongs to another portal than "+p.Access.Host()+
		" (another member_id came with the answer), and nothing of the answer was kept: have the application installed again")
}

func strangeEndpoint(p portals.Portal, host string, err error) *bitrix.Error {
	if host == "" {
		return block(bitrix.CodeForbiddenEndpoint, "the authorization server names a host for "+p.Access.Host()+
			" that cannot be called ("+err.Error()+"); the new token was kept at the old host")
	}
	return block(bitrix.CodeForbiddenEndpoint, "the authorization server names "+host+" as the new host of "+p.Access.Host()+
		", where the credentials must not go ("+err.Error()+"); the new token was kept at the old host")
}

func foreign(p portals.Portal, access bitrix.Access, conflict *portals.ConflictError) *bitrix.Error {
	return block(bitrix.CodeForbiddenEndpoint, "the authorization server names "+access.Host()+" as the host of "+p.Access.Host()+
		": "+conflict.Error()+"; the new token was kept at the old host")
}

func mayNotMove(host string, err error) *bitrix.Error {
	return block(bitrix.CodePortalMoved, "the portal has moved to "+host+", where its credentials must not go ("+err.Error()+
		"): if the new host is right, import the portal under it")
}

func notFollowed(host, why string) *bitrix.Error {
	return block(bitrix.CodePortalMoved, "the portal answers with a redirect to "+host+", which was not followed: "+why)
}

// notAcceptedThere is the end of a call whose redirect leads to a host that does
// not know its credentials.
func notAcceptedThere(home, there, code, more string) string {
	text := "the portal at " + home + " answers with a redirect to " + there + ", which does not accept these credentials (" + code +
		"); if the portal was renamed, import it again"
	if more != "" {
		text += ". " + more
	}
	return text
}

// isInvalidGrant reports whether a code means that the refresh token is dead.
func isInvalidGrant(code string) bool { return strings.EqualFold(code, "invalid_grant") }
