// The names of a portal's keys in Redis. Those of one portal share a cluster's
// slot.

package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
)

// longestKeyPart bounds what a portal's id or a CODE takes in a key; what is
// longer is replaced by its hash.
const longestKeyPart = 200

// portalKeys are a portal's keys but for the sending marks.
type portalKeys struct {
	gate string // hash: all of the state that is not a line or a mark
	line string // sorted set: waiting rows' codes by their order
	asks string // sorted set: the same codes by when they are to ask again, in µs
}

func keysOf(portal string) portalKeys {
	prefix := keyPrefix(portal)
	return portalKeys{gate: prefix + "gate", line: prefix + "line", asks: prefix + "asks"}
}

func keyPrefix(portal string) string { return "botfleet:{" + hashTag(portal) + "}:" }

// markKeys are the keys of sending marks, botfleet:{PORTAL}:sending:CODE.
func markKeys(portal string, codes []string) []string {
	prefix := keyPrefix(portal) + "sending"
	keys := make([]string, len(codes))
	for i, code := range codes {
		if len(code) > longestKeyPart {
			keys[i] = prefix + "#" + hashed(code)
			continue
		}
		keys[i] = prefix + ":" + code
	}
	return keys
}

// hashTag is the portal's id, or its hash when a cluster would not take the id
// as one tag.
func hashTag(portal string) string {
	if portal == "" || len(portal) > longestKeyPart || strings.ContainsAny(portal, "{}") {
		return "#" + hashed(portal)
	}
	return portal
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const budgetPrefix = "budget:"

// field is the name of a budget's field in the portal's hash. It holds no
// blanks and no semicolons, which divide what stands in other fields.
func (k budgetKey) field() string {
	way := "|direct"
	if k.batched {
		way = "|batched"
	}
	return budgetPrefix + url.QueryEscape(k.credential) + "|" + url.QueryEscape(k.method) + way
}

// budgetKeyOf reads a field's name.
func budgetKeyOf(field string) (k budgetKey, ok bool) {
	rest, ok := strings.CutPrefix(field, budgetPrefix)
	parts := strings.Split(rest, "|")
	if !ok || len(parts) != 3 || parts[2] != "direct" && parts[2] != "batched" {
		return budgetKey{}, false
	}
	credential, err := url.QueryUnescape(parts[0])
	if err != nil {
		return budgetKey{}, false
	}
	method, err := url.QueryUnescape(parts[1])
	if err != nil {
		return budgetKey{}, false
	}
	return budgetKey{credential: credential, method: method, batched: parts[2] == "batched"}, true
}
