// The service: what it is made of, its beginning and its end.

package onboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// Queue is the asynq queue that events are kept in, by themselves: what strangers
// send must not stand before registrations.
const Queue = "installs"

// Config is what a Service works with. Fields without a default are needed.
type Config struct {
	// Keys seal events in the queue.
	Keys portals.Keyring
	// Queue takes events. It should be on a Redis client of its own, with few
	// retries and short timeouts: keeping is given up after KeepWithin, but a
	// command that still waits holds one of the 64 places until it ends.
	Queue Enqueuer
	// Redis carries the working on events, as for [tasks.WorkerConfig]: with long
	// retries. It is needed by Start only, and is not closed.
	Redis redis.UniversalClient
	// Registry stores portals.
	Registry Registry
	// Endpoints say which hosts may be portals.
	Endpoints bitrix.Endpoints
	// Prover calls a portal with the token that an install brings. It must not
	// follow redirects, nor refresh tokens.
	Prover Prover
	// Gate bounds how often one host is called for a proof, over all workers: the
	// gate of the registrations will do, as the names of these "portals" are
	// others.
	Gate ratelimit.Gate
	// Bots are what an installed portal gets. Nil: nothing.
	Bots Bots
	// Submitter and Runs take the bots.
	Submitter Submitter
	Runs      Runs
	// Inspector forgets the registrations of an earlier install of the portal.
	Inspector *asynq.Inspector
	// Gone is called when a portal was marked gone, so that its waiting rows end.
	// It is called again when it fails. Nil: nothing is called.
	Gone func(ctx context.Context, p portals.Portal) error

	// CacheAge is longer than any worker believes what it has read of a portal. The
	// bots of one that is installed again wait for it: to a worker that has not
	// seen that yet the portal is gone, and its rows end. Defaults to 2 s.
	CacheAge time.Duration
	// KeepWithin is how long keeping an event may take before the portal is asked
	// to send it again. Defaults to 1.5 s, and is at most that: an answer is due
	// within 2 s.
	KeepWithin time.Duration
	// Concurrency is how many events are worked on at once. Nearly all of them wait
	// for portals, which strangers name. Defaults to 32.
	Concurrency int
	// ProofRate is how many portals a second this process calls for proofs.
	// Defaults to 20.
	ProofRate float64
	// Eager looks for events many times a second: for tests, and a process that
	// has Redis to itself.
	Eager bool

	Log   *slog.Logger
	Meter Meter            // nil: nothing is counted
	Now   func() time.Time // defaults to time.Now
}

// Enqueuer is an [asynq.Client].
type Enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Registry is the part of [portals.Registry] that onboarding needs.
type Registry interface {
	Find(ctx context.Context, name string) (portals.Portal, error)
	MayInstall(ctx context.Context, in portals.Install) error
	Install(ctx context.Context, in portals.Install) (portals.Installed, error)
	Uninstall(ctx context.Context, memberID string, appToken bitrix.Secret, at time.Time) (portals.Portal, error)
	HoldCredential(ctx context.Context, id, credential, reason string, at time.Time) (held bool, err error)
}

// Prover is the part of [bitrix.Client] that proves an install.
type Prover interface {
	Bots(ctx context.Context, a bitrix.Access, clientID string) ([]bitrix.ListedBot, bitrix.Time, error)
}

// Bots are what a portal gets that installs the application. They are asked for
// at each install.
type Bots interface {
	For(ctx context.Context) ([]bitrix.Bot, error)
}

// Submitter is a [tasks.Client].
type Submitter interface {
	Submit(ctx context.Context, run string, regs ...tasks.Registration) ([]tasks.Receipt, error)
}

// Runs is the part of [runs.Store] that onboarding needs.
type Runs interface {
	Get(ctx context.Context, id string) (runs.Info, error)
	Open(ctx context.Context, id string, b runs.Begin) error
	Seal(ctx context.Context, id string) error
}

const (
	// mostKeeping is how many events are on their way into Redis at once.
	mostKeeping = 64
	// keepWithin is the default, and the most, of Config.KeepWithin.
	keepWithin = 1500 * time.Millisecond
	// doorRate and doorBurst are how many events a second are kept: an
	// application with a thousand installs an hour needs less than one.
	doorRate  = 50
	doorBurst = 200

	defaultCacheAge    = 2 * time.Second
	defaultConcurrency = 32
	defaultProofRate   = 20
)

// Service takes events in and works on them. Its methods may be called from many
// goroutines.
type Service struct {
	cfg        Config
	log        *slog.Logger
	meter      Meter
	now        func() time.Time
	keepWithin time.Duration
	readWithin time.Duration // how long a body may take to come
	mostKept   int64         // events in the queue before the handler refuses more
	mostPutOff int64         // events that may wait for portals that do not answer
	rate       *rate.Limiter // of events that are kept
	proofs     *rate.Limiter
	reading    chan struct{} // holds an entry for each body being read
	keeping    chan struct{} // holds an entry for each event on its way into Redis
	full       atomic.Bool   // the queue holds as many events as it may

	// ctx ends with Stop; proofs and keeping end with it.
	ctx    context.Context //nolint:containedctx // the service's own life
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	server  *asynq.Server  // nil: not started
	keepers sync.WaitGroup // goroutines that put events into Redis
	care    sync.WaitGroup // the one that watches the queue
}

// New makes a service. Its handler can be used at once; Start begins the work on
// what was kept. Stop ends both.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Service{
		cfg: cfg, log: cfg.Log, meter: cfg.Meter, now: cfg.Now,
		keepWithin: cfg.KeepWithin, readWithin: readWithin, mostKept: mostKept, mostPutOff: mostPutOff,
		rate:    rate.NewLimiter(doorRate, doorBurst),
		proofs:  rate.NewLimiter(rate.Limit(cfg.ProofRate), max(1, int(cfg.ProofRate))),
		reading: make(chan struct{}, maxReading),
		keeping: make(chan struct{}, mostKeeping),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func (c *Config) check() error {
	switch {
	case c.Keys.Empty():
		return portals.ErrNoKey
	case c.Queue == nil, c.Registry == nil, c.Prover == nil, c.Gate == nil, c.Log == nil:
		return errors.New("onboarding needs Queue, Registry, Prover, Gate and Log")
	case c.Bots != nil && (c.Submitter == nil || c.Runs == nil || c.Inspector == nil):
		return errors.New("onboarding with Bots needs Submitter, Runs and Inspector")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.KeepWithin <= 0 || c.KeepWithin > keepWithin {
		c.KeepWithin = keepWithin
	}
	if c.CacheAge <= 0 {
		c.CacheAge = defaultCacheAge
	}
	if c.Concurrency < 1 {
		c.Concurrency = defaultConcurrency
	}
	if c.ProofRate <= 0 {
		c.ProofRate = defaultProofRate
	}
	if c.Meter == nil {
		c.Meter = noMeter{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// stopWithin is how long Stop leaves the questions to Redis that are under way.
const stopWithin = 5 * time.Second

// Start begins to work on kept events. It may be called once; after Stop it does
// nothing.
func (s *Service) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return nil
	case s.server != nil:
		return errors.New("onboarding has been started already")
	case s.cfg.Redis == nil:
		return errors.New("onboarding needs Redis")
	}
	server := asynq.NewServerFromRedisClient(s.cfg.Redis, s.serverConfig())
	if err := server.Start(worker{s}); err != nil {
		return fmt.Errorf("serve queue %s: %w", Queue, err)
	}
	s.server = server
	s.care.Go(s.watch)
	return nil
}

func (s *Service) serverConfig() asynq.Config {
	check, forward := time.Second, time.Second
	if s.cfg.Eager {
		check, forward = 20*time.Millisecond, 100*time.Millisecond
	}
	return asynq.Config{
		Queues:                   map[string]int{Queue: 1},
		Concurrency:              s.cfg.Concurrency,
		TaskCheckInterval:        check,
		DelayedTaskCheckInterval: forward,
		RetryDelayFunc:           tasks.RetryDelay(s.now),
		IsFailure:                tasks.IsFailure,
		ShutdownTimeout:          stopWithin,
		Logger:                   engineLog{s.log.With("queue", Queue)},
		LogLevel:                 asynq.ErrorLevel, // its warnings tell of what is put off
	}
}

// Stop ends the service: the handler answers 503, nothing more is taken, proofs
// are broken off and put off, and what else is under way may end, for 5 s. Stop
// the HTTP server before. It waits for events on their way into Redis, so as long
// as the client of Config.Queue lets a command take. It may be called repeatedly.
func (s *Service) Stop() {
	s.mu.Lock()
	s.stopped = true
	server := s.server
	s.mu.Unlock()
	if server != nil {
		server.Stop() // before proofs end, or others would begin in their place
	}
	s.cancel()
	if server != nil {
		server.Shutdown()
	}
	s.care.Wait()
	s.keepers.Wait()
}

// engineLog hands asynq's log lines to slog.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Debug(args ...any) { l.log.Debug("asynq: " + fmt.Sprint(args...)) }
func (l engineLog) Info(args ...any)  { l.log.Info("asynq: " + fmt.Sprint(args...)) }
func (l engineLog) Warn(args ...any)  { l.log.Warn("asynq: " + fmt.Sprint(args...)) }
func (l engineLog) Error(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }

// Fatal does not end the process, as asynq would: whoever runs the service decides that.
func (l engineLog) Fatal(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }
