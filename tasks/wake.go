// Waking the tasks of portals: what was put off goes on when its reason ends.

package tasks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// wakePage is about how many tasks are looked at with one question, which takes
// Redis about a millisecond.
const wakePage = 2000

// Wake makes the waiting tasks of portals of one queue due now, whenever they
// were put off until, and returns how many. The queue then hands them out within
// a second or two. It is for when portals are released, or gone: rows of one
// that was held for a day would otherwise come back within a quarter of an hour.
//
// It goes through all waiting tasks of the queue, a page at a time: about a
// hundred questions for a hundred thousand tasks, for any number of portals.
func Wake(ctx context.Context, rdb redis.UniversalClient, queue string, portalIDs []string, now time.Time) (woken int, err error) {
	prefixes := make(map[string]bool, len(portalIDs))
	for _, id := range portalIDs {
		prefixes[taskIDPrefix(id)] = true
	}
	match := "*"
	if len(portalIDs) == 1 {
		match = taskIDPrefix(portalIDs[0]) + "*"
	}
	for _, set := range [...]string{"scheduled", "retry"} {
		n, err := wakeIn(ctx, rdb, "asynq:{"+queue+"}:"+set, match, prefixes, now)
		woken += n
		if err != nil {
			return woken, fmt.Errorf("wake waiting tasks of queue %s: %w", queue, err)
		}
	}
	return woken, nil
}

// wakeIn makes those members of a sorted set due that begin with one of prefixes.
func wakeIn(ctx context.Context, rdb redis.UniversalClient, key, match string, prefixes map[string]bool, now time.Time) (woken int, err error) {
	for cursor := uint64(0); ; {
		page, next, err := rdb.ZScan(ctx, key, cursor, match, wakePage).Result()
		if err != nil {
			return woken, err
		}
		var due []redis.Z
		for i := 0; i+1 < len(page); i += 2 {
			if dash := strings.IndexByte(page[i], '-'); dash > 0 && prefixes[page[i][:dash+1]] {
				due = append(due, redis.Z{Score: float64(now.Unix()), Member: page[i]})
			}
		}
		if len(due) > 0 {
			// XX, LT: a task taken meanwhile is not put back, and none is put off.
			n, err := rdb.ZAddArgs(ctx, key, redis.ZAddArgs{XX: true, LT: true, Ch: true, Members: due}).Result()
			woken += int(n)
			if err != nil {
				return woken, err
			}
		}
		if cursor = next; cursor == 0 {
			return woken, nil
		}
	}
}
