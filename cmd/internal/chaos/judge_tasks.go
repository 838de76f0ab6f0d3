// The queues: nothing waits, nothing is stranded, and what is kept is true.

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// judgeTasks looks at every task there is.
func (c *court) judgeTasks(ctx context.Context) error {
	queues, err := c.registry.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		info, err := c.inspector.GetQueueInfo(q)
		if err != nil {
			c.problemf("queue %s cannot be looked at: %v", q, err)
			continue
		}
		if n := info.Pending + info.Active + info.Scheduled + info.Retry; n > 0 {
			c.problemf("queue %s has %d living tasks, and no row waits: %+v", q, n, info)
		}
		if n, err := c.redis.client.ZCard(ctx, "asynq:{"+q+"}:lease").Result(); err != nil || n > 0 {
			c.problemf("queue %s has %d leases left, %v", q, n, err)
		}
	}
	for cursor := uint64(0); ; {
		keys, next, err := c.redis.client.Scan(ctx, cursor, "asynq:{*}:t:*", 1000).Result()
		if err != nil {
			return fmt.Errorf("look for tasks: %w", err)
		}
		for _, key := range keys {
			if err := c.judgeTask(ctx, key); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// judgeTask looks at one task: where it is listed, and whose it is.
func (c *court) judgeTask(ctx context.Context, key string) error {
	queue, id, _ := strings.Cut(strings.TrimPrefix(key, "asynq:{"), "}:t:")
	state, err := c.redis.client.HGet(ctx, key, "state").Result()
	if err != nil {
		return fmt.Errorf("look at task %s: %w", id, err)
	}
	if err := c.redis.client.ZScore(ctx, "asynq:{"+queue+"}:"+state, id).Err(); err != nil {
		c.problemf("task %s of queue %s is %s and not listed so: %v", id, queue, state, err)
		return nil
	}
	t, err := c.inspector.GetTaskInfo(queue, id)
	if err != nil {
		c.problemf("task %s of queue %s cannot be looked at: %v", id, queue, err)
		return nil
	}
	p, err := tasks.DecodePayload(t.Payload)
	if err != nil {
		c.problemf("task %s of queue %s cannot be read: %v", id, queue, err)
		return nil
	}
	r, ok := c.rows[p.Run][p.Row]
	if !ok {
		c.problemf("task %s of queue %s is of row %d of run %s, which is not there", id, queue, p.Row, p.Run)
		return nil
	}
	want := map[string]runs.Status{"archived": runs.StatusDead, "completed": runs.StatusRegistered}[state]
	if r.Status != string(want) {
		c.problemf("task %s of queue %s is %s, and its row %d of run %s is %+v", id, queue, state, p.Row, p.Run, r)
		return nil
	}
	if bot, err := strconv.ParseInt(string(t.Result), 10, 64); state == "completed" && (err != nil || bot != r.BotID) {
		c.problemf("task %s of queue %s has the result %q, and its row is %+v", id, queue, t.Result, r)
	}
	return nil
}
