// Pausing queues: no task of a paused one is fetched, by any worker.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// PauseQueue keeps all workers from fetching tasks of a queue, which need not exist
// yet; what they have fetched goes on. It returns since when the queue is paused
// if it was before, as asynq's dashboard pauses it too.
func PauseQueue(ctx context.Context, client redis.UniversalClient, queue string, now time.Time) (was time.Time, err error) {
	// One that is known can be seen, and found by whoever resumes it.
	err = client.SAdd(ctx, queueNames, queue).Err()
	if err == nil {
		var first bool
		first, err = client.SetNX(ctx, queuePrefix(queue)+"paused", now.Unix(), 0).Result()
		if err == nil && !first {
			was, err = QueuePaused(ctx, client, queue)
		}
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("pause queue %s: %w", queue, err)
	}
	return was, nil
}

// ResumeQueue ends a queue's pause. It returns since when the queue was paused;
// zero if it was not.
func ResumeQueue(ctx context.Context, client redis.UniversalClient, queue string) (was time.Time, err error) {
	text, err := client.GetDel(ctx, queuePrefix(queue)+"paused").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return time.Time{}, fmt.Errorf("resume queue %s: %w", queue, err)
	}
	return pausedSince(text), nil
}

// QueuePaused returns since when a queue is paused; zero when it is not.
func QueuePaused(ctx context.Context, client redis.UniversalClient, queue string) (time.Time, error) {
	text, err := client.Get(ctx, queuePrefix(queue)+"paused").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return time.Time{}, fmt.Errorf("ask whether queue %s is paused: %w", queue, err)
	}
	return pausedSince(text), nil
}

// pausedSince reads what asynq notes of a pause: Unix seconds.
func pausedSince(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		seconds = 0 // by another program: since when is not known
	}
	return time.Unix(seconds, 0)
}

// QueueSize is how many tasks of a queue wait, and how many are in work.
type QueueSize struct{ Waiting, Active int }

// SizeOf counts the tasks of a queue. A queue without any is empty, known or not.
func SizeOf(ctx context.Context, client redis.UniversalClient, queue string) (QueueSize, error) {
	var pending, active, scheduled, retry *redis.IntCmd
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		pending, active = p.LLen(ctx, queuePrefix(queue)+"pending"), p.LLen(ctx, queuePrefix(queue)+"active")
		scheduled, retry = p.ZCard(ctx, queuePrefix(queue)+"scheduled"), p.ZCard(ctx, queuePrefix(queue)+"retry")
		return nil
	})
	if err != nil {
		return QueueSize{}, fmt.Errorf("count tasks of queue %s: %w", queue, err)
	}
	return QueueSize{Waiting: int(pending.Val() + scheduled.Val() + retry.Val()), Active: int(active.Val())}, nil
}
