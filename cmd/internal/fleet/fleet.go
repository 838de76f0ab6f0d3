// Package fleet tells which workers are alive on a Redis, and what they do there: asynq's
// servers, by what they say of themselves. Other programs' servers are none of them.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/tasks/onboard"
)

const (
	// serversKey is where asynq keeps which of its servers live, by when they are
	// taken for dead. asynq's own way to ask for them brings every task in work
	// with it, far more than is to be known here, and writes.
	serversKey = "asynq:servers"
	// mostServers bounds how many are looked at.
	mostServers = 1000
	// takesNothing is the status of a server that was paused, or is stopping.
	takesNothing = "stopped"
)

// Fleet is the workers that are alive on a Redis. A worker is a process.
type Fleet struct {
	Workers int // that take rows
	Slots   int // rows that they work on at once
	// Workers that take no rows: those that have stopped taking, after a SIGTSTP or
	// because they stop, and those that only take in installs, as their keys open
	// nothing.
	Paused, Installs int
	// Served are the queues that rows are taken from.
	Served map[string]bool
}

// Of looks for the workers that are alive now, by the clock of this machine. Queues
// are those of the fleet's portals; the names of shards are known without. It only reads.
func Of(ctx context.Context, rdb redis.UniversalClient, queues []string, now time.Time) (Fleet, error) {
	servers, err := living(ctx, rdb, now)
	if err != nil {
		return Fleet{}, fmt.Errorf("look for workers: %w", err)
	}
	f := Fleet{Served: map[string]bool{}}
	type process struct{ rows, takes bool }
	processes := map[string]process{}
	for _, s := range servers {
		rows := slices.ContainsFunc(s.queues, func(q string) bool { return slices.Contains(queues, q) || isShard(q) })
		if !rows && !slices.Contains(s.queues, onboard.Queue) {
			continue
		}
		p := processes[s.process]
		if rows {
			p.rows = true
			if s.status != takesNothing {
				p.takes = true
				f.Slots += s.slots
				for _, q := range s.queues {
					f.Served[q] = true
				}
			}
		}
		processes[s.process] = p
	}
	for _, p := range processes {
		switch {
		case p.takes:
			f.Workers++
		case p.rows:
			f.Paused++
		default:
			f.Installs++
		}
	}
	return f, nil
}

// living are asynq's servers that are alive.
func living(ctx context.Context, rdb redis.UniversalClient, now time.Time) ([]server, error) {
	names, err := rdb.ZRangeByScore(ctx, serversKey, &redis.ZRangeBy{Min: strconv.FormatInt(now.Unix(), 10), Max: "+inf", Count: mostServers}).Result()
	if err != nil {
		return nil, err
	}
	said := make([]*redis.StringCmd, len(names))
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			said[i] = p.Get(ctx, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // Nil: it has just ended
		return nil, err
	}
	var all []server
	for _, cmd := range said {
		if s, ok := decodeServer([]byte(cmd.Val())); ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// shardName is what the names of the portals' queues begin with. Workers serve such
// queues before the first portal is given one.
var shardName = strings.TrimSuffix(portals.QueueName(0), "0")

func isShard(queue string) bool {
	digits, ok := strings.CutPrefix(queue, shardName)
	_, err := strconv.ParseUint(digits, 10, 32)
	return ok && err == nil
}
