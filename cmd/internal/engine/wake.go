// Waking the rows of portals whose hold has ended, once in a fleet.

package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/tasks"
)

// wokenFor is how long a portal's rows are not woken again: every worker sees
// that a portal was released, and one of them is enough.
const wokenFor = 5 * time.Second

// Wake makes the waiting rows of portals due now.
func (b *Base) Wake(ctx context.Context, all []portals.Portal) error {
	first, err := b.firstToWake(ctx, all)
	if err != nil {
		return err
	}
	byQueue := map[string][]string{}
	for _, p := range first {
		byQueue[p.Queue] = append(byQueue[p.Queue], p.ID)
	}
	for queue, ids := range byQueue {
		if _, err := tasks.Wake(ctx, b.Redis, queue, ids, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// firstToWake keeps the portals that no other worker has just woken.
func (b *Base) firstToWake(ctx context.Context, all []portals.Portal) ([]portals.Portal, error) {
	claims := make([]*redis.BoolCmd, len(all))
	_, err := b.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range all {
			claims[i] = p.SetNX(ctx, "botfleet:woken:"+all[i].ID, 1, wokenFor)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("wake the rows of portals: %w", err)
	}
	var first []portals.Portal
	for i := range all {
		if claims[i].Val() {
			first = append(first, all[i])
		}
	}
	return first, nil
}
