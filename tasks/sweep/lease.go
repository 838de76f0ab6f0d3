// The lease by which one worker of a fleet sweeps at a time.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

const leaseKey = "botfleet:{sweep}:lease"

// errLost ends what a sweeper does when its lease has ended.
var errLost = errors.New("another worker may be sweeping by now")

// lease is the right to sweep.
type lease struct {
	redis   redis.UniversalClient
	token   string
	ttl     time.Duration
	began   time.Time
	renewed atomic.Int64 // after began, ns
}

// take takes the lease; nil when another has it.
func (s *Sweeper) take(ctx context.Context) (*lease, error) {
	l := &lease{redis: s.redis, token: uuid.NewString(), ttl: s.leaseTTL, began: time.Now()}
	err := s.redis.SetArgs(ctx, leaseKey, l.token, redis.SetArgs{Mode: "NX", TTL: l.ttl}).Err()
	if errors.Is(err, redis.Nil) {
		return nil, nil //nolint:nilnil // there is none to be had, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("take the sweeper's lease: %w", err)
	}
	return l, nil
}

// valid says whether the lease certainly is still this worker's.
func (l *lease) valid() bool {
	return time.Since(l.began)-time.Duration(l.renewed.Load()) < l.ttl
}

// keep renews the lease until stop is called, which gives it back and waits. The
// context ends when the lease is lost.
func (l *lease) keep(ctx context.Context) (kept context.Context, stop func()) {
	kept, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(l.ttl / 3)
		defer tick.Stop()
		for {
			select {
			case <-kept.Done():
				return
			case <-tick.C:
			}
			if !l.renew(kept) {
				cancel(errLost)
				return
			}
		}
	}()
	return kept, func() {
		cancel(nil)
		<-done
		l.release(ctx)
	}
}

var renewScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// renew reports whether the lease is not lost yet.
func (l *lease) renew(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	at := time.Since(l.began)
	n, err := renewScript.Run(ctx, l.redis, []string{leaseKey}, l.token, l.ttl.Milliseconds()).Int()
	if err != nil {
		return l.valid()
	}
	if n == 1 {
		l.renewed.Store(int64(at))
	}
	return n == 1
}

var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

// release lets others sweep at once. If it fails they can when the lease ends.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ttl/3)
	defer cancel()
	_ = releaseScript.Run(ctx, l.redis, []string{leaseKey}, l.token).Err()
}
