// The one error type of this package, and the classes that decide what follows.

package bitrix

import (
	"errors"
	"time"
)

// Class says what may be done about a failed call.
type Class string

const (
	// Validation: the registration itself is refused; a repeat changes nothing.
	Validation Class = "validation"
	// Conflict: the bot with that CODE belongs to another application.
	Conflict Class = "conflict"
	// Limit: the portal refused before doing anything, because of its limits.
	Limit Class = "limit"
	// Token: the access token is no longer valid; a renewed one may be
	// ([AuthServer.Refresh]).
	Token Class = "token"
	// Blocked: this portal answers nothing to these credentials until a person acts.
	Blocked Class = "blocked"
	// Ambiguous: the request was sent, and nothing says whether its work was done
	// or is still being done.
	Ambiguous Class = "ambiguous"
	// Transient: the call is known to be over or never to have begun, and a
	// repeat may succeed.
	Transient Class = "transient"
)

// This package's own codes, for calls that ended without a portal's answer.
const (
	CodeNotSent           = "NOT_SENT"           // given up before anything was sent
	CodeForbiddenEndpoint = "FORBIDDEN_ENDPOINT" // the endpoint rules refuse the host or its address
	CodeBadCall           = "BAD_CALL"           // the call cannot be put in a request; nothing was sent
	CodeDNS               = "DNS_ERROR"          // the host's name has no address, or could not be looked up
	CodeRefused           = "CONNECTION_REFUSED" // nobody listens
	CodeUnreachable       = "CONNECTION_FAILED"  // no connection for another reason
	CodeTLS               = "TLS_ERROR"          // no safe connection: certificate or handshake
	CodeTimeout           = "TIMEOUT"            // no answer, or not all of it, in time
	CodeCancelled         = "CANCELLED"          // the caller gave up after the request was sent
	CodeReset             = "CONNECTION_RESET"   // the connection ended before the answer
	CodeBadHTTP           = "BAD_HTTP_ANSWER"    // the answer is not HTTP
	CodeEmpty             = "EMPTY_ANSWER"       // an answer without a body
	CodeNotJSON           = "NOT_JSON"           // an HTML page or anything else that no REST method answers
	CodeTruncated         = "TRUNCATED_ANSWER"   // the answer ends too early
	CodeTooLarge          = "ANSWER_TOO_LARGE"   // the answer is over Config.MaxBody
	CodeUnexpectedResult  = "UNEXPECTED_RESULT"  // a success whose result is not the method's
	CodePortalMoved       = "PORTAL_MOVED"       // a redirect; see Error.Location
)

// Error is the only error type that calls of this package return. It never
// holds a credential. Where the caller's context ended the call, Is finds
// [context.Canceled] or [context.DeadlineExceeded] in it.
type Error struct {
	Class       Class
	Code        string // as the portal gave it, or one of this package's own (see Code…)
	Description string // one line for a person, scrubbed and cut to 300 characters
	Status      int    // HTTP status, 0 when there was no answer of its own
	Method      string // REST method, or [MethodToken]
	Host        string // the portal's host, or the authorization server's
	Credential  string // fingerprint of the [Access] that the call was made with; empty when there was none
	Location    string // with CodePortalMoved: "scheme://host" of the redirect, or nothing when it names no other
	Wait        *Wait  // set when nothing is wrong with what was asked: it cannot be had now
	BotID       int64  // with Conflict: the bot that stands in the way, when it is known
	Err         error  // the cause below, if any; scrubbed too
}

// Wait says when to ask again for what cannot be had now. What waits costs no
// attempt: the hindrance is the same for everybody.
type Wait struct {
	Until time.Time // ask again then
	Since time.Time // the hindrance began then
}

// Error is one line: method, host, code, description.
func (e *Error) Error() string {
	text := e.Method
	if e.Host != "" {
		text += " on " + e.Host
	}
	text += ": " + e.Code
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of the [*Error] in err, or "" when there is none.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}

// cause stands for an error from below: its identity for errors.Is, and a
// scrubbed text. The error itself cannot be reached, because texts of net/http
// quote what the server sent, which may be the credential.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string        { return c.text }
func (c *cause) Is(target error) bool { return errors.Is(c.err, target) }
