// The sweeper, and one pass of it over everything.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// Portals finds a portal by its permanent id; [portals.Registry] is one, best
// without secrets. It returns an error for which errors.Is(err,
// portals.ErrUnknown) holds when there is none.
type Portals interface {
	Get(ctx context.Context, id string) (portals.Portal, error)
}

// Requeuer queues a waiting row again; [tasks.Client] is one.
//
// [tasks.Client]: https://pkg.go.dev/botfleet/tasks#Client
type Requeuer interface {
	Requeue(ctx context.Context, run string, row runs.Row, p portals.Portal) error
}

// Meter hears of what was mended, and of the rows that were given their end. It
// must not block.
type Meter interface {
	Mended(kind string, n int)
	Outcome(o *runs.Outcome)
}

type unmetered struct{}

func (unmetered) Mended(string, int) {}

func (unmetered) Outcome(*runs.Outcome) {}

// Config of a Sweeper. The first five fields are needed.
type Config struct {
	Redis redis.UniversalClient
	// Queues names the queues that are swept. asynq's queues of others on the
	// same Redis are left alone.
	Queues  func(ctx context.Context) ([]string, error)
	Runs    *runs.Store
	Portals Portals
	Requeue Requeuer
	Meter   Meter            // nil: nothing is measured
	Log     *slog.Logger     // nil: nothing is logged
	Now     func() time.Time // defaults to time.Now

	// Every is how often all tasks and rows are looked at. Defaults to 10 min.
	Every time.Duration
	// Settle is the time between the two looks at a suspect. Defaults to 5 s.
	Settle time.Duration
	// Age is how old a row is before its task is looked for: until then its
	// producer may be about to queue it. Defaults to 1 min.
	Age time.Duration
	// Rate is how many tasks and rows are looked at a second. Defaults to 2,000:
	// 100,000 waiting rows and their tasks take two minutes then, and 2 % of a
	// Redis' time.
	Rate int
}

// Sweeper mends queues and runs. Its methods may be called from many goroutines.
type Sweeper struct {
	redis     redis.UniversalClient
	queues    func(ctx context.Context) ([]string, error)
	runs      *runs.Store
	portals   Portals
	requeue   Requeuer
	inspector *asynq.Inspector
	meter     Meter
	log       *slog.Logger
	now       func() time.Time

	every, settle, age time.Duration
	limit              *rate.Limiter

	leaseTTL  time.Duration
	takeEvery time.Duration // how often one that does not sweep asks for the lease
	tickEvery time.Duration // how often the one that sweeps looks for hints
	quickly   time.Duration // how often the active tasks and the queues' names are looked at

	announced names
}

const (
	// leaseTTL is after what time another worker may sweep when one has died.
	leaseTTL = 30 * time.Second
	// burst is how many tasks or rows one question may concern.
	burst = 1000
)

// New returns a sweeper. It does nothing until Run or Pass.
func New(c Config) *Sweeper {
	s := &Sweeper{
		redis: c.Redis, queues: c.Queues, runs: c.Runs, portals: c.Portals, requeue: c.Requeue,
		inspector: asynq.NewInspectorFromRedisClient(c.Redis), meter: c.Meter, log: c.Log, now: c.Now,
		every: c.Every, settle: c.Settle, age: c.Age,
		leaseTTL: leaseTTL, takeEvery: 15 * time.Second, tickEvery: 5 * time.Second, quickly: time.Minute,
	}
	if s.meter == nil {
		s.meter = unmetered{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.every <= 0 {
		s.every = 10 * time.Minute
	}
	if s.settle <= 0 {
		s.settle = 5 * time.Second
	}
	if s.age <= 0 {
		s.age = time.Minute
	}
	if c.Rate <= 0 {
		c.Rate = 2000
	}
	s.limit = rate.NewLimiter(rate.Limit(c.Rate), burst)
	return s
}

// ErrBusy is returned by [Sweeper.Pass] while another worker sweeps.
var ErrBusy = errors.New("another worker is sweeping")

// Pass looks at everything once, and mends what needs it. On an error the report
// says what was done until then; one that concerns single rows ends nothing but
// those. It returns [ErrBusy] while another sweeps, perhaps this one's own Run.
func (s *Sweeper) Pass(ctx context.Context) (Report, error) {
	l, err := s.take(ctx)
	if err != nil {
		return Report{}, err
	}
	if l == nil {
		return Report{}, ErrBusy
	}
	ctx, stop := l.keep(ctx)
	defer stop()
	return s.pass(ctx, l, everything)
}

// part is part of a pass, or all of it.
type part func(ctx context.Context, p *pass) error

// pass does part of a pass, or all, and books it.
func (s *Sweeper) pass(ctx context.Context, l *lease, do part) (Report, error) {
	p := &pass{Sweeper: s, lease: l, mended: map[string]int{}, queueByPortal: map[string]string{}}
	began := time.Now()
	err := do(ctx, p)
	r := Report{Mended: p.mended, Tasks: p.tasksSeen, Rows: p.rowsSeen, Took: time.Since(began)}
	if err == nil {
		err = p.troubleErr()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, s.book(ctx, &r, err)
}

// everything is a pass over everything.
func everything(ctx context.Context, p *pass) error { return p.full(ctx) }

// full looks at everything. The order matters: what the queue's own holes hide
// is mended before rows ask for their tasks.
func (p *pass) full(ctx context.Context) error {
	if err := p.quick(ctx); err != nil {
		return err
	}
	if err := p.keys(ctx); err != nil {
		return err
	}
	for _, q := range p.names {
		if err := p.lists(ctx, q); err != nil {
			return err
		}
	}
	if err := p.mendTasks(ctx); err != nil {
		return err
	}
	return p.rows(ctx)
}

// quick looks at what is cheap to look at: the queues' names and active tasks.
func (p *pass) quick(ctx context.Context) error {
	if err := p.announce(ctx); err != nil {
		return err
	}
	for _, q := range p.names {
		if err := p.active(ctx, q); err != nil {
			return err
		}
	}
	return p.mendTasks(ctx)
}

// pace waits until n more tasks or rows may be looked at.
func (p *pass) pace(ctx context.Context, n int) error {
	for ; n > 0; n -= burst {
		if err := p.limit.WaitN(ctx, min(n, burst)); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	if !p.lease.valid() {
		return errLost
	}
	return nil
}
