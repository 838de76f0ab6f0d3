// Package dispatch takes registrations to portals, at the pace the gate sets.
//
// Callers hand over one [Job] each with [Dispatcher.Do] and block until it
// ends. Jobs of one portal meet in a lane. While the gate is open a job leaves
// at once, as a call of its own. What arrives while the portal's requests are
// all on their way, or while the gate asks for a short wait, leaves as one
// batch when both open again: batches form exactly when a limit binds, and a
// few bots on a quiet portal never wait for each other. Longer waits are not
// waited here but handed back as a [Deferral] with the next place in line.
//
// Before a registration is sent its CODE gets a sending mark in the gate, which
// only a definite answer clears. A job that meets a mark looks for its bot in
// imbot.bot.list — one look serves all such jobs of a lane — and when it is not
// there waits until the mark's end, because the earlier call may still be at
// work on the portal.
package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// Caller calls portals; [bitrix.Client] is one.
type Caller interface {
	Register(ctx context.Context, a bitrix.Access, b *bitrix.Bot) (bitrix.Registered, error)
	RegisterBatch(ctx context.Context, a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error)
	Bots(ctx context.Context, a bitrix.Access, clientID string) ([]bitrix.ListedBot, bitrix.Time, error)
}

// Holds keeps holds beyond the life of a process; the portals' registry does.
type Holds interface {
	// HoldCredential holds a portal, unless its credentials are others by now.
	HoldCredential(ctx context.Context, portalID, credential, reason string, at time.Time) (held bool, err error)
}

// Batching says when rows travel together.
type Batching string

const (
	Auto   Batching = "auto"   // when a limit binds
	Always Batching = "always" // whenever possible: rows gather for gatherFor first
	Off    Batching = "off"    // never
)

// Config of a Dispatcher. All fields but Holds and Log are needed.
type Config struct {
	Gate   ratelimit.Gate
	Caller Caller
	Holds  Holds        // nil: holds end with the gate's state
	Log    *slog.Logger // nil: nothing is logged
	// Parallel is how many requests of one portal this process has in flight.
	Parallel int
	// BatchSize is how many rows a batch carries at most; at most 50, the portal's own limit.
	BatchSize int
	Batching  Batching
	// RequestTimeout bounds one request from its admission to the end of its answer.
	RequestTimeout time.Duration
	// Slots is how many jobs the process works on at once. One portal gets at
	// most an eighth of them.
	Slots int
}

const (
	// longWait is the longest that a job waits in its lane for the gate.
	// Longer waits would hold a worker's slot for nothing.
	longWait = 2 * time.Second
	// gatherFor is how long Batching Always lets rows gather.
	gatherFor = 20 * time.Millisecond
	// askAgain is how long a lane waits when the gate could not be asked.
	askAgain = time.Second
	// markSlack is added to the longest that a portal may work on a request:
	// clocks, and the way back.
	markSlack = 5 * time.Second
)

// Job is one bot to register on one portal.
type Job struct {
	Portal *portals.Portal
	Bot    *bitrix.Bot // complete: photo and CLIENT_ID included
	// Retried: an earlier call of this job failed. Its bot may stand on the
	// portal all the same, so it is looked for before it is sent again.
	Retried bool
	// Last: no call is left to this job. It is only looked for, and ends as
	// ambiguous with CodeAnswerLost when it is not there.
	Last bool
}

// CodeAnswerLost is the code of a job whose answers were all lost, and whose
// bot is not in the portal's list.
const CodeAnswerLost = "ANSWER_LOST"

// Result is how a job ended: exactly one of its fields is set.
type Result struct {
	Registered *Registered
	Deferred   *Deferral
	Err        *bitrix.Error
}

// Registered is a bot that stands on its portal.
type Registered struct {
	BotID   int64
	Existed bool // it stood there before the call
	// Recovered: the answer of an earlier call was lost, and the bot was found in the portal's list.
	Recovered bool
}

// Deferral hands a job back: no attempt was made, ask again at Until.
type Deferral struct {
	Until  time.Time
	Reason ratelimit.Reason
	// Hold says more when Reason is Held or Silent.
	Hold *ratelimit.Hold
}

// ShuttingDown is the reason of jobs handed back by a dispatcher that drains.
const ShuttingDown ratelimit.Reason = "shutdown"

// Dispatcher takes jobs to portals. Make one with New and end it with Drain and Close.
type Dispatcher struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // of the requests: ends when Close gives up waiting
	cancel context.CancelFunc

	mu       sync.Mutex
	lanes    map[string]*lane
	draining bool
	crew     *crew // of lanes and their requests
	ended    sync.Once
}

// New returns a dispatcher that is ready for jobs.
func New(cfg Config) *Dispatcher {
	cfg.Parallel = max(cfg.Parallel, 1)
	cfg.BatchSize = min(max(cfg.BatchSize, 1), 50)
	if cfg.Batching == Off {
		cfg.BatchSize = 1
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Dispatcher{cfg: cfg, ctx: ctx, cancel: cancel, lanes: map[string]*lane{}, crew: newCrew()}
}

// keepBusy is how long the jobs in a lane should keep a slow portal busy: more
// would hold slots for nothing, and fewer would let it idle between handing
// jobs back and getting them again.
const keepBusy = 6 * time.Second

// laneJobs is how many jobs of one portal may be in the process at once: an
// eighth of the slots, and not more than the portal can take soon, by its
// request rate and by how long it works on a row (0: not known).
func (d *Dispatcher) laneJobs(p *portals.Portal, perRow time.Duration) int {
	most := max(d.cfg.Slots/8, d.cfg.Parallel)
	soon := longWait.Seconds()*p.Limits.Rate*float64(d.cfg.BatchSize) + float64(p.Limits.Burst+d.cfg.Parallel)
	if soon < float64(most) {
		most = max(int(soon), d.cfg.Parallel)
	}
	if perRow > 0 {
		most = min(most, max(d.cfg.Parallel*rowsWithin(keepBusy, perRow), 2*d.cfg.Parallel))
	}
	return most
}

// Do takes one job to its portal and returns how it ended. When ctx ends first
// a job that has not been sent is taken back; one that has been sent ends as
// ambiguous, for its answer may be lost.
func (d *Dispatcher) Do(ctx context.Context, job Job) Result {
	j := &pending{Job: job, since: time.Now(), done: make(chan Result, 1)}
	switch why, perRow := d.enter(j); why {
	case ShuttingDown:
		return deferred(time.Now(), ShuttingDown, nil)
	case ratelimit.InFlight:
		return d.inLine(j.Portal, perRow, time.Now(), ratelimit.InFlight)
	default: // it is in
	}
	select {
	case r := <-j.done:
		return r
	case <-ctx.Done():
		return j.giveUp(ctx)
	}
}

// enter puts a job into its portal's lane, which it makes when there is none.
// It returns why a job may not enter, and None when it has, and how long the
// portal works on a row.
func (d *Dispatcher) enter(j *pending) (ratelimit.Reason, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.draining {
		return ShuttingDown, 0
	}
	l := d.lanes[j.Portal.ID]
	if l == nil {
		l = newLane(d, j.Portal.ID)
		d.lanes[l.portal] = l
		d.crew.run(l.run)
	}
	perRow := time.Duration(l.perRow.Load())
	if l.jobs >= d.laneJobs(j.Portal, perRow) {
		return ratelimit.InFlight, perRow
	}
	l.jobs++
	l.arrived = append(l.arrived, j)
	l.nudge()
	return ratelimit.None, perRow
}

// Drain stops the sending of anything more: jobs that wait, and jobs that come,
// are handed back at once. Requests on their way go on.
func (d *Dispatcher) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	for _, l := range d.lanes {
		l.nudge()
	}
}

// Close drains, waits for the requests on their way until ctx ends, breaks off
// the rest (their jobs end as ambiguous), and returns when nothing runs any more.
func (d *Dispatcher) Close(ctx context.Context) {
	d.Drain()
	idle := make(chan struct{})
	go func() {
		d.ended.Do(d.crew.finish)
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		d.cancel()
		<-idle
	}
	d.cancel()
}

// inLine defers one job to the next place in its portal's line.
func (d *Dispatcher) inLine(p *portals.Portal, perRow time.Duration, notBefore time.Time, why ratelimit.Reason) Result {
	at, err := d.cfg.Gate.Place(d.ctx, request(p, 1), notBefore, d.lineBatch(p, perRow))
	if err != nil {
		d.cfg.Log.Warn("the gate gave no place in line", "portal", p.Name, "err", err)
		at = time.Now().Add(longWait)
	}
	return deferred(at, why, nil)
}

// lineBatch is how many rows each request of a portal will carry when rows wait
// in line: full batches, or what a slow portal gets done of them in time.
func (d *Dispatcher) lineBatch(p *portals.Portal, perRow time.Duration) int {
	n := d.cfg.BatchSize
	if perRow <= 0 {
		return n
	}
	n = min(n, rowsWithin(p.ServerTimeout/batchShare, perRow))
	if perSecond := float64(d.cfg.Parallel) / perRow.Seconds(); p.Limits.Rate > 0 && perSecond < p.Limits.Rate*float64(n) {
		n = max(int(perSecond/p.Limits.Rate), 1)
	}
	return n
}

func deferred(until time.Time, why ratelimit.Reason, hold *ratelimit.Hold) Result {
	return Result{Deferred: &Deferral{Until: until, Reason: why, Hold: hold}}
}

// request is what the gate is asked for a number of a portal's registrations.
func request(p *portals.Portal, rows int) ratelimit.Request {
	return ratelimit.Request{
		Portal: p.ID, Limits: p.Limits, Credential: p.Credential,
		Method: "imbot.register", Rows: rows,
	}
}
