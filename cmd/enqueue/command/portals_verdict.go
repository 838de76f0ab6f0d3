// What is wrong with a portal, in words that a person can act on.

package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
)

// checkStatus says in one word what became of a check, for programs.
type checkStatus string

const (
	statusOK          checkStatus = "ok"
	statusNoClientID  checkStatus = "no_client_id" // works, for rows that bring a CLIENT_ID
	statusNoScope     checkStatus = "no_scope"
	statusNoREST      checkStatus = "no_rest"
	statusDeadWebhook checkStatus = "dead_webhook"
	statusNoAccess    checkStatus = "no_access"   // the user or application may not
	statusExpired     checkStatus = "expired"     // tokens that cannot be renewed
	statusNotRenewed  checkStatus = "not_renewed" // tokens that could not be renewed just now
	statusOverloaded  checkStatus = "overloaded"
	statusDeleted     checkStatus = "deleted"
	statusMoved       checkStatus = "moved"
	statusUnreachable checkStatus = "unreachable"
	statusForbidden   checkStatus = "forbidden"
	statusBusy        checkStatus = "busy"
	statusHeld        checkStatus = "held"
	statusGone        checkStatus = "gone"
	statusSealed      checkStatus = "sealed"
	statusRemoved     checkStatus = "removed"
	statusError       checkStatus = "error"
)

// verdict is what a check has found.
type verdict struct {
	status checkStatus
	code   string // of the portal, or this program's own for a lost connection
	text   string // one line; may be empty when the portal is fine
}

// fine says that rows for the portal can be worked on.
func (v verdict) fine() bool { return v.status == statusOK || v.status == statusNoClientID }

// brokenOff says that a request came to nothing, as it does when the caller gives up.
func (v verdict) brokenOff() bool {
	return v.code == bitrix.CodeCancelled || v.code == bitrix.CodeNotSent || v.status == statusNotRenewed
}

func goneVerdict(g *portals.Gone) verdict {
	return verdict{statusGone, "PORTAL_GONE", "gone since " + day(g.Since) + ": " + g.Reason + "; the application must be installed again, or the portal removed"}
}

// unopened judges a portal whose credentials could not be read. An error is one
// of Redis, and no portal's.
func unopened(err error) (verdict, error) {
	if sealed, ok := errors.AsType[*portals.SealedError](err); ok {
		text := "its record was changed, or moved from another portal's name, and does not open: import the portal again with --lost-key"
		if sealed.KeyID != "" {
			text = "its credentials are sealed under key " + sealed.KeyID + ", which SECRETS_KEY does not hold: add that key, or import the portal again with --lost-key"
		}
		return verdict{statusSealed, "SEALED", text}, nil
	}
	if errors.Is(err, portals.ErrUnknown) {
		return verdict{statusRemoved, "PORTAL_UNKNOWN", "was removed meanwhile"}, nil
	}
	return verdict{}, err
}

func busyVerdict(d ratelimit.Decision) verdict {
	return verdict{statusBusy, "", fmt.Sprintf("its limits leave no room for a question before %s (%s): check it again later", d.Until.Local().Format("15:04:05"), d.Reason)}
}

// judge puts the end of a request into words.
func (c *checker) judge(p *portals.Portal, err error) verdict {
	if err == nil {
		if p.Kind == portals.Webhook && p.ClientID == "" {
			return verdict{statusNoClientID, "", "works, but brings no CLIENT_ID: rows must bring one, or import it with client_id"}
		}
		return verdict{status: statusOK}
	}
	e, ok := errors.AsType[*bitrix.Error](err)
	if !ok {
		return verdict{statusError, "", report.Clean(err.Error())}
	}
	v := verdict{code: e.Code}
	for _, words := range []func(*portals.Portal, *bitrix.Error) (checkStatus, string){c.tokenWords, credentialWords, c.placeWords} {
		if v.status, v.text = words(p, e); v.status != "" {
			return v
		}
	}
	v.status, v.text = statusError, "answers "+e.Code
	if e.Description != "" {
		v.text += ": " + e.Description
	}
	return v
}

// tokenWords is for access tokens that are not valid any more, and for what
// signing in has found out without asking the portal.
func (c *checker) tokenWords(p *portals.Portal, e *bitrix.Error) (checkStatus, string) {
	switch {
	case refusesApplication(e):
		return statusNotRenewed, "its token cannot be renewed: the authorization server refuses the application (" + e.Code + "): check BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET"
	case e.Wait != nil:
		return statusNotRenewed, e.Description + "; nothing is known to be wrong with the portal: check it again later"
	}
	switch strings.ToUpper(e.Code) {
	case signin.CodePortalGone:
		return statusGone, e.Description
	case signin.CodeUnknownPortal:
		return statusRemoved, e.Description
	case "INVALID_GRANT", "EXPIRED_TOKEN", "INVALID_TOKEN", signin.CodeLost, signin.CodeWrongPortal:
	default:
		return "", ""
	}
	switch {
	case p.Kind == portals.Webhook:
		return statusDeadWebhook, "the portal does not accept this webhook: have a new one made, and import it"
	case c.file && p.Refresh.Reveal() == "":
		return statusExpired, "the access token has expired, and there is no refresh_token: have the application installed again"
	case c.file:
		return statusExpired, "the access token has expired. Whether the refresh_token works is not tried, as a new pair that is not stored is lost: import the portal, and check it then"
	}
	return statusExpired, e.Description
}

// refusesApplication reports whether the authorization server answers nothing to
// this application, whatever the portal.
func refusesApplication(e *bitrix.Error) bool {
	return e.Wait != nil && slices.Contains([]string{"INVALID_CLIENT", "UNAUTHORIZED_CLIENT", "WRONG_CLIENT", "APPLICATION_NOT_FOUND"}, strings.ToUpper(e.Code))
}

// credentialWords is for what portals say of credentials.
func credentialWords(p *portals.Portal, e *bitrix.Error) (checkStatus, string) {
	webhook := p.Kind == portals.Webhook
	said := ""
	if e.Description != "" {
		said = " (" + e.Description + ")"
	}
	switch strings.ToUpper(e.Code) {
	case "INSUFFICIENT_SCOPE":
		if webhook {
			return statusNoScope, "the webhook lacks the scope imbot: tick it in the webhook's settings on the portal"
		}
		return statusNoScope, "the application lacks the scope imbot: add it in the application's settings, and have it installed again"
	case "ACCESS_DENIED":
		if e.Class == bitrix.Validation {
			return statusNoClientID, "brings no CLIENT_ID: rows must bring one, or import it with client_id"
		}
		return statusNoREST, "its plan has no REST, or REST is switched off: the customer must change that" + said
	case "PAYMENT_REQUIRED":
		return statusNoREST, "its plan or the application is not paid for any more" + said
	case "INVALID_CREDENTIALS", "NO_AUTH_FOUND", "AUTHORIZATION_ERROR":
		if webhook {
			return statusDeadWebhook, "the webhook is dead: it was deleted, or its secret was changed; have a new one made, and import it" + said
		}
		return statusNoAccess, "the portal does not accept the application's credentials: have it installed again" + said
	case "USER_ACCESS_ERROR":
		return statusNoAccess, "the user behind the credentials may not use them any more: have them made anew by a user who may" + said
	case "APPLICATION_NOT_FOUND":
		return statusNoAccess, "the application is not installed there any more: have it installed again" + said
	case "OVERLOAD_LIMIT":
		return statusOverloaded, "Bitrix24 has blocked this application or webhook by hand: only its support lifts that. Do not call it meanwhile"
	case "PORTAL_DELETED":
		return statusDeleted, "the portal was deleted: remove it"
	case "QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT":
		return statusBusy, "refuses for its limits: check it again later" + said
	case "INVALID_REQUEST":
		return statusError, "wants https: import it with an https address" + said
	}
	return "", ""
}

// exceptionsWords names the setting, unless a description does.
func exceptionsWords(description string) string {
	const setting = "ALLOW_INSECURE_PORTALS"
	if strings.Contains(description, setting) {
		return ""
	}
	return " (" + setting + " lists exceptions)"
}

// placeWords is for portals that did not answer at all, or elsewhere.
func (c *checker) placeWords(_ *portals.Portal, e *bitrix.Error) (checkStatus, string) {
	switch e.Code {
	case bitrix.CodePortalMoved:
		return statusMoved, c.movedWords(e)
	case bitrix.CodeForbiddenEndpoint:
		return statusForbidden, "forbidden address: " + e.Description + exceptionsWords(e.Description)
	case bitrix.CodeTimeout:
		return statusUnreachable, fmt.Sprintf("did not answer within %s", report.Duration(c.timeout))
	case bitrix.CodeDNS, bitrix.CodeRefused, bitrix.CodeTLS, bitrix.CodeUnreachable, bitrix.CodeReset, bitrix.CodeCancelled, bitrix.CodeNotSent:
		return statusUnreachable, "cannot be reached: " + e.Description
	case bitrix.CodeBadHTTP, bitrix.CodeEmpty, bitrix.CodeNotJSON, bitrix.CodeTruncated, bitrix.CodeTooLarge, bitrix.CodeUnexpectedResult:
		return statusUnreachable, "does not answer as a portal does: " + e.Description
	}
	return "", ""
}

func (c *checker) movedWords(e *bitrix.Error) string {
	if _, host, _ := strings.Cut(e.Location, "://"); c.file && host != "" {
		return "has moved to " + host + ": put that into the file (of a stored portal it is learned)"
	}
	return e.Description
}
