// Package engine puts the parts together: what both commands need on a Redis,
// and the worker that `worker` and `enqueue run` have in common.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

// Base is what producers and workers need on one Redis.
type Base struct {
	Redis redis.UniversalClient
	// Registry finds portals without opening their credentials.
	Registry  *portals.Registry
	Runs      *runs.Store
	Inspector *asynq.Inspector
	// Tracer follows what clients of this base submit and what its worker does. It
	// is set before either is made. Nil: nothing does.
	Tracer Tracer

	conn   redisconn.Config
	shared redis.UniversalClient // Redis, for what is asked row by row
	queue  redis.UniversalClient // asynq's own: it waits out an outage
	room   *room
}

// Open connects to a Redis and checks that it can be worked with. Close ends it.
func Open(ctx context.Context, cfg config.Config, redisURL string) (*Base, error) {
	b, replica, err := OpenToLook(ctx, cfg, redisURL)
	if replica != nil {
		return nil, errors.Join(replica, b.Close())
	}
	return b, err
}

// OpenToLook is [Open] for those who write nothing: a read-only replica will do,
// and replica says that it is one.
func OpenToLook(ctx context.Context, cfg config.Config, redisURL string) (b *Base, replica, err error) {
	conn, err := redisconn.Parse(redisURL)
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	if err := conn.Check(ctx); errors.Is(err, redisconn.ErrReplica) {
		replica = err
	} else if err != nil {
		return nil, nil, err
	}
	b = open(conn, cfg)
	if err := b.checkEviction(ctx); err != nil && !cfg.AllowEviction {
		return nil, nil, errors.Join(err, b.Close())
	}
	return b, replica, nil
}

func open(conn redisconn.Config, cfg config.Config) *Base {
	b := &Base{conn: conn, Redis: conn.Client(redisconn.Store), queue: conn.Client(redisconn.Engine)}
	b.Registry = portals.New(b.Redis, cfg.Keys, portals.Options{Shards: cfg.Shards, WithoutSecrets: true})
	b.shared = redisconn.Shared(b.Redis)
	b.Runs = runs.New(b.Redis, runs.Options{TTL: cfg.ResultTTL, Rows: b.shared})
	b.Inspector = asynq.NewInspectorFromRedisClient(b.Redis)
	b.room = &room{asker: b.Redis}
	return b
}

// Gate returns the gate of all workers on this Redis.
func (b *Base) Gate(cfg config.Config) ratelimit.Gate {
	return ratelimit.NewShared(ratelimit.SharedConfig{
		Redis: b.shared, Parallel: cfg.PortalParallel, MaxRPS: cfg.MaxRPS, Egress: cfg.Egress,
		TicketTTL: ticketTTL(cfg),
	})
}

// ticketTTL is after what time a request is given up whose end nobody has told:
// its worker has died, and its place is free for others. None takes longer than
// its timeout; the rest is for clocks and a slow Redis.
func ticketTTL(cfg config.Config) time.Duration { return cfg.RequestTimeout + 10*time.Second }

// Client returns a client that submits registrations. retention is how long a
// registered bot is remembered. gate says when portals take their rows.
func (b *Base) Client(cfg config.Config, retention time.Duration, gate ratelimit.Gate) *tasks.Client {
	batch := cfg.BatchSize
	if dispatch.Batching(cfg.Batch) == dispatch.Off {
		batch = 1
	}
	return tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(b.shared), Inspector: b.Inspector,
		Portals: b.Registry, Runs: b.Runs, Retention: retention, Line: gate, Batch: batch,
		Room: b.room.check, Tracer: b.Tracer,
	})
}

// archived is how many tasks the archive of a queue holds.
func (b *Base) archived(ctx context.Context, queue string) (int64, error) {
	return b.shared.ZCard(ctx, "asynq:{"+queue+"}:archived").Result()
}

// Close ends the connections.
func (b *Base) Close() error { return errors.Join(b.Redis.Close(), b.queue.Close()) }

// hangUpAfter is how long a Redis may take to answer what it was asked before a
// command was interrupted.
const hangUpAfter = 2 * time.Second

// HangUp closes the base 2 s after ctx has ended, unless stop is called before: a
// question to a Redis that is silent lasts as long as the client is patient, and who
// presses Ctrl-C is not. It is for commands that bring nothing to an end then.
func (b *Base) HangUp(ctx context.Context) (stop func()) {
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		select {
		case <-time.After(hangUpAfter):
			_ = b.Close() // whoever waits hears of it
		case <-over:
		}
	})
	return func() {
		close(over)
		watch.Wait()
	}
}

// Meter hears of what a worker does, for metrics.
type Meter interface {
	dispatch.Meter
	tasks.Meter
	signin.Meter
	sweep.Meter
}

// Tracer follows rows from their submission through requests to their end.
type Tracer interface {
	tasks.Tracer
	dispatch.Tracer
}

// Tracing makes the tracer of a process, and the function that tells what it
// has noted and ends it. Both are nil when nothing is to be followed. environ are the
// variables of the process, log is for what goes wrong meanwhile.
type Tracing func(ctx context.Context, environ []string, log *slog.Logger) (_ Tracer, end func(context.Context) error, err error)

// WorkerOptions are what distinguishes one worker from another.
type WorkerOptions struct {
	// Transport replaces the client's own, as the sandbox does. Nil: none.
	Transport http.RoundTripper
	// Private is set when nobody else uses the Redis: the gate is the process's
	// own, and looking for tasks often costs nobody.
	Private bool
	Meter   Meter // nil: nothing is measured
	Log     *slog.Logger
	Version string
}

// Worker is a running worker.
type Worker struct {
	base   *Base
	cfg    config.Config
	log    *slog.Logger
	few    *slog.Logger // the same, for lines of which there may be one for each portal
	left   *few         // counts what few leaves out
	gate   ratelimit.Gate
	cache  *portals.Cache
	opens  *openings
	caller func() // ends what calls portals
	tasks  *tasks.Worker
	paused atomic.Bool
	lost   atomic.Pointer[time.Time] // since when Redis has lost the portals; nil: it has not
	care   sync.WaitGroup            // the goroutines beside asynq's
	told   map[string]time.Time      // holds that the gate was told of, by their beginning; takeCare's own
	silent map[string]time.Time      // portals that do not answer, by since when; takeCare's own
	behind bool                      // a change of the registry is not fully taken over yet; takeCare's own
	idle   bool                      // no task is taken, as no credentials open; takeCare's own
	cancel context.CancelFunc
}

// StartWorker starts a worker, which Stop ends. Any number of them may work on
// one Redis.
func (b *Base) StartWorker(ctx context.Context, cfg config.Config, o WorkerOptions) (*Worker, error) {
	left := newFew(o.Log.Handler())
	w := &Worker{base: b, cfg: cfg, log: o.Log, few: slog.New(left), left: left}
	if err := w.start(ctx, o); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Worker) start(ctx context.Context, o WorkerOptions) error {
	w.gate = w.base.Gate(w.cfg)
	if o.Private {
		w.gate = ratelimit.NewLocal(ratelimit.Config{
			Parallel: w.cfg.PortalParallel, MaxRPS: w.cfg.MaxRPS, TicketTTL: ticketTTL(w.cfg),
		})
	}
	opened, err := w.base.OpenedRegistry(w.cfg)
	if err != nil {
		return err
	}
	w.cache = portals.NewCache(opened, cachedPortals)
	w.opens = newOpenings(opened, w.cache, w.cfg.Keys, w.log)
	if err := w.opens.look(ctx); err != nil {
		return err
	}
	if err := w.loadHolds(ctx); err != nil {
		return err
	}
	queues, err := w.queues(ctx)
	if err != nil {
		return err
	}
	so := SignInOptions{Transport: o.Transport, Version: o.Version, Log: w.few, Passing: o.Private, Gate: w.gate}
	if o.Meter != nil {
		so.Meter = o.Meter
	}
	caller, end, err := w.base.SignIn(w.cfg, so)
	if err != nil {
		return err
	}
	w.caller = end
	do := dispatch.New(dispatch.Config{
		Gate: w.gate, Caller: caller, Holds: w.base.Registry, Log: w.few, Meter: o.Meter, Tracer: w.base.Tracer,
		Parallel: w.cfg.PortalParallel, BatchSize: w.cfg.BatchSize, Batching: dispatch.Batching(w.cfg.Batch),
		RequestTimeout: w.cfg.RequestTimeout, Slots: w.cfg.Concurrency,
	})
	// Outcomes wait out what acknowledgements do: a row whose end cannot be told
	// would be registered once more.
	patient := redisconn.Shared(w.base.queue)
	w.tasks = tasks.NewWorker(tasks.WorkerConfig{
		Redis: patient, Dispatcher: do, Queues: queues,
		Handler: &tasks.Handler{
			Runs: runs.New(w.base.queue, runs.Options{TTL: w.cfg.ResultTTL, Rows: patient}), Portals: w.opens, Do: do, Log: w.log, Now: time.Now, Meter: o.Meter, Tracer: w.base.Tracer,
			Policy:      tasks.Policy{MaxAttempts: w.cfg.MaxAttempts, HoldTTL: w.cfg.HoldTTL},
			ArchiveSize: w.base.archived,
		},
		Concurrency: w.cfg.Concurrency, ShutdownTimeout: w.cfg.Shutdown, Eager: o.Private, Log: w.log,
	})
	if err := w.begin(); err != nil {
		end()
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	w.care.Go(func() { w.takeCare(run) })
	if !o.Private { // nobody but this process could have lost anything
		sweeper := w.sweeper(o.Meter)
		w.care.Go(func() { sweeper.Run(run) })
	}
	return nil
}

// begin begins to take tasks, unless no credentials open: it would only put off
// rows that other workers can work on.
func (w *Worker) begin() error {
	if w.idle = w.opens.none() != nil; w.idle {
		return nil
	}
	return w.tasks.Start()
}

// sweeper mends what the queue and the runs have lost.
func (w *Worker) sweeper(meter Meter) *sweep.Sweeper {
	c := sweep.Config{
		Redis: w.base.Redis, Queues: w.base.Registry.Queues, Runs: w.base.Runs, Portals: w.base.Registry,
		Requeue: w.base.Client(w.cfg, w.cfg.ResultTTL, w.gate), Log: w.log,
	}
	if meter != nil {
		c.Meter = meter
	}
	return sweep.New(c)
}

// cachedPortals is how many opened portals a worker keeps at hand.
const cachedPortals = 10_000

// queues are all queues that exist, and those that new portals will get.
func (w *Worker) queues(ctx context.Context) ([]string, error) {
	names, err := w.base.Registry.Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the queues: %w", err)
	}
	for n := range w.cfg.Shards {
		if name := portals.QueueName(n); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// loadHolds makes the gate hold what the registry holds, and nothing else: what
// only the gate holds has been released, or given new credentials, meanwhile.
func (w *Worker) loadHolds(ctx context.Context) error {
	held, err := w.base.Registry.Held(ctx)
	if err != nil {
		return fmt.Errorf("find the held portals: %w", err)
	}
	first := w.told == nil
	told := make(map[string]time.Time, len(held))
	var fresh []string
	for id, h := range held {
		if at, ok := w.told[id]; !ok || !at.Equal(h.Since) {
			fresh = append(fresh, id)
			if err := w.gate.Hold(ctx, id, ratelimit.Hold{Reason: h.Reason, Since: h.Since}); err != nil {
				return err
			}
		}
		told[id] = h.Since
	}
	var released []string
	for id := range w.told {
		if _, ok := told[id]; !ok {
			if err := w.gate.Release(ctx, id); err != nil {
				return err
			}
			released = append(released, id)
		}
	}
	if err := w.wake(ctx, released); err != nil {
		return err
	}
	w.told = told
	w.tellHolds(ctx, first, fresh, released)
	recent, err := w.gate.Recent(ctx)
	if err != nil {
		return err
	}
	for _, p := range recent {
		if _, ok := held[p.Portal]; ok || p.Closed != ratelimit.Held {
			continue
		}
		if err := w.gate.Release(ctx, p.Portal); err != nil {
			return err
		}
	}
	return nil
}

// wake lets the rows of released portals go on at once.
func (w *Worker) wake(ctx context.Context, ids []string) error {
	var all []portals.Portal
	for _, id := range ids {
		p, err := w.base.Registry.Get(ctx, id)
		if errors.Is(err, portals.ErrUnknown) {
			continue // whoever removed it has woken its rows
		}
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil
	}
	return w.base.Wake(ctx, all)
}

const (
	careEvery  = time.Second
	holdsEvery = 10 * time.Minute
	sweepEvery = time.Minute
)

// takeCare keeps the worker up to date with the registry, and ends runs that
// nobody else has ended.
func (w *Worker) takeCare(ctx context.Context) {
	tick := time.NewTicker(careEvery)
	defer tick.Stop()
	defer w.left.flush(context.WithoutCancel(ctx), time.Time{})
	var swept time.Time
	held, listened := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(held) >= holdsEvery { // what only the gate holds, because the registry could not be told
			held, w.behind = time.Now(), true
		}
		if err := w.refresh(ctx); err != nil && ctx.Err() == nil {
			w.few.Warn("portals could not be read again", "err", err)
		}
		if time.Since(listened) >= silenceEvery {
			listened = time.Now()
			if err := w.lookForSilence(ctx); err != nil && ctx.Err() == nil {
				w.few.Warn("silent portals could not be looked for", "err", err)
			}
		}
		w.left.flush(ctx, time.Now())
		if time.Since(swept) < sweepEvery {
			continue
		}
		swept = time.Now()
		if err := w.base.Runs.Sweep(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("runs could not be swept", "err", err)
		}
		if err := w.tasks.Announce(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("queues could not be announced", "err", err)
		}
	}
}

// refresh takes over what has changed in the registry.
func (w *Worker) refresh(ctx context.Context) error {
	before := w.cache.Version()
	changed, err := w.cache.Refresh(ctx)
	if err != nil {
		return err
	}
	if err := w.lookBack(ctx, before, w.cache.Version()); err != nil {
		return err
	}
	// A change is told of once: what fails below is tried again the next time.
	w.behind = w.behind || changed
	if w.behind || w.opens.due(time.Now()) {
		if err := w.opens.look(ctx); err != nil {
			return err
		}
	}
	w.restOrGoOn()
	if !w.behind {
		return nil
	}
	if err := w.loadHolds(ctx); err != nil {
		return err
	}
	if err := w.serve(ctx); err != nil {
		return err
	}
	w.behind = false
	return nil
}

// restOrGoOn stops taking tasks when no credentials open any more, for the reason
// of begin, and has them taken again once some do.
func (w *Worker) restOrGoOn() {
	none := w.opens.none() != nil
	if none && !w.idle {
		w.tasks.Rest()
		w.idle = true
		return
	}
	if w.idle && w.tasks.Rested() && !none {
		w.idle, w.behind = false, true
	}
}

// serve takes tasks from all queues that there are, unless no credentials open.
func (w *Worker) serve(ctx context.Context) error {
	if w.idle {
		return nil
	}
	queues, err := w.queues(ctx)
	if err != nil {
		return err
	}
	return w.tasks.Serve(queues)
}

// Gate is the gate that the worker asks.
func (w *Worker) Gate() ratelimit.Gate { return w.gate }

// namedPortals is how many closed portals Closed names.
const namedPortals = 5

// Closed says in one line which portals get no requests now, and why; "" when
// all of them do.
func (w *Worker) Closed(ctx context.Context) string {
	names := map[ratelimit.Reason][]string{}
	recent, err := w.gate.Recent(ctx)
	if err != nil {
		return ""
	}
	for _, p := range recent {
		if p.Closed == ratelimit.None {
			continue
		}
		name := p.Portal
		if known, err := w.cache.Get(ctx, p.Portal); err == nil {
			name = known.Name
		}
		names[p.Closed] = append(names[p.Closed], name)
	}
	var parts []string
	for _, why := range []ratelimit.Reason{ratelimit.Silent, ratelimit.Refused, ratelimit.Held} {
		all := names[why]
		if len(all) == 0 {
			continue
		}
		more := ""
		if len(all) > namedPortals {
			more = fmt.Sprintf(" and %d more", len(all)-namedPortals)
			all = all[:namedPortals]
		}
		parts = append(parts, closedWords[why]+" "+strings.Join(all, ", ")+more)
	}
	return strings.Join(parts, "; ")
}

var closedWords = map[ratelimit.Reason]string{
	ratelimit.Silent:  "not answering, asked again from time to time:",
	ratelimit.Refused: "refusing for their limits, left alone for a while:",
	ratelimit.Held:    "held until new credentials come or somebody releases them:",
}

// Pause stops taking tasks, for good. Requests on their way end; rows that were
// taken and not sent go back to the queue.
func (w *Worker) Pause() {
	w.paused.Store(true)
	w.tasks.Pause()
}

// Stop ends the worker within its shutdown timeout.
func (w *Worker) Stop() {
	w.tasks.Stop()
	w.cancel()
	w.care.Wait()
	w.caller()
}

// String says where the Redis is, without its password.
func (b *Base) String() string { return b.conn.Addr() }
