// The names of queues, by which dashboards and producers find them.

package sweep

import (
	"context"
	"fmt"
	"sync"
)

// queueNames is where asynq keeps the names of all queues.
const queueNames = "asynq:queues"

// names are those of the queues that this process has seen announced.
type names struct {
	mu   sync.Mutex
	seen map[string]bool
}

// see notes a name and reports whether it was there before.
func (n *names) see(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[name] {
		return true
	}
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[name] = true
	return false
}

// announce makes the queues known, and counts those that were known before.
func (p *pass) announce(ctx context.Context) error {
	queues, err := p.queues(ctx)
	if err != nil {
		return fmt.Errorf("find the queues: %w", err)
	}
	p.names = queues
	if len(queues) == 0 {
		return nil
	}
	members := make([]any, len(queues))
	for i, q := range queues {
		members[i] = q
	}
	known, err := p.redis.SMIsMember(ctx, queueNames, members...).Result()
	if err != nil {
		return fmt.Errorf("read the queues' names: %w", err)
	}
	for i, q := range queues {
		before := p.announced.see(q)
		if known[i] {
			continue
		}
		if !before {
			// The first task brings its queue's name: one with tasks has lost it.
			n, err := p.redis.Exists(ctx, prefix(q)+"pending", prefix(q)+"active", prefix(q)+"scheduled", prefix(q)+"retry").Result()
			if err != nil {
				return fmt.Errorf("look at queue %s: %w", q, err)
			}
			before = n > 0
		}
		added, err := p.redis.SAdd(ctx, queueNames, q).Result()
		if err != nil {
			return fmt.Errorf("announce queue %s: %w", q, err)
		}
		if before && added > 0 {
			p.add(Queue)
		}
	}
	return nil
}
