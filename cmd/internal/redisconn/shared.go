// Shared round trips.

package redisconn

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Shared returns a view of a client on which the commands of many goroutines
// travel together, each caller still waiting for its own answer: EVALSHA, HGET
// and HSET, which are nearly all that a busy worker sends. A round trip costs
// both sides far more than the command in it. Whoever wants to share trips has
// to use the same view.
//
// A connection lost on the way repeats all that was on it, as it repeats a
// single command otherwise. The caller's context ends no command: the client's
// own timeouts do. Closing the client ends the view.
func Shared(c redis.UniversalClient) redis.UniversalClient {
	if cluster, ok := c.(*redis.ClusterClient); ok {
		return sharedCluster(cluster)
	}
	return &shared{UniversalClient: c, all: newTrips(c, true), looks: newTrips(c, false)}
}

type shared struct {
	redis.UniversalClient
	all   *trips
	looks *trips // of asynq for the next task
}

// EvalSha implements [redis.Scripter].
func (s *shared) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", sha, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	if looksForTask(keys) {
		s.looks.take(cmd)
	} else {
		s.all.take(cmd)
	}
	return cmd
}

// looksForTask reports whether a script with these keys is the one by which a
// server of asynq looks for tasks, one trip after the other. Behind all that the
// earlier tasks have to say it would be the slowest of all.
func looksForTask(keys []string) bool {
	return len(keys) > 0 && strings.HasSuffix(keys[0], ":pending")
}

// HGet implements [redis.Cmdable].
func (s *shared) HGet(ctx context.Context, key, field string) *redis.StringCmd {
	cmd := redis.NewStringCmd(ctx, "hget", key, field)
	s.all.take(cmd)
	return cmd
}

// HSet implements [redis.Cmdable].
func (s *shared) HSet(ctx context.Context, key string, values ...any) *redis.IntCmd {
	cmd := redis.NewIntCmd(ctx, append([]any{"hset", key}, values...)...)
	s.all.take(cmd)
	return cmd
}

// trips takes commands to Redis and back, one trip after the other. What comes
// while one is under way leaves with the next.
type trips struct {
	client redis.UniversalClient
	ctx    context.Context //nolint:containedctx // without an end: no caller's end is all others'
	turn   chan struct{}   // holds an entry while a trip is under way
	yields bool            // lets what is about to be asked come along

	mu   sync.Mutex
	next *trip // gathers commands; nil: nobody waits
}

// trip is one round trip. Whoever brings its first command makes it, for
// everybody.
type trip struct {
	cmds []redis.Cmder
	over chan struct{} // closed when every command has its answer
}

// tripSize is how many commands make a trip at most, so that the first answer
// does not wait long for the last command.
const tripSize = 256

func newTrips(c redis.UniversalClient, yields bool) *trips {
	return &trips{client: c, ctx: context.Background(), turn: make(chan struct{}, 1), yields: yields}
}

// take returns when cmd has its answer.
func (t *trips) take(cmd redis.Cmder) {
	b, leads := t.join(cmd)
	if !leads {
		<-b.over
		return
	}
	t.turn <- struct{}{}
	defer func() {
		close(b.over)
		<-t.turn
	}()
	if t.yields {
		// An idle process notices nothing of it; a busy one makes half as many trips.
		runtime.Gosched()
	}
	t.close(b)
	b.run(t.ctx, t.client)
}

// join adds a command to the next trip, and reports whether it is the first.
func (t *trips) join(cmd redis.Cmder) (b *trip, leads bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if leads = t.next == nil || len(t.next.cmds) >= tripSize; leads {
		t.next = &trip{over: make(chan struct{})}
	}
	t.next.cmds = append(t.next.cmds, cmd)
	return t.next, leads
}

// close lets nobody else join a trip.
func (t *trips) close(b *trip) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == b {
		t.next = nil
	}
}

// errNoTrip is what a command's caller gets if there was no trip: somebody
// else's command has made the client panic.
var errNoTrip = errors.New("redis: the command was not sent")

func (b *trip) run(ctx context.Context, client redis.UniversalClient) {
	p := client.Pipeline()
	for _, cmd := range b.cmds {
		cmd.SetErr(errNoTrip)
		_ = p.Process(ctx, cmd) // it only keeps it
	}
	_, _ = p.Exec(ctx) // every command has its own error
}
