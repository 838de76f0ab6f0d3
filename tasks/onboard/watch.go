// Watching the queue of events: strangers must not be able to fill Redis.

package onboard

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// mostKept is how many events the queue may hold in any state before the
	// handler refuses more: some 120 MB at 6 KB each, and 40 MB of usual ones.
	mostKept = 20_000
	// mostPutOff is how many of them may wait for portals that do not answer.
	// Others are then given up early, or strangers who name hosts that do not
	// exist would shut the door for a day.
	mostPutOff = 5_000

	watchEvery  = 5 * time.Second
	watchWithin = 4 * time.Second
)

// queueNames is where asynq keeps the names of all queues.
const queueNames = "asynq:queues"

func queueKey(state string) string { return "asynq:{" + Queue + "}:" + state }

// watch looks at the queue's size now and then, until the service stops.
func (s *Service) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if size, err := s.look(s.ctx); err == nil {
			was := s.full.Swap(size >= s.mostKept)
			if !was && size >= s.mostKept {
				s.log.Warn("the queue of installs is full: portals are asked to come later",
					"events", size, "most", s.mostKept)
			}
		} // while Redis does not answer, no event is kept anyway
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look counts the queue's events in all states, and tells asynq of the queue: it
// forgets its queues when Redis has lost its data, and then no dashboard shows them.
func (s *Service) look(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, watchWithin)
	defer cancel()
	var counts []*redis.IntCmd
	_, err := s.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, list := range []string{"pending", "active"} {
			counts = append(counts, p.LLen(ctx, queueKey(list)))
		}
		for _, set := range []string{"scheduled", "retry", "completed", "archived"} {
			counts = append(counts, p.ZCard(ctx, queueKey(set)))
		}
		return nil
	})
	if err == nil {
		err = s.cfg.Redis.SAdd(ctx, queueNames, Queue).Err()
	}
	if err != nil {
		return 0, fmt.Errorf("look at queue %s: %w", Queue, err)
	}
	var size int64
	for _, c := range counts {
		size += c.Val()
	}
	return size, nil
}

// crowded says whether too many events wait for portals already.
func (s *Service) crowded(ctx context.Context) bool {
	n, err := s.cfg.Redis.ZCard(ctx, queueKey("retry")).Result()
	return err == nil && n >= s.mostPutOff
}
