// The one error type of this package, and the classes that decide what follows.

package bitrix

// Class says what may be done about a failed call.
type Class string

const (
	// Validation: the registration itself is refused; a repeat changes nothing.
	Validation Class = "validation"
	// Limit: the portal refused before doing anything, because of its limits.
	Limit Class = "limit"
	// Token: the access token is no longer valid; a refreshed one may be.
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

// Error is the only error type that calls of this package return, apart from
// the caller's own cancelled context. It never holds a credential.
type Error struct {
	Class       Class
	Code        string // as the portal gave it, or one of this package's own (see Code…)
	Description string // one line for a person, scrubbed and cut to a bounded length
	Status      int    // HTTP status, 0 when there was no answer
	Method      string // REST method
	Host        string // the portal's host
	Err         error  // the cause below, if any; scrubbed too
}
