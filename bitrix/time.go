// The "time" part of an answer: what the call cost.

package bitrix

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Time is what an answer says about its cost. Whatever in it is missing or
// absurd is zero; it is never an error.
type Time struct {
	// Operating is the work that this credential's method has done in the
	// portal's window so far. Valid only with HasOperating: most self-hosted
	// portals, and all refusals, leave it out.
	Operating    time.Duration
	HasOperating bool
	// ResetAt is when the oldest part of Operating leaves the window.
	ResetAt time.Time
	// Duration and Processing are the wall time of the call and of the method.
	// Portals cut the moments below them to whole seconds: Duration may be a
	// second too long.
	Duration, Processing time.Duration
}

const (
	// maxSaneSeconds is far above any sum of one window, and far below what
	// time.Duration cannot hold.
	maxSaneSeconds = 1e6
	// Moments outside 2001 to 2286 are not moments: ten-digit unix seconds.
	minSaneUnix = 1e9
	maxSaneUnix = 1e10
)

// parseTime reads the "time" object of a valid text; anything else gives the zero Time.
func parseTime(raw json.RawMessage) Time {
	var t Time
	eachMember(raw, func(key string, value json.RawMessage) {
		switch {
		case strings.EqualFold(key, "operating"):
			t.Operating, t.HasOperating = seconds(value)
		case strings.EqualFold(key, "duration"):
			t.Duration, _ = seconds(value)
		case strings.EqualFold(key, "processing"):
			t.Processing, _ = seconds(value)
		case strings.EqualFold(key, "operating_reset_at"):
			t.ResetAt = moment(value)
		}
	})
	return t
}

// moment reads unix seconds.
func moment(raw json.RawMessage) time.Time {
	at, ok := number(raw)
	if !ok || at < minSaneUnix || at >= maxSaneUnix {
		return time.Time{}
	}
	return time.Unix(int64(at), 0)
}

func seconds(raw json.RawMessage) (time.Duration, bool) {
	s, ok := number(raw)
	if !ok || s < 0 || s > maxSaneSeconds {
		return 0, false
	}
	return time.Duration(math.Round(s * float64(time.Second))), true
}

// number reads a JSON number, or one in quotes.
func number(raw json.RawMessage) (float64, bool) {
	text := strings.TrimSpace(scalar(raw))
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, false
	}
	return n, true
}
