// One worker at a time, for as long as the gate is kept within one process.

package tasks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	soloKey = "botfleet:worker"
	// soloTTL is how long a worker that has died keeps others out.
	soloTTL = 15 * time.Second
	// soloBeat is how often a living worker says so.
	soloBeat = 3 * time.Second
)

// ErrNotAlone is returned when another worker is at work on the same Redis.
var ErrNotAlone = errors.New("another worker is running on this Redis, and they would not share the portals' limits: stop it first, or use another Redis")

// ErrSoloLost ends a worker whose claim was taken over while it was out of
// reach for longer than the claim lasts.
var ErrSoloLost = errors.New("another worker has taken over while this one could not reach Redis")

// Solo is a claim to be the only worker on a Redis.
type Solo struct {
	rdb   redis.UniversalClient
	id    string
	beats int

	stop context.CancelFunc
	done sync.WaitGroup
	lost chan error
}

var (
	soloClaim = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
if cur and string.sub(cur, 1, #ARGV[1] + 1) ~= ARGV[1] .. '|' then return cur end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ''`)
	soloRelease = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
if cur and string.sub(cur, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then redis.call('DEL', KEYS[1]) end
return 0`)
)

// Claim claims to be the only worker. who names this one to people, such as
// host and process id. When another's claim stands, it watches whether that
// worker is alive: a living one makes it return [ErrNotAlone] within seconds, a
// dead one's claim is waited out.
func Claim(ctx context.Context, rdb redis.UniversalClient, who string) (*Solo, error) {
	// Two that are called the same, such as process 1 of two containers on one
	// host, are still two.
	id := strings.ReplaceAll(who, "|", "-") + "|" + rand.Text()
	s := &Solo{rdb: rdb, id: id, lost: make(chan error, 1)}
	var first string
	tick := time.NewTicker(soloBeat / 6)
	defer tick.Stop()
	for {
		other, err := s.beat(ctx)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx) // whatever Redis said of being broken off
		}
		if err != nil {
			return nil, fmt.Errorf("claim to be the only worker: %w", err)
		}
		if other == "" {
			break
		}
		if first == "" {
			first = other
		} else if other != first {
			name, _, _ := strings.Cut(other, "|")
			return nil, fmt.Errorf("%w (it is %s)", ErrNotAlone, name)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	s.done.Go(func() { s.keep(run) })
	return s, nil
}

// beat renews the claim. It returns another's claim when one stands.
func (s *Solo) beat(ctx context.Context) (other string, err error) {
	s.beats++
	value := s.id + "|" + strconv.Itoa(s.beats)
	return soloClaim.Run(ctx, s.rdb, []string{soloKey}, s.id, value, soloTTL.Milliseconds()).Text()
}

// keep renews the claim until it is released or lost. Redis out of reach is no
// loss by itself: without Redis there are no tasks either.
func (s *Solo) keep(ctx context.Context) {
	tick := time.NewTicker(soloBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		other, err := s.beat(ctx)
		if err == nil && other != "" {
			s.lost <- ErrSoloLost
			return
		}
	}
}

// Lost receives one error when the claim is lost.
func (s *Solo) Lost() <-chan error { return s.lost }

// Release gives the claim up.
func (s *Solo) Release(ctx context.Context) error {
	s.stop()
	s.done.Wait()
	if err := soloRelease.Run(ctx, s.rdb, []string{soloKey}, s.id).Err(); err != nil {
		return fmt.Errorf("release the claim to be the only worker: %w", err)
	}
	return nil
}
