// Holding portals that must not be called, and releasing them.

package portals

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed hold.lua
var holdSource string

var holdScript = redis.NewScript(holdSource)

// maxReason bounds a stored reason, in bytes.
const maxReason = 500

// Hold marks a portal as not to be called, until Release or new credentials.
// A portal held already gets the new reason and keeps its time.
func (r *Registry) Hold(ctx context.Context, id, reason string, at time.Time) error {
	_, err := r.HoldCredential(ctx, id, "", reason, at)
	return err
}

// HoldCredential holds a portal only if credential (a [Portal.Credential]) is
// still its present one: a worker that was refused with the old credentials
// must not undo what new ones released. It reports whether the portal is held.
func (r *Registry) HoldCredential(ctx context.Context, id, credential, reason string, at time.Time) (held bool, err error) {
	if reason = oneLine(reason); reason == "" {
		reason = "held"
	}
	n, err := r.runHold(ctx, "hold", id, credential, at, reason)
	return n == 1, err
}

// Release ends a portal's hold, if there is one.
func (r *Registry) Release(ctx context.Context, id string) error {
	_, err := r.runHold(ctx, "release", id, "", time.Time{}, "")
	return err
}

func (r *Registry) runHold(ctx context.Context, what, id, credential string, at time.Time, reason string) (int, error) {
	ms := max(at.UnixMilli(), 0) // a zero time lies before 1970
	n, err := holdScript.Run(ctx, r.redis, []string{keyRecords, keyHolds, keyVersion},
		randomVersion(), id, credential, strconv.FormatInt(ms, 10), reason).Int()
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

// decodeHold reads "unix-milliseconds reason".
func decodeHold(s string) Hold {
	since, reason, _ := strings.Cut(s, " ")
	ms, _ := strconv.ParseInt(since, 10, 64) // the script writes digits only
	return Hold{Reason: reason, Since: time.UnixMilli(ms).UTC()}
}

// oneLine puts a reason on one line of bounded length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
