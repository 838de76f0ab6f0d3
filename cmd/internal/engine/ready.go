// Whether a worker can work, and what will soon keep it from it.

package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"botfleet/cmd/internal/redisconn"
	"botfleet/tasks"
)

const (
	readyKey = "botfleet:ready"
	readyFor = time.Minute
	// archiveNear is from how many archived tasks of a queue on people are told.
	archiveNear = tasks.ArchiveFull * 9 / 10
)

// Ready returns nil when the worker can work: Redis takes what is written, which a
// full one, or one that has become a replica, does not, and its keys open something.
func (w *Worker) Ready(ctx context.Context) error {
	err := w.base.Redis.Set(ctx, readyKey, 1, readyFor).Err()
	switch {
	case err == nil:
		return w.opens.none()
	case strings.HasPrefix(err.Error(), "OOM"):
		return fmt.Errorf("Redis is full: raise maxmemory: %w", err) //nolint:staticcheck // a name
	case strings.HasPrefix(err.Error(), "READONLY"):
		return fmt.Errorf("Redis takes no writes: it is a replica: %w", err) //nolint:staticcheck // a name
	}
	return fmt.Errorf("Redis does not answer: %w", err) //nolint:staticcheck // a name
}

// Warnings names, a line each, what will soon keep rows from being worked on.
// What cannot be asked is left out.
func (b *Base) Warnings(ctx context.Context) []string {
	var all []string
	if servers, err := redisconn.Servers(ctx, b.Redis); err == nil {
		if share := redisconn.Fullest(servers).Share(); share >= fullForNew {
			all = append(all, fmt.Sprintf("Redis uses %.0f%% of its maxmemory: no new runs are taken from %.0f%% on, and from 100%% on nothing works", 100*share, 100*fullForNew))
		}
	}
	queues, err := b.Registry.Queues(ctx)
	if err != nil {
		return all
	}
	for _, q := range queues {
		if n, err := b.archived(ctx, q); err == nil && n >= archiveNear {
			all = append(all, fmt.Sprintf("queue %s has %d archived tasks: from %d on dead rows are shown as completed; delete old ones with enqueue dead prune (their rows are kept in their runs)", q, n, tasks.ArchiveFull))
		}
	}
	return all
}
