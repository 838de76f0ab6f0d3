// Redis, and who works on it.

package overview

import (
	"context"
	"fmt"
	"time"

	"botfleet/cmd/internal/fleet"
	"botfleet/cmd/internal/redisconn"
)

// serverLook is Redis and who works on it.
type serverLook struct {
	memory   redisconn.Server // the fullest one
	workers  int              // processes that take rows
	idle     int              // processes that live and take none
	ahead    time.Duration    // of Redis' clock to ours
	warnings []string
}

func (o *Overview) askServer(ctx context.Context) (serverLook, error) {
	var look serverLook
	at, err := o.cfg.Redis.Time(ctx).Result()
	if err != nil {
		return look, fmt.Errorf("ask Redis for the time: %w", err)
	}
	look.ahead = at.Sub(o.cfg.Now())
	queues, err := o.cfg.Registry.Queues(ctx)
	if err != nil {
		return look, err
	}
	there, err := fleet.Of(ctx, o.cfg.Redis, queues, o.cfg.Now())
	if err != nil {
		return look, err
	}
	look.workers, look.idle = there.Workers, there.Paused
	servers, err := redisconn.Servers(ctx, o.cfg.Redis)
	if err != nil {
		return look, err
	}
	look.memory = redisconn.Fullest(servers)
	if o.cfg.Warnings != nil {
		look.warnings = o.cfg.Warnings(ctx)
	}
	return look, nil
}
