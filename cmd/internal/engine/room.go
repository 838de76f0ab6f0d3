// Whether Redis can be trusted with rows, and has room for more.

package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"botfleet/cmd/internal/redisconn"
	"botfleet/tasks"
)

// ErrEvicts is returned by [Open] for a Redis that loses keys when it is full.
var ErrEvicts = errors.New("Redis would delete queued rows") //nolint:staticcheck // a name

// checkEviction refuses a Redis that deletes keys when its memory is full: rows,
// sending marks and credentials would go without a word.
func (b *Base) checkEviction(ctx context.Context) error {
	all, err := redisconn.Servers(ctx, b.Redis)
	if err != nil {
		return nil //nolint:nilerr // not allowed to ask, perhaps: that it can be worked with was checked
	}
	for _, s := range all {
		if s.Loses() {
			return fmt.Errorf("%w: its maxmemory-policy is %s; set it to noeviction (or ALLOW_EVICTION=true, if rows may be lost)", ErrEvicts, s.Policy)
		}
	}
	return nil
}

// How full Redis may be for rows to be added. What waits grows by its outcomes,
// so that new runs end earlier than those that are under way.
const (
	fullForNew  = 0.80
	fullForMore = 0.95
)

// roomFor is how long an answer of Redis on its memory is believed.
const roomFor = time.Second

// Room says whether a new run may begin: nil, or a [tasks.ErrFull].
func (b *Base) Room(ctx context.Context) error { return b.room.check(ctx, true) }

// room says whether there is room in Redis for more rows.
type room struct {
	asker redisconn.Asker

	mu    sync.Mutex
	at    time.Time
	worst redisconn.Server
}

// check implements [tasks.ClientConfig.Room].
func (r *room) check(ctx context.Context, newRun bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > roomFor {
		all, err := redisconn.Servers(ctx, r.asker)
		if err != nil {
			return nil // the rows themselves will tell whether Redis works
		}
		r.at, r.worst = time.Now(), redisconn.Fullest(all)
	}
	most, what := fullForMore, "no more rows are added"
	if newRun {
		most, what = fullForNew, "no new run is begun"
	}
	if share := r.worst.Share(); share >= most {
		return fmt.Errorf("%w: it uses %.0f%% of its maxmemory of %d MB, and from %.0f%% on %s: raise maxmemory, or wait until rows have ended and their runs have expired",
			tasks.ErrFull, 100*share, r.worst.Max>>20, 100*most, what)
	}
	return nil
}
