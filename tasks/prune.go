// Pruning: asynq's archive, made smaller a page at a time.

package tasks

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// prunePage is how many archived tasks are looked at with one question, which
// takes Redis less than a millisecond.
const prunePage = 200

// Pruner deletes archived tasks. What became of their rows is known to the runs.
type Pruner struct {
	Redis redis.UniversalClient
	Runs  *runs.Store
}

// Pruned is what was done.
type Pruned struct {
	Deleted int
	// Kept are tasks that somebody has archived before their rows had ended. The
	// sweeper ends those within 10 minutes; without the task it would queue them.
	Kept int
}

// Archived is how many tasks of a queue were archived before a time.
func (p Pruner) Archived(ctx context.Context, queue string, before time.Time) (int, error) {
	n, err := p.Redis.ZCount(ctx, queuePrefix(queue)+"archived", "-inf", pruneMax(before)).Result()
	if err != nil {
		return 0, fmt.Errorf("count archived tasks of queue %s: %w", queue, err)
	}
	return int(n), nil
}

// pruneMax is the bound of what was archived before a time: asynq notes whole seconds.
func pruneMax(before time.Time) string { return "(" + strconv.FormatInt(before.Unix(), 10) }

// Prune deletes the tasks of a queue that were archived before a time. Those that
// come back to life meanwhile stay. It ends between two pages when ctx does, and
// Pruned says what was done; the same call goes on.
func (p Pruner) Prune(ctx context.Context, queue string, before time.Time) (Pruned, error) {
	var did Pruned
	for {
		if err := context.Cause(ctx); err != nil {
			return did, err
		}
		ids, err := p.Redis.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: queuePrefix(queue) + "archived", ByScore: true, Start: "-inf", Stop: pruneMax(before),
			Offset: int64(did.Kept), Count: prunePage,
		}).Result()
		if err == nil && len(ids) > 0 {
			err = p.page(ctx, queue, ids, &did)
		}
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return did, fmt.Errorf("prune the archive of queue %s: %w", queue, err)
		}
		if len(ids) == 0 {
			return did, nil
		}
	}
}

//go:embed prune.lua
var pruneLua string

var pruneScript = redis.NewScript(pruneLua)

func (p Pruner) page(ctx context.Context, queue string, ids []string, did *Pruned) error {
	ended, err := p.ended(ctx, queue, ids)
	if err != nil {
		return err
	}
	did.Kept += len(ids) - len(ended)
	if len(ended) == 0 {
		return nil
	}
	keys, args := []string{queuePrefix(queue) + "archived"}, make([]any, len(ended))
	for i, id := range ended {
		keys, args[i] = append(keys, queuePrefix(queue)+"t:"+id), id
	}
	n, err := pruneScript.Run(ctx, p.Redis, keys, args...).Int()
	did.Deleted += n
	return err
}

// ended returns the tasks whose rows have ended, or are not there.
func (p Pruner) ended(ctx context.Context, queue string, ids []string) ([]string, error) {
	messages := make([]*redis.StringCmd, len(ids))
	_, err := p.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, id := range ids {
			messages[i] = pipe.HGet(ctx, queuePrefix(queue)+"t:"+id, "msg")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var out []string
	for i, id := range ids {
		waits, err := p.waits(ctx, id, messages[i].Val())
		if err != nil {
			return nil, err
		}
		if !waits {
			out = append(out, id)
		}
	}
	return out, nil
}

// waits reports whether the row of a task has not ended.
func (p Pruner) waits(ctx context.Context, id, text string) (bool, error) {
	m, err := decodeMessage([]byte(text))
	if err != nil {
		return false, nil //nolint:nilerr // it is no row's
	}
	ref, err := DecodePayload(m.payload)
	if err != nil {
		return false, nil //nolint:nilerr // it is no row's
	}
	st, err := p.Runs.Load(ctx, ref.Run, ref.Row)
	if errors.Is(err, runs.ErrUnknownRun) || errors.Is(err, runs.ErrBroken) {
		return false, nil
	}
	return err == nil && st.Outcome == nil && st.Row.Ident == id, err
}
