// Fetching ahead: several tasks with one round trip.

package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// asynq's servers fetch one task a round trip, one after the other, so that the
// rate of a queue is the round trip's, and a busy worker's round trips are long.
// fetcher is the client under the servers. It answers their question for the next
// task with several tasks from Redis, the first at once and the others when they
// ask next, which on a busy queue is within a millisecond. They are asynq's own
// active tasks, with its lease, from the moment they leave Redis, so that nothing
// is lost with a worker. What is not asked for within a second, or when the worker
// stops, goes back to the head of the queue.
type fetcher struct {
	redis.UniversalClient

	mu     sync.Mutex
	queues map[string]*ahead // by the key of the pending tasks
}

const (
	// fetchScript is the SHA-1 of the script by which asynq v0.26.0 fetches a
	// task. Another version's is none of our business: it goes to Redis as it is.
	fetchScript = "a8153319360adc71cdc370107f8ab9786f204765"
	// fetchedAhead is how many tasks are fetched at once from a busy queue.
	fetchedAhead = 16
	// busyFetch is how soon after one task the next is asked for on a busy queue.
	busyFetch = 2 * time.Millisecond
	// fetchTrouble is how long a server waits after a question that failed.
	fetchTrouble = time.Second
	// keptAhead is how long a fetched task may wait. Its lease of 30 s runs.
	keptAhead = time.Second
	// giveBackWithin bounds the giving back of tasks.
	giveBackWithin = 5 * time.Second
)

func newFetcher(c redis.UniversalClient) *fetcher {
	return &fetcher{UniversalClient: c, queues: make(map[string]*ahead)}
}

// EvalSha implements [redis.Scripter].
func (f *fetcher) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if sha != fetchScript || len(keys) != 4 || len(args) != 2 {
		return f.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	cmd := redis.NewCmd(ctx, "evalsha", sha)
	message, err := f.queue(keys).next(ctx, args[0], args[1])
	if err != nil {
		cmd.SetErr(err)
		if !errors.Is(err, redis.Nil) {
			// asynq asks again at once, thousands of times a second while Redis is full.
			_ = pause(ctx, fetchTrouble)
		}
	} else {
		cmd.SetVal(message)
	}
	return cmd
}

func (f *fetcher) queue(keys []string) *ahead {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.queues[keys[0]]
	if a == nil {
		a = &ahead{client: f.UniversalClient, keys: keys}
		f.queues[keys[0]] = a
	}
	return a
}

// stop gives back what nobody will ask for. Nothing is fetched ahead after it.
func (f *fetcher) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.queues {
		a.stop()
	}
}

// ahead are the tasks of one queue that have been fetched ahead.
type ahead struct {
	client redis.UniversalClient
	keys   []string // pending, paused, active, lease

	mu      sync.Mutex
	tasks   []aheadTask
	prefix  any       // of the tasks' keys
	asked   time.Time // when a server last asked
	timer   *time.Timer
	stopped bool
}

type aheadTask struct {
	id, message string
	lease       any // when it ends, as asynq has set it
	at          time.Time
}

// fetchMany moves up to ARGV[3] tasks of a queue that is not paused from pending
// to active, as asynq does it, and answers an id and a message for each.
// KEYS: pending, paused, active, lease. ARGV: the lease's end, prefix of tasks' keys.
var fetchMany = redis.NewScript(`
local out = {}
if redis.call('EXISTS', KEYS[2]) == 1 then return out end
for _ = 1, tonumber(ARGV[3]) do
  local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3])
  if not id then break end
  local key = ARGV[2] .. id
  redis.call('HSET', key, 'state', 'active')
  redis.call('HDEL', key, 'pending_since')
  redis.call('ZADD', KEYS[4], ARGV[1], id)
  local message = redis.call('HGET', key, 'msg')
  if message then
    out[#out + 1] = id
    out[#out + 1] = message
  end
end
return out
`)

// giveBack moves active tasks back to the head of the queue, the last one first,
// unless their lease has ended and somebody else has them.
// KEYS: pending, active, lease. ARGV: prefix of tasks' keys, then an id and its lease's end for each.
var giveBack = redis.NewScript(`
for i = #ARGV - 1, 2, -2 do
  local id, lease = ARGV[i], redis.call('ZSCORE', KEYS[3], ARGV[i])
  if lease and tonumber(lease) == tonumber(ARGV[i + 1]) and redis.call('LREM', KEYS[2], 0, id) > 0 then
    redis.call('ZREM', KEYS[3], id)
    redis.call('RPUSH', KEYS[1], id)
    redis.call('HSET', ARGV[1] .. id, 'state', 'pending')
  end
end
return 0
`)

// next returns the message of the next task, redis.Nil when there is none.
func (a *ahead) next(ctx context.Context, lease, prefix any) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	busy := now.Sub(a.asked) < busyFetch
	a.asked, a.prefix = now, prefix
	if len(a.tasks) > 0 && now.Sub(a.tasks[0].at) >= keptAhead {
		a.giveBack()
	}
	if len(a.tasks) == 0 {
		n := 1
		if busy && !a.stopped {
			n = fetchedAhead
		}
		if err := a.fetch(ctx, now, lease, n); err != nil {
			return "", err
		}
	}
	t := a.tasks[0]
	a.tasks[0] = aheadTask{}
	a.tasks = a.tasks[1:]
	return t.message, nil
}

func (a *ahead) fetch(ctx context.Context, now time.Time, lease any, n int) error {
	words, err := fetchMany.Run(ctx, a.client, a.keys, lease, a.prefix, n).StringSlice()
	if err != nil {
		return err // asynq says what it was doing
	}
	a.tasks = a.tasks[:0]
	for i := 0; i+1 < len(words); i += 2 {
		a.tasks = append(a.tasks, aheadTask{id: words[i], message: words[i+1], lease: lease, at: now})
	}
	if len(a.tasks) == 0 {
		return redis.Nil
	}
	if len(a.tasks) > 1 {
		a.expireLater()
	}
	return nil
}

// expireLater has tasks given back that nobody asks for.
func (a *ahead) expireLater() {
	if a.timer == nil {
		a.timer = time.AfterFunc(keptAhead, a.expire)
		return
	}
	a.timer.Reset(keptAhead)
}

func (a *ahead) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tasks) > 0 && time.Since(a.tasks[0].at) >= keptAhead {
		a.giveBack()
	}
}

func (a *ahead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.giveBack()
}

// giveBack returns the tasks to their queue. Those that Redis does not take back
// come back by themselves when their lease has ended.
//
//nolint:contextcheck,nolintlint // it has a bound of its own: whoever asks, or stops, may be about to end
func (a *ahead) giveBack() {
	if len(a.tasks) == 0 {
		return
	}
	args := []any{a.prefix}
	for _, t := range a.tasks {
		args = append(args, t.id, t.lease)
	}
	a.tasks = nil
	ctx, cancel := context.WithTimeout(context.Background(), giveBackWithin)
	defer cancel()
	// On an error nobody can do more.
	_ = giveBack.Run(ctx, a.client, []string{a.keys[0], a.keys[2], a.keys[3]}, args...).Err()
}
