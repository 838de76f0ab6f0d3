// Package overview is the worker's own page, for whoever operates it: the runs
// and how they get on, the portals that get no requests and why, what is left of
// the limits of the busiest ones, and the queues.
//
//	page, err := overview.New(overview.Config{Runs: base.Runs, …})
//	mux.Handle("GET /{$}", page)
//	mux.Handle("GET /runs/{id}", page)
//	mux.Handle("GET /assets/", page)
//	… serve …
//	page.Close()
//
// What it shows is asked for once for everybody who looks, in parts that are kept
// for some seconds (longer where asking took long), and each part within a bound:
// what could not be had is said on the page. Nothing is asked while nobody looks.
package overview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

// Queues tells of asynq's queues; [asynq.Inspector] does.
type Queues interface {
	Queues() ([]string, error)
	GetQueueInfo(queue string) (*asynq.QueueInfo, error)
	ListRetryTasks(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)
}

// Config of the page. Runs, Registry, Gate, Queues and Redis are needed.
type Config struct {
	Runs *runs.Store
	// Registry finds portals. One without secrets is enough.
	Registry *portals.Registry
	Gate     ratelimit.Gate
	Queues   Queues
	// Redis is asked for the time, its memory, and which workers live.
	Redis redis.UniversalClient
	// Warnings name what will soon keep rows from being worked on, a line each.
	// Nil: nothing does.
	Warnings func(ctx context.Context) []string
	// Batch is how many rows a request may carry, 1 or less where none are
	// batched, and Parallel how many requests may be on their way to one portal.
	Batch, Parallel int
	// Dashboard is the path under which asynqmon is served, "/dashboard/". Empty:
	// it is not, and no links lead there.
	Dashboard string
	Version   string
	Log       *slog.Logger     // nil: nothing is logged
	Now       func() time.Time // defaults to time.Now; times are shown in the zone that its answers have
}

// Overview serves the page. Close ends it.
type Overview struct {
	cfg   Config
	mux   *http.ServeMux
	looks *looks
	names *portals.Cache

	alive   *kept[struct{}]
	list    *kept[runsLook]
	held    *kept[heldLook]
	gate    *kept[gateLook]
	queues  *kept[queueLook]
	putOff  *kept[putOffLook]
	server  *kept[serverLook]
	details *details
}

// namedPortals is how many portals are kept at hand: more than are looked up
// for one page.
const namedPortals = 2000

// New returns the page. It asks nobody anything yet.
func New(c Config) (*Overview, error) {
	if c.Runs == nil || c.Registry == nil || c.Gate == nil || c.Queues == nil || c.Redis == nil {
		return nil, errors.New("overview: runs, registry, gate, queues and Redis are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Dashboard != "" {
		c.Dashboard = "/" + strings.Trim(c.Dashboard, "/") + "/"
	}
	o := &Overview{cfg: c, looks: newLooks(c.Now, c.Log), names: portals.NewCache(c.Registry, namedPortals)}
	// Whether Redis answers costs next to nothing, and what is kept of it must not
	// pass for what it says now.
	o.alive = keep(o.looks, "an answer of Redis", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.Redis.Ping(ctx).Err()
	})
	o.alive.most = errFor
	o.list = keep(o.looks, "runs", o.askRuns)
	o.held = keep(o.looks, "held portals", o.askHeld)
	o.gate = keep(o.looks, "limits", o.askGate)
	o.queues = keep(o.looks, "queues", o.askQueues)
	o.putOff = keep(o.looks, "put-off rows", o.askPutOff)
	o.server = keep(o.looks, "Redis", o.askServer)
	o.details = newDetails(o)
	mux, err := o.routes()
	if err != nil {
		return nil, fmt.Errorf("overview: %w", err)
	}
	o.mux = mux
	return o, nil
}

// ServeHTTP implements [http.Handler].
func (o *Overview) ServeHTTP(rw http.ResponseWriter, r *http.Request) { o.mux.ServeHTTP(rw, r) }

// Close ends what is being asked, and waits for that. Close the Redis client
// after it.
func (o *Overview) Close() { o.looks.close() }
