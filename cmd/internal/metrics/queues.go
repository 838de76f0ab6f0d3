// What asynq tells of its queues. Its own collector would bring a second Redis
// client of an older version.

package metrics

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
)

// Queues tells of asynq's queues; [asynq.Inspector] does.
type Queues interface {
	Queues() ([]string, error)
	GetQueueInfo(queue string) (*asynq.QueueInfo, error)
}

// mostQueues bounds what a Redis shared with other programs costs. A worker has
// 64 queues at most, unless SHARDS was changed.
const mostQueues = 256

// askQueues reads all queues. One that cannot be read (a task that lost its
// body is enough) hides no other.
func askQueues(from Queues) question {
	return func(ctx context.Context, emit emit) error {
		names, err := from.Queues()
		if err != nil {
			return fmt.Errorf("list the queues: %w", err)
		}
		var bad []error
		if len(names) > mostQueues {
			bad = append(bad, fmt.Errorf("%d queues: only %d are looked at", len(names), mostQueues))
			names = names[:mostQueues]
		}
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			info, err := from.GetQueueInfo(name)
			if err != nil {
				bad = append(bad, fmt.Errorf("read queue %s: %w", name, err))
				continue
			}
			emitQueue(emit, info)
		}
		return errors.Join(bad...)
	}
}

func emitQueue(emit emit, q *asynq.QueueInfo) {
	for state, n := range map[string]int{
		"active": q.Active, "pending": q.Pending, "scheduled": q.Scheduled,
		"retry": q.Retry, "archived": q.Archived, "completed": q.Completed,
	} {
		emit(queueTasks, float64(n), q.Queue, state)
	}
	emit(queueSize, float64(q.Size), q.Queue)
	emit(queueLatency, q.Latency.Seconds(), q.Queue)
	emit(queueMemory, float64(q.MemoryUsage), q.Queue)
	emit(queueProcessed, float64(q.ProcessedTotal), q.Queue)
	emit(queueFailed, float64(q.FailedTotal), q.Queue)
	paused := 0.0
	if q.Paused {
		paused = 1
	}
	emit(queuePaused, paused, q.Queue)
}
