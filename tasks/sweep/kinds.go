// What a sweeper mends, and the books it keeps of it.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// What is mended. The first six are holes of the queue, the others rows whose
// task was not what it should be.
const (
	// Queue is a queue's name that dashboards and producers had lost.
	Queue = "queue"
	// Ghost is an archived or completed task that no list names any more: it is
	// deleted, and its id is free again.
	Ghost = "ghost"
	// Lease is an active task without a lease. It gets one, which its worker
	// extends if it lives; otherwise asynq has the task run again when it ends.
	Lease = "lease"
	// Stranded is an active task in no list, as a handler leaves it whose end
	// could not be written. It is queued again.
	Stranded = "stranded"
	// Unlisted is a waiting task in no list. It is due now.
	Unlisted = "unlisted"
	// Empty is an id without a task, or a task without its message. It is removed.
	Empty = "empty"

	// Restored is a waiting row whose task was gone: queued again.
	Restored = "restored"
	// Archived is a waiting row whose task somebody, or asynq itself, has
	// archived: it is dead.
	Archived = "archived"
	// Registered is a waiting row whose task ended with a BOT_ID.
	Registered = "registered"
	// Duplicate is a waiting row in whose place another row's task stands.
	Duplicate = "duplicate"
	// PortalUnknown is a waiting row without a task whose portal was removed: it is dead.
	PortalUnknown = "portal_unknown"
	// Unreadable is a waiting row that cannot be read, without a task: it is dead.
	Unreadable = "unreadable"
)

// Kinds are all that is mended, sorted.
func Kinds() []string {
	return []string{
		Archived, Duplicate, Empty, Ghost, Lease, PortalUnknown, Queue, Registered, Restored, Stranded, Unlisted, Unreadable,
	}
}

// Report is what a pass did.
type Report struct {
	Mended map[string]int // by kind; those with none are missing
	Tasks  int            // looked at
	Rows   int            // waiting ones looked at
	Took   time.Duration
}

// Total is how much was mended, of all kinds.
func (r *Report) Total() int {
	n := 0
	for _, k := range r.Mended {
		n += k
	}
	return n
}

// totalsKey holds kind → how many were ever mended.
const totalsKey = "botfleet:{sweep}:totals"

// Totals is how much of each kind was mended since the Redis was set up.
func Totals(ctx context.Context, client redis.UniversalClient) (map[string]int64, error) {
	words, err := client.HGetAll(ctx, totalsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read what was mended: %w", err)
	}
	totals := make(map[string]int64, len(words))
	for kind, text := range words {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			totals[kind] = n
		}
	}
	return totals, nil
}

// book tells the meter, the log and Redis of what a pass did, and returns err
// with what kept it from doing so.
func (s *Sweeper) book(ctx context.Context, r *Report, err error) error {
	if r.Total() == 0 {
		return err
	}
	words := make([]any, 0, 2*len(r.Mended)+4)
	words = append(words, "took", r.Took.Round(time.Millisecond), "tasks", r.Tasks, "rows", r.Rows)
	kinds := slices.Sorted(maps.Keys(r.Mended))
	for _, kind := range kinds {
		words = append(words, kind, r.Mended[kind])
		s.meter.Mended(kind, r.Mended[kind])
	}
	s.log.InfoContext(ctx, "mended", words...)
	// What was done is told even if the pass was broken off.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookWithin)
	defer cancel()
	_, bookErr := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, kind := range kinds {
			p.HIncrBy(ctx, totalsKey, kind, int64(r.Mended[kind]))
		}
		return nil
	})
	if bookErr != nil {
		bookErr = fmt.Errorf("keep what was mended: %w", bookErr)
	}
	return errors.Join(err, bookErr)
}

// bookWithin bounds the telling of Redis.
const bookWithin = 5 * time.Second
