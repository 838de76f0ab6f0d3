// Keeping asynq's archive below its cap.

package tasks

import (
	"context"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// ArchiveCap is how many tasks asynq keeps in a queue's archive. The next one
	// makes it delete the oldest, and its ids may stay taken for ever.
	ArchiveCap = 10_000
	// ArchiveFull is from how many on dead rows end as completed tasks instead,
	// with "dead" as their result. The run knows them either way.
	ArchiveFull = 8_000
	// An archive's size is asked for again after so long, and after so many
	// tasks that this worker has put there: others do the same.
	archiveFor  = 5 * time.Second
	archiveMany = 100
)

// archives remembers how full the archives of the queues are.
type archives struct {
	mu     sync.Mutex
	queues map[string]archiveSize
}

type archiveSize struct {
	at    time.Time
	size  int64
	added int
}

// full reports whether a queue's archive takes no more. size asks for its size.
func (a *archives) full(ctx context.Context, queue string, now time.Time, size func(context.Context, string) (int64, error)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.queues[queue]
	if !ok || now.Sub(s.at) >= archiveFor || s.added >= archiveMany {
		n, err := size(ctx, queue)
		if err != nil {
			return false // there is a margin of 2,000
		}
		s = archiveSize{at: now, size: n}
	}
	s.added++
	if a.queues == nil {
		a.queues = map[string]archiveSize{}
	}
	a.queues[queue] = s
	return s.size+int64(s.added) > ArchiveFull
}

// deadResult is the result of a task whose row is dead, and which found no room
// in the archive.
const deadResult = "dead"

// bury ends the task of a dead row: in the archive, where it can be seen and run
// again, or, when that is nearly full, as a completed one.
func (h *Handler) bury(ctx context.Context, t *asynq.Task, reason string) error {
	queue, ok := asynq.GetQueueName(ctx)
	if h.ArchiveSize == nil || !ok || !h.archives.full(ctx, queue, h.Now(), h.ArchiveSize) {
		return archive(reason)
	}
	if w := t.ResultWriter(); w != nil {
		if _, err := w.Write([]byte(deadResult + ": " + reason)); err != nil && ctx.Err() == nil {
			return h.redisTrouble(err)
		}
	}
	return nil
}
