// What the last error of a put-off task says that its row waits for. It is all that
// the queue keeps of it.

package outlook

import (
	"strings"

	"botfleet/bitrix/portals/signin"
)

// Reason is the reason in a put-off task's last error, without its time, and in the
// same words for all portals where the name of one is nothing to tell them apart by.
func Reason(lastErr string) string {
	if i := strings.LastIndex(lastErr, ", until "); i > 0 {
		lastErr = lastErr[:i]
	}
	if strings.HasPrefix(lastErr, "attempt ") {
		if _, rest, ok := strings.Cut(lastErr, ": "); ok {
			return "the next attempt after " + rest
		}
	}
	if why, ok := WaitsForKey(lastErr); ok {
		return why
	}
	// An authorization server that is left alone was so for what it said last.
	return strings.Replace(lastErr, leftAlone, "", 1)
}

// leftAlone is in the reason of a row whose renewal was not even tried, before the
// answer to the last one that was.
const leftAlone = "the authorization server is left alone for a while; last time: "

const (
	// KeyWait is how the reason of a row begins whose portal's credentials did not
	// open for the worker that looked last.
	KeyWait = "credentials do not open: "
	// TokenWait is how that of a row begins that waits for a new token.
	TokenWait = "waits for a new token: " //nolint:gosec // no credential, but words
)

// What stands before and after the portal's name in the last error of a row whose
// credentials do not open; see [portals.SealedError].
const sealedFirst, sealedThen = "credentials of portal ", " do not open: "

// WaitsForKey says whether a put-off row waits for a worker whose key opens its
// portal's credentials, and why: the same words for all portals under one key.
func WaitsForKey(lastErr string) (why string, ok bool) {
	_, after, ok := strings.Cut(lastErr, sealedFirst)
	if !ok {
		return "", false
	}
	_, why, ok = strings.Cut(after, sealedThen)
	if i := strings.LastIndex(why, ", until "); i > 0 {
		why = why[:i]
	}
	return KeyWait + why, ok
}

// WaitsForToken says whether a put-off row waits for a new token, and why.
func WaitsForToken(lastErr string) (why string, ok bool) {
	return strings.CutPrefix(Reason(lastErr), TokenWait)
}

// BeingRenewed reports whether the new token is about to come, by why there is none:
// that is what happens once an hour, and keeps nothing.
func BeingRenewed(why string) bool {
	return strings.HasPrefix(why, signin.CodePending+": the access token ")
}
