// Enqueueing: Submit beside asynq's own client.

package main

import (
	"context"
	"fmt"
)

// leastEnqueue is the share of bare asynq's rate that Submit must reach.
const leastEnqueue = 0.7

// enqueue measures how fast rows are submitted.
func (b *bench) enqueue(ctx context.Context) ([]figure, error) {
	webhooks := make([]string, pipelinePortals)
	for i := range webhooks {
		webhooks[i] = fmt.Sprintf("https://portal%d.bitrix24.ru/rest/1/benchbenchbench1/", i)
	}
	w, err := newWorkload(webhooks, b.rows)
	if err != nil {
		return nil, err
	}
	r := race{n: b.rows}
	for round := range b.rounds {
		var ourTook, bareTook spent
		ours := func() (err error) { ourTook, err = b.submitOnce(ctx, w); return err }
		theirs := func() (err error) { bareTook, err = b.enqueueBare(ctx, w); return err }
		if err := inTurn(round, theirs, ours); err != nil {
			return nil, err
		}
		r.add(ourTook.clock, bareTook.clock)
		b.sayf("round %d of %d: submit: %v, bare asynq %v", round+1, b.rounds, ourTook, bareTook)
	}
	return []figure{r.figure("enqueue", fmt.Sprintf("; %d rows, %d at once", b.rows, enqueuers), leastEnqueue)}, nil
}

func (b *bench) enqueueBare(ctx context.Context, w workload) (spent, error) {
	a, err := b.newBare(ctx, len(w.rows))
	if err != nil {
		return spent{}, err
	}
	m := b.redis.meter(ctx)
	err = a.enqueue(ctx, w)
	took := m.read(ctx)
	if err != nil {
		return spent{}, err
	}
	return took, b.checkPending(ctx, a.queues, len(w.rows))
}

func (b *bench) submitOnce(ctx context.Context, w workload) (spent, error) {
	if err := b.redis.empty(ctx); err != nil {
		return spent{}, err
	}
	base, cfg, err := b.open(ctx, w)
	if err != nil {
		return spent{}, err
	}
	defer func() { _ = base.Close() }()
	endProfile, err := b.profile("enqueue")
	if err != nil {
		return spent{}, err
	}
	m := b.redis.meter(ctx)
	err = w.submit(ctx, base, cfg)
	took := m.read(ctx)
	endProfile()
	if err != nil {
		return spent{}, err
	}
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return spent{}, err
	}
	return took, b.checkPending(ctx, queues, len(w.rows))
}

// checkPending makes sure that the tasks are there.
func (b *bench) checkPending(ctx context.Context, queues []string, n int) error {
	pending := 0
	for _, q := range queues {
		count, err := b.redis.client.LLen(ctx, "asynq:{"+q+"}:pending").Result()
		if err != nil {
			return fmt.Errorf("count the pending tasks: %w", err)
		}
		pending += int(count)
	}
	if pending != n {
		return fmt.Errorf("%d of %d tasks are pending", pending, n)
	}
	return nil
}
