// Error codes as labels. Portals make them up, so their number is bounded here.

package metrics

import (
	"strings"
	"sync"
)

const (
	// mostCodes is how many codes get a label of their own: about as many as
	// are documented and as the client adds.
	mostCodes = 64
	// longestCode is twice as long as any that is documented.
	longestCode = 48
)

// codes knows which error codes have a label: the first that came.
type codes struct {
	mu    sync.Mutex
	known map[string]struct{}
}

func newCodes() *codes { return &codes{known: map[string]struct{}{}} }

// label is the label of an error code: itself in upper case, as portals write
// codes in either, or "other".
func (c *codes) label(code string) string {
	code = strings.ToUpper(code)
	if !isCode(code) {
		return other
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[code]; ok {
		return code
	}
	if len(c.known) >= mostCodes {
		return other
	}
	c.known[code] = struct{}{}
	return code
}

// isCode reports whether a text looks like a code, and not like a sentence.
func isCode(s string) bool {
	if s == "" || len(s) > longestCode {
		return false
	}
	for _, r := range s {
		if !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_') {
			return false
		}
	}
	return true
}
