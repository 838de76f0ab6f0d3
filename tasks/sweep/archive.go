// The newest of the archive: waiting rows whose task somebody has archived.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

const (
	// newestArchived is how many of a queue's newest archived tasks one look
	// concerns: a second of looking at the default rate.
	newestArchived = 1000
	// archivedCost is what one of them counts for: the questions it takes.
	archivedCost = 2
	// clocksApart is by how much the clocks of those who archive may differ.
	clocksApart = 15 * time.Second
)

// rowInMessage finds the row that a task's message refers to. What is written
// otherwise is found when all rows are looked at.
var rowInMessage = regexp.MustCompile(`"run":"([^"\\]+)","row":([0-9]+),`)

// archives mends the waiting rows whose task was archived since a time. It
// reports whether some may be left, as there are more such tasks than it looks at.
func (p *pass) archives(ctx context.Context, since time.Time) (more bool, err error) {
	for _, queue := range p.names {
		ids, err := p.redis.ZRevRangeByScore(ctx, prefix(queue)+"archived", &redis.ZRangeBy{
			Min: strconv.FormatInt(since.Add(-clocksApart).Unix(), 10), Max: "+inf", Count: newestArchived,
		}).Result()
		if err != nil {
			return false, fmt.Errorf("read the archived tasks of queue %s: %w", queue, err)
		}
		before := len(p.rowsToMend)
		for part := range slices.Chunk(ids, lookedAt) {
			if err := p.archived(ctx, queue, part); err != nil {
				return false, err
			}
		}
		more = more || len(ids) == newestArchived && len(p.rowsToMend) > before
	}
	return more, p.mendRows(ctx)
}

// archived keeps the rows of archived tasks that wait.
func (p *pass) archived(ctx context.Context, queue string, ids []string) error {
	if err := p.pace(ctx, archivedCost*len(ids)); err != nil {
		return err
	}
	messages := make([]*redis.StringCmd, len(ids))
	// The error is the first of those that each command has of its own.
	_, _ = p.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, id := range ids {
			messages[i] = pipe.HGet(ctx, taskKey(queue, id), "msg")
		}
		return nil
	})
	for i, id := range ids {
		msg, err := messages[i].Result()
		if errors.Is(err, redis.Nil) || err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE") {
			continue // no task, which is seen to when all tasks are looked at
		}
		if err != nil {
			return fmt.Errorf("read the archived tasks of queue %s: %w", queue, err)
		}
		if err := p.waitsFor(ctx, id, msg); err != nil {
			return err
		}
	}
	return nil
}

// waitsFor keeps the row that a task's message refers to, if it waits for that task.
func (p *pass) waitsFor(ctx context.Context, id, msg string) error {
	found := rowInMessage.FindStringSubmatch(msg)
	if found == nil {
		return nil
	}
	run := found[1]
	number, err := strconv.Atoi(found[2])
	if err != nil || number < 1 || runs.CheckID(run) != nil {
		return nil //nolint:nilerr // it refers to no row
	}
	now, err := p.runs.Load(ctx, run, number)
	switch {
	case errors.Is(err, runs.ErrUnknownRun) || errors.Is(err, runs.ErrBroken):
		return nil
	case err != nil:
		return err
	case now.Outcome != nil || now.Row.Ident != id:
		return nil
	}
	p.rowsToMend, p.seen = append(p.rowsToMend, rowRef{run: run, row: runs.WaitingRow{
		Number: number, Gen: now.Gen, Ident: id, PortalID: now.Row.PortalID, QueuedAt: now.Row.QueuedAt,
	}}), time.Now()
	return nil
}
