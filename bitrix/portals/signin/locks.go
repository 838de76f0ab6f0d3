// The lock that lets one process of a fleet renew a portal's token.

package signin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// LockTime is how long a lock lasts that is not unlocked. A renewal has 10 s to
// ask after it got the lock and 25 s to be answered, which leaves 25 s for a
// server that is still at work on a request that nobody waits for any more.
const LockTime = time.Minute

// Locks keeps a portal's token from being renewed by two processes at once.
type Locks interface {
	// Lock waits until it has a portal's lock, or ctx ends. A lock ends by itself
	// after [LockTime]. It is not always unlocked: after a renewal whose end is
	// unknown, nobody is to try the same pair again before that time.
	Lock(ctx context.Context, portalID string) (unlock func(), err error)
}

// noLocks is for a process that is alone.
type noLocks struct{}

func (noLocks) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// redisLocks are locks in one Redis.
type redisLocks struct {
	sync *redsync.Redsync
	time time.Duration
}

// NewRedisLocks keeps locks in a Redis, under botfleet:{refresh:PORTAL}.
func NewRedisLocks(client redis.UniversalClient) Locks {
	return redisLocks{redsync.New(goredis.NewPool(client)), LockTime}
}

// How often a lock is asked for that somebody else has: often at first, as a
// renewal takes a fraction of a second.
const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = time.Second
)

// unlockWithin bounds an unlocking; a lock that is not unlocked ends by itself.
const unlockWithin = 5 * time.Second

// Lock implements [Locks]. A try is not broken off when ctx ends, as it might
// leave a lock behind that nobody knows to have: redsync bounds it by 3 s, a
// twentieth of the lock's time.
func (l redisLocks) Lock(ctx context.Context, portalID string) (func(), error) {
	mutex := l.sync.NewMutex("botfleet:{refresh:"+portalID+"}", redsync.WithExpiry(l.time))
	for poll := firstPoll; ; poll = min(poll*3/2, lastPoll) {
		err := mutex.TryLockContext(context.WithoutCancel(ctx))
		if err == nil {
			return func() { unlock(ctx, mutex) }, nil
		}
		if taken := (*redsync.ErrTaken)(nil); !errors.As(err, &taken) {
			return nil, fmt.Errorf("lock portal %s for a renewal: %w", portalID, err)
		}
		if err := pause(ctx, poll/2+rand.N(poll)); err != nil { //nolint:gosec // spreads tries, no secret
			return nil, err
		}
	}
}

// unlock ends a lock; if Redis cannot be asked, the lock ends by itself.
func unlock(ctx context.Context, mutex *redsync.Mutex) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockWithin)
	defer cancel()
	_, _ = mutex.UnlockContext(ctx)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
