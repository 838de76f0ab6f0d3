package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

// tripCounter counts the round trips of a client.
type tripCounter struct {
	trips, commands atomic.Int64
	fail            atomic.Bool // the client panics on the next trip
}

func (c *tripCounter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *tripCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (c *tripCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.trips.Add(1)
		c.commands.Add(int64(len(cmds)))
		if c.fail.CompareAndSwap(true, false) {
			panic("on the way")
		}
		return next(ctx, cmds)
	}
}

func openShared(t *testing.T, url string) (redis.UniversalClient, *tripCounter) {
	t.Helper()
	c, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(redisconn.Question)
	t.Cleanup(func() { _ = client.Close() })
	count := &tripCounter{}
	client.AddHook(count)
	return redisconn.Shared(client), count
}

// TestSharedTrips: everybody gets the answer to their own command, and few
// round trips carry many of them.
func TestSharedTrips(t *testing.T) {
	rdb, count := openShared(t, redistest.Start(t).URL)
	double := redis.NewScript(`return redis.call('INCRBY', KEYS[1], 2 * ARGV[1])`)
	ctx := t.Context()
	const callers, rounds = 50, 20
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for r := range rounds {
				key, field := fmt.Sprintf("h%d", i), fmt.Sprintf("f%d", r)
				if err := rdb.HSet(ctx, key, field, i*r).Err(); err != nil {
					t.Error(err)
				}
				if got, err := rdb.HGet(ctx, key, field).Int(); err != nil || got != i*r {
					t.Errorf("HGET: %d, %v; want %d", got, err, i*r)
				}
				if got, err := double.Run(ctx, rdb, []string{key + field + ":pending"}, i).Int(); err != nil || got != 2*i {
					t.Errorf("script: %d, %v; want %d", got, err, 2*i)
				}
			}
		})
	}
	all.Wait()
	trips, commands := count.trips.Load(), count.commands.Load()
	if commands < 3*callers*rounds || trips > commands/2 {
		t.Errorf("%d commands took %d trips", commands, trips)
	}
}

// TestSharedErrors: an error belongs to its own command.
func TestSharedErrors(t *testing.T) {
	rdb, _ := openShared(t, redistest.Start(t).URL)
	ctx := t.Context()
	if err := rdb.Set(ctx, "text", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			switch i % 3 {
			case 0:
				if err := rdb.HGet(ctx, "text", "f").Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") {
					t.Errorf("got %v, want WRONGTYPE", err)
				}
			case 1:
				if err := rdb.HGet(ctx, "nothing", "f").Err(); !errors.Is(err, redis.Nil) {
					t.Errorf("got %v, want redis.Nil", err)
				}
			case 2:
				if err := rdb.HSet(ctx, "h", i, i).Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestSharedWithoutRedis: when the way is closed everybody hears of it.
func TestSharedWithoutRedis(t *testing.T) {
	rdb, _ := openShared(t, "redis://127.0.0.1:1/0")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := rdb.HGet(t.Context(), "h", "f").Err(); err == nil {
				t.Error("no error from a Redis that is not there")
			}
		})
	}
	all.Wait()
}

// TestSharedPanic: a trip that never got under way answers nobody, and the next
// one goes.
func TestSharedPanic(t *testing.T) {
	rdb, count := openShared(t, redistest.Start(t).URL)
	count.fail.Store(true)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		rdb.HSet(t.Context(), "h", "f", 1)
	}()
	if err := rdb.HSet(t.Context(), "h", "f", 1).Err(); err != nil {
		t.Error(err)
	}
}
