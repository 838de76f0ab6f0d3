// Holding portals that must not be called, and releasing them.

package portals

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"strings"
	"time"
)

//go:embed hold.lua
var holdSource string

var holdScript = changing(holdSource)

// maxReason bounds a stored reason, in bytes.
const maxReason = 500

// What stands between a stored hold's time and its reason.
const (
	byOperator = "! "
	byItself   = " "
)

// Hold marks a portal as not to be called, in a person's name: until Release or
// an Import of new credentials, but not until refreshed tokens or an install. A
// portal held already gets the new reason and keeps its time.
func (r *Registry) Hold(ctx context.Context, id, reason string, at time.Time) error {
	_, err := r.runHold(ctx, "hold", id, "", at, byOperator, filled(reason))
	return err
}

// HoldCredential holds a portal by itself, and only if credential (a
// [Portal.Credential]; empty for any) is still its present one: a worker that
// was refused with the old credentials must not undo what new ones released. A
// person's hold is left as it is, and so are the words of one with the same code
// ("CODE: what it means"). It reports whether the portal is held.
func (r *Registry) HoldCredential(ctx context.Context, id, credential, reason string, at time.Time) (held bool, err error) {
	n, err := r.runHold(ctx, "hold", id, credential, at, byItself, filled(reason))
	return n == 1, err
}

// Release ends a portal's hold, whoever made it, if there is one.
func (r *Registry) Release(ctx context.Context, id string) error {
	_, err := r.runHold(ctx, "release", id, "", time.Time{}, "", "")
	return err
}

func (r *Registry) runHold(ctx context.Context, what, id, credential string, at time.Time, mark, reason string) (int, error) {
	ms := max(at.UnixMilli(), 0) // a zero time lies before 1970
	args := append(r.announcing(), id, credential, strconv.FormatInt(ms, 10), mark, reason)
	n, err := holdScript.Run(ctx, r.redis, []string{keyRecords, keyHolds, keyVersion, keyChanges, keyMarks}, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("%s portal %s: %w", what, id, err)
	}
	if n < 0 {
		return 0, &UnknownError{Name: id}
	}
	return n, nil
}

// Held returns the holds by portal id.
func (r *Registry) Held(ctx context.Context) (map[string]Hold, error) {
	all, err := r.redis.HGetAll(ctx, keyHolds).Result()
	if err != nil {
		return nil, fmt.Errorf("read held portals: %w", err)
	}
	held := make(map[string]Hold, len(all))
	for id, text := range all {
		held[id] = decodeHold(text)
	}
	return held, nil
}

// CountHeld returns how many portals are held.
func (r *Registry) CountHeld(ctx context.Context) (int, error) {
	n, err := r.redis.HLen(ctx, keyHolds).Result()
	if err != nil {
		return 0, fmt.Errorf("count held portals: %w", err)
	}
	return int(n), nil
}

// decodeHold reads "unix-milliseconds reason", or "unix-milliseconds! reason"
// when a person made it.
func decodeHold(s string) Hold {
	since, reason, _ := strings.Cut(s, " ")
	digits, operator := strings.CutSuffix(since, "!")
	ms, _ := strconv.ParseInt(digits, 10, 64) // the script writes digits only
	return Hold{Reason: reason, Since: time.UnixMilli(ms).UTC(), ByOperator: operator}
}

// filled is a reason to be stored.
func filled(reason string) string {
	if reason = oneLine(reason); reason == "" {
		return "held"
	}
	return reason
}

// oneLine puts a reason on one line of bounded length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
