// Tasks: where they are found, and how they are looked at.

package sweep

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// taskRef names a task. Deep: its id may be among the pending tasks, however
// many they are.
type taskRef struct {
	queue, id string
	deep      bool
}

const (
	// lookedAt is how many tasks one script looks at: half a millisecond.
	lookedAt = 200
	// page is about how many keys or ids are read with one question.
	page = 500
	// deepAt is how many ids one script searches for among all pending tasks.
	deepAt = 10
	// searched is how many pending tasks are searched at the cost of one look.
	searched = 1000
)

// prefix is what the keys of a queue begin with, as asynq v0.26.0 makes them.
func prefix(queue string) string { return "asynq:{" + queue + "}:" }

func taskKey(queue, id string) string { return prefix(queue) + "t:" + id }

//go:embed look.lua
var lookLua string

var lookScript = redis.NewScript(lookLua)

// look says what is wrong with tasks of a queue, in their order: a kind, or ""
// for nothing. With mend it is set right.
func (p *pass) look(ctx context.Context, queue string, ids []string, mend, deep bool) ([]string, error) {
	keys := make([]string, 0, 7+len(ids))
	for _, k := range [...]string{"active", "pending", "lease", "scheduled", "retry", "archived", "completed"} {
		keys = append(keys, prefix(queue)+k)
	}
	for _, id := range ids {
		keys = append(keys, taskKey(queue, id))
	}
	how, where := "look", ""
	if mend {
		how = "mend"
	}
	if deep {
		where = "deep"
	}
	kinds, err := lookScript.Run(ctx, p.redis, keys, prefix(queue)+"t:", p.now().Unix(), how, where).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("look at tasks of queue %s: %w", queue, err)
	}
	return kinds, nil
}

// inspect looks at tasks for the first time, and keeps those that look wrong.
func (p *pass) inspect(ctx context.Context, queue string, ids []string) error {
	for part := range slices.Chunk(ids, lookedAt) {
		if err := p.pace(ctx, len(part)); err != nil {
			return err
		}
		kinds, err := p.look(ctx, queue, part, false, false)
		if err != nil {
			return err
		}
		p.tasksSeen += len(part)
		for i, kind := range kinds {
			if kind == "" {
				continue
			}
			if err := p.suspect(ctx, taskRef{queue: queue, id: part[i]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// suspect keeps a task to be looked at again.
func (p *pass) suspect(ctx context.Context, t taskRef) error {
	p.tasks, p.seen = append(p.tasks, t), time.Now()
	if len(p.tasks) < suspects {
		return nil
	}
	return p.mendTasks(ctx)
}

// mendTasks looks at the suspects again and mends them.
func (p *pass) mendTasks(ctx context.Context) error {
	if len(p.tasks) == 0 {
		return nil
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	type group struct {
		queue string
		deep  bool
	}
	groups := map[group][]string{}
	for _, t := range p.tasks {
		g := group{t.queue, t.deep}
		groups[g] = append(groups[g], t.id)
	}
	p.tasks = nil
	for g, ids := range groups {
		size, cost := lookedAt, 1
		if g.deep {
			n, err := p.redis.LLen(ctx, prefix(g.queue)+"pending").Result()
			if err != nil {
				return fmt.Errorf("count the pending tasks of queue %s: %w", g.queue, err)
			}
			size, cost = deepAt, 1+int(n)/searched
		}
		for part := range slices.Chunk(ids, size) {
			if err := p.pace(ctx, cost*len(part)); err != nil {
				return err
			}
			kinds, err := p.look(ctx, g.queue, part, true, g.deep)
			if err != nil {
				return err
			}
			for _, kind := range kinds {
				p.add(kind)
			}
		}
	}
	return nil
}

// active looks at the active tasks of a queue.
func (p *pass) active(ctx context.Context, queue string) error {
	return p.list(ctx, queue, "active", p.inspect)
}

// list calls f with the ids of a list, page by page. Ids that move meanwhile may
// come twice or not at all.
func (p *pass) list(ctx context.Context, queue, name string, f func(context.Context, string, []string) error) error {
	for from := int64(0); ; from += page {
		ids, err := p.redis.LRange(ctx, prefix(queue)+name, from, from+page-1).Result()
		if err != nil {
			return fmt.Errorf("read the %s tasks of queue %s: %w", name, queue, err)
		}
		if len(ids) > 0 {
			if err := f(ctx, queue, ids); err != nil {
				return err
			}
		}
		if len(ids) < page {
			return nil
		}
	}
}

// lists finds ids in a queue's lists that have no task.
func (p *pass) lists(ctx context.Context, queue string) error {
	for _, name := range [...]string{"lease", "scheduled", "retry", "archived", "completed"} {
		for cursor := uint64(0); ; {
			words, next, err := p.redis.ZScan(ctx, prefix(queue)+name, cursor, "", page).Result()
			if err != nil {
				return fmt.Errorf("read the %s tasks of queue %s: %w", name, queue, err)
			}
			ids := words[:0] // each is followed by its score
			for i := 0; i < len(words); i += 2 {
				ids = append(ids, words[i])
			}
			missing, err := p.missing(ctx, queue, ids)
			if err != nil {
				return err
			}
			if missing {
				if err := p.inspect(ctx, queue, ids); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return p.list(ctx, queue, "pending", p.pendingWithout)
}

// pendingWithout finds ids among pending ones that have no task.
func (p *pass) pendingWithout(ctx context.Context, queue string, ids []string) error {
	missing, err := p.missing(ctx, queue, ids)
	if err != nil || !missing {
		return err
	}
	cmds := make([]*redis.IntCmd, len(ids))
	_, err = p.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = pipe.Exists(ctx, taskKey(queue, id))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the pending tasks of queue %s: %w", queue, err)
	}
	for i, id := range ids {
		if cmds[i].Val() != 0 {
			continue
		}
		if err := p.suspect(ctx, taskRef{queue: queue, id: id, deep: true}); err != nil {
			return err
		}
	}
	return nil
}

// missing reports whether any of these ids has no task. It is a tenth of the
// work of looking at them.
func (p *pass) missing(ctx context.Context, queue string, ids []string) (bool, error) {
	if len(ids) == 0 {
		return false, nil
	}
	if err := p.pace(ctx, (len(ids)+9)/10); err != nil {
		return false, err
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = taskKey(queue, id)
	}
	n, err := p.redis.Exists(ctx, keys...).Result()
	if err != nil {
		return false, fmt.Errorf("look at tasks of queue %s: %w", queue, err)
	}
	return n < int64(len(ids)), nil
}

// keys looks at every task there is: those that no list names are found in no
// other way.
func (p *pass) keys(ctx context.Context) error {
	nodes, err := p.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		for cursor := uint64(0); ; {
			// Other keys are passed over, which costs Redis a fraction of a look.
			if err := p.pace(ctx, page/20); err != nil {
				return err
			}
			found, next, err := node.Scan(ctx, cursor, "asynq:{*}:t:*", page).Result()
			if err != nil {
				return fmt.Errorf("look for tasks: %w", err)
			}
			if err := p.found(ctx, found); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// found looks at tasks, by their keys, of the queues that are swept.
func (p *pass) found(ctx context.Context, keys []string) error {
	for _, queue := range p.names {
		var ids []string
		for _, key := range keys {
			if id, ok := strings.CutPrefix(key, taskKey(queue, "")); ok {
				ids = append(ids, id)
			}
		}
		if err := p.inspect(ctx, queue, ids); err != nil {
			return err
		}
	}
	return nil
}

// nodes are all that hold keys: one, or the masters of a Cluster.
func (p *pass) nodes(ctx context.Context) ([]redis.Cmdable, error) {
	cluster, ok := p.redis.(interface {
		ForEachMaster(ctx context.Context, fn func(ctx context.Context, client *redis.Client) error) error
	})
	if !ok {
		return []redis.Cmdable{p.redis}, nil
	}
	var mu sync.Mutex
	var nodes []redis.Cmdable
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the masters of the Cluster: %w", err)
	}
	return nodes, nil
}
