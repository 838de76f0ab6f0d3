// The baseline: asynq alone, doing nothing but what any user of it pays for.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/redisconn"
	"botfleet/tasks"
)

// enqueuers is how many goroutines enqueue at once, as many as Submit has.
const enqueuers = 32

// bare is asynq alone on the benchmark's Redis.
type bare struct {
	redis  *redisServer
	cfg    config.Config
	conn   redisconn.Config
	queues []string
	n      int
}

// newBare empties Redis for n tasks.
func (b *bench) newBare(ctx context.Context, n int) (*bare, error) {
	if err := b.redis.empty(ctx); err != nil {
		return nil, err
	}
	cfg, err := config.Load(b.environment(portals.NewKey()), config.Flags{})
	if err != nil {
		return nil, err
	}
	conn, err := redisconn.Parse(b.redis.url)
	if err != nil {
		return nil, err
	}
	a := &bare{redis: b.redis, cfg: cfg, conn: conn, n: n}
	for i := range cfg.Shards {
		a.queues = append(a.queues, portals.QueueName(i))
	}
	return a, nil
}

// enqueue queues all tasks, with payloads and options like those of Submit.
func (a *bare) enqueue(ctx context.Context, w workload) error {
	rdb := a.conn.Client(redisconn.Store)
	defer func() { _ = rdb.Close() }()
	client := asynq.NewClientFromRedisClient(rdb)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range enqueuers {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < a.n; i = int(next.Add(1)) - 1 {
				task, err := a.task(&w.rows[i])
				if err != nil {
					return err
				}
				if _, err := client.EnqueueContext(ctx, task); err != nil {
					return fmt.Errorf("enqueue bare task %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// task is what Submit would queue for a row.
func (a *bare) task(r *tasks.Registration) (*asynq.Task, error) {
	body, err := tasks.Payload{
		Run: runID, Row: r.Row, PortalID: "0123456789abcdef", Portal: r.Portal, Code: r.Bot.Code, Name: r.Bot.Properties.Name,
	}.Encode()
	if err != nil {
		return nil, err
	}
	return asynq.NewTask("bare", body,
		asynq.TaskID(tasks.TaskID(r.Portal, "", r.Bot.Code)), asynq.Queue(a.queues[r.Row%len(a.queues)]),
		asynq.Timeout(15*time.Minute), asynq.MaxRetry(math.MaxInt32), asynq.Retention(a.cfg.ResultTTL)), nil
}

// drain works all tasks off with servers like those of the worker, and returns
// what that took from their start to the last completion.
func (a *bare) drain(ctx context.Context) (spent, error) {
	rdb := a.conn.Client(redisconn.Engine)
	defer func() { _ = rdb.Close() }()
	m := a.redis.meter(ctx)
	servers := make([]*asynq.Server, len(a.queues))
	for i, q := range a.queues {
		servers[i] = asynq.NewServerFromRedisClient(rdb, a.server(q))
		if err := servers[i].Start(asynq.HandlerFunc(writeResult)); err != nil {
			return spent{}, fmt.Errorf("start a bare server: %w", err)
		}
	}
	err := a.redis.awaitCompleted(ctx, a.queues, a.n)
	took := m.read(ctx)
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.Shutdown)
	}
	all.Wait()
	return took, err
}

// server is the configuration of one of the worker's servers.
func (a *bare) server(queue string) asynq.Config {
	return asynq.Config{
		Queues:                   map[string]int{queue: 1},
		Concurrency:              a.cfg.Concurrency / len(a.queues),
		TaskCheckInterval:        250 * time.Millisecond,
		DelayedTaskCheckInterval: 500 * time.Millisecond,
		Logger:                   quiet{},
	}
}

// writeResult is the empty handler: a BOT_ID as the result, and nothing else.
func writeResult(_ context.Context, t *asynq.Task) error {
	_, err := t.ResultWriter().Write([]byte("1000039"))
	return err
}

// quiet drops asynq's log lines, but for errors.
type quiet struct{}

func (quiet) Debug(...any)      {}
func (quiet) Info(...any)       {}
func (quiet) Warn(...any)       {}
func (quiet) Error(args ...any) { slog.Error(fmt.Sprint(args...)) }
func (quiet) Fatal(args ...any) { slog.Error(fmt.Sprint(args...)) }
