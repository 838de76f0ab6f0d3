// Package dispatch takes registrations to portals, at the pace the gate sets.
//
// Callers hand over one [Job] each with [Dispatcher.Do] and block until it
// ends. Jobs of one portal meet in a lane. While the gate is open a job leaves
// at once, as a call of its own. What arrives while the portal's requests are
// all on their way, or while the gate asks for a short wait, leaves as one
// batch when both open again: batches form when a limit binds, and a few bots on
// a quiet portal never wait for each other. Only where a portal takes at most
// 25 ms a row, and row follows row, do they gather for 40 ms all the same, which
// saves both sides most of the requests. Longer waits are not waited here but
// handed back as a [Deferral] with a place in the portal's line.
//
// Before a registration is sent its CODE gets a sending mark in the gate, which
// only a definite answer clears. A job that meets a mark looks for its bot in
// imbot.bot.list — one look serves all such jobs of a lane — and when it is not
// there waits until the mark's end, because the earlier call may still be at
// work on the portal.
package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// Caller calls portals with the credentials they have now, which may be newer
// than those of the portal it is given; [signin.Caller] is one. Its errors are
// of type [*bitrix.Error].
//
// [signin.Caller]: https://pkg.go.dev/botfleet/bitrix/portals/signin#Caller
type Caller interface {
	Register(ctx context.Context, p *portals.Portal, b *bitrix.Bot) (bitrix.Registered, error)
	RegisterBatch(ctx context.Context, p *portals.Portal, bots []*bitrix.Bot) (bitrix.BatchAnswer, error)
	Update(ctx context.Context, p *portals.Portal, botID int64, b *bitrix.Bot) (bitrix.Time, error)
	Bots(ctx context.Context, p *portals.Portal, clientID string) ([]bitrix.ListedBot, bitrix.Time, error)
}

// Holds keeps holds beyond the life of a process; the portals' registry does.
type Holds interface {
	// HoldCredential holds a portal, unless its credentials are others by now.
	HoldCredential(ctx context.Context, portalID, credential, reason string, at time.Time) (held bool, err error)
}

// Batching says when rows travel together.
type Batching string

const (
	Auto   Batching = "auto"   // when a limit binds, or a quick portal has many rows
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
	Meter          Meter  // nil: nothing is measured
	Tracer         Tracer // nil: nothing is followed
	// Slots is how many jobs the process works on at once; the others wait
	// outside. One portal gets at most an eighth of them while others want them.
	Slots int
	// QueueSlots is how many jobs of one queue may come at once, where Serves has not
	// said otherwise. A portal leaves a quarter of its queue's to others. 0: Slots.
	QueueSlots int
}

// Meter hears of what a dispatcher does. Its methods are called from many
// goroutines and must not block.
type Meter interface {
	// Request tells of a request that has ended: the portal's REST method, the
	// rows it carried, how it ended and how long it took.
	Request(method string, rows int, outcome ratelimit.Outcome, took time.Duration)
	// Waited tells how long a row waited for its request in this process.
	Waited(d time.Duration)
	// Deferred tells of rows that were handed back.
	Deferred(why ratelimit.Reason, rows int)
}

// unmetered is the Meter of those who have none.
type unmetered struct{}

func (unmetered) Request(string, int, ratelimit.Outcome, time.Duration) {}
func (unmetered) Waited(time.Duration)                                  {}
func (unmetered) Deferred(ratelimit.Reason, int)                        {}

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
	// Order is the job's place among its portal's: smaller ones go first.
	// See [ratelimit.Request].
	Order int64
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
	Updated bool // and was brought up to date, as Bot.Update asks
	// Recovered: the answer of an earlier call was lost, and the bot was found in the portal's list.
	Recovered bool
}

// Deferral hands a job back: no attempt was made, ask again at Until.
type Deferral struct {
	Until  time.Time
	Reason ratelimit.Reason
	// Hold says more when Reason is Held or Silent.
	Hold *ratelimit.Hold
	// Early is set when asking a little before Until does no harm.
	Early bool
}

// Reasons of deferrals that no gate gives.
const (
	// ShuttingDown: the dispatcher drains.
	ShuttingDown ratelimit.Reason = "shutdown"
	// SignIn: the portal wants a new token, and there is none to be had now.
	// Deferral.Hold says why, and since when.
	SignIn ratelimit.Reason = "sign-in"
)

// Dispatcher takes jobs to portals. Make one with New and end it with Drain and Close.
type Dispatcher struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // of the requests: ends when Close gives up waiting
	cancel context.CancelFunc

	slots    chan struct{} // full: jobs wait outside
	drained  chan struct{} // closed by Drain
	mu       sync.Mutex
	lanes    map[string]*lane
	queues   map[string]int // jobs in lanes, by queue
	allotted map[string]int // slots of queues, by Serves
	jobs     int            // in lanes
	draining bool
	crew     *crew // of lanes and their requests
	outage   outage
	ended    sync.Once
}

// New returns a dispatcher that is ready for jobs.
func New(cfg Config) *Dispatcher {
	cfg.Parallel = max(cfg.Parallel, 1)
	cfg.BatchSize = min(max(cfg.BatchSize, 1), 50)
	cfg.Slots = max(cfg.Slots, 1)
	if cfg.QueueSlots <= 0 {
		cfg.QueueSlots = cfg.Slots
	}
	if cfg.Batching == Off {
		cfg.BatchSize = 1
	}
	if cfg.Meter == nil {
		cfg.Meter = unmetered{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Dispatcher{
		cfg: cfg, ctx: ctx, cancel: cancel, lanes: map[string]*lane{}, queues: map[string]int{}, allotted: map[string]int{}, crew: newCrew(),
		slots: make(chan struct{}, cfg.Slots), drained: make(chan struct{}),
	}
}

// batchRows is how many rows like one a batch carries at most.
func (d *Dispatcher) batchRows(b *bitrix.Bot) int {
	return min(d.cfg.BatchSize, bitrix.MaxBatch/b.Commands())
}

// keepBusy is how long the jobs in a lane should keep a slow portal busy: more
// would hold slots for nothing, and fewer would let it idle between handing
// jobs back and getting them again.
const keepBusy = 6 * time.Second

// wanted is how many jobs of one portal keep it busy: what it can take soon, by
// its request rate and by how long it works on a row (0: not known).
func (d *Dispatcher) wanted(p *portals.Portal, perRow time.Duration) int {
	soon := longWait.Seconds()*p.Limits.Rate*float64(d.cfg.BatchSize) + float64(p.Limits.Burst+d.cfg.Parallel)
	n := max(int(min(soon, math.MaxInt32)), d.cfg.Parallel)
	if perRow > 0 {
		n = min(n, max(d.cfg.Parallel*rowsWithin(keepBusy, perRow), 2*d.cfg.Parallel))
	}
	return n
}

// hasRoom reports whether a lane may take one more job. An eighth of the slots
// is every portal's. One that is known to get things done may have more while
// nobody else wants them: full batches at a portal's request rate take that many.
func (d *Dispatcher) hasRoom(l *lane, p *portals.Portal, perRow time.Duration) bool {
	if l.jobs >= d.wanted(p, perRow) {
		return false
	}
	if l.jobs < max(d.cfg.Slots/8, d.cfg.Parallel) {
		return true
	}
	return perRow > 0 && d.queues[p.Queue] < threeQuarters(d.queueSlots(p.Queue)) && d.jobs < threeQuarters(d.cfg.Slots)
}

// Serves says how many jobs of a queue may come at once from now on. It is called
// for the queues of one worker, of which there are few.
func (d *Dispatcher) Serves(queue string, slots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allotted[queue] = slots
}

func (d *Dispatcher) queueSlots(queue string) int {
	if n := d.allotted[queue]; n > 0 {
		return n
	}
	return d.cfg.QueueSlots
}

func threeQuarters(n int) int { return n - n/4 }

// Do takes one job to its portal and returns how it ended. When ctx ends first
// a job that has not been sent is taken back; one that has been sent ends as
// ambiguous, for its answer may be lost.
func (d *Dispatcher) Do(ctx context.Context, job Job) Result {
	j := &pending{Job: job, caller: ctx, done: make(chan Result, 1)}
	select {
	case d.slots <- struct{}{}:
	case <-d.drained:
		d.defers(j, time.Now(), ShuttingDown, nil)
		return <-j.done
	case <-ctx.Done():
		return j.giveUp(ctx)
	}
	j.since = time.Now()
	why, perRow := d.enter(j)
	if why != ratelimit.None {
		<-d.slots // what follows is no work on a portal
		if why == ShuttingDown {
			d.defers(j, time.Now(), ShuttingDown, nil)
		} else {
			d.inLine([]*pending{j}, perRow, time.Now(), why)
		}
		return <-j.done
	}
	defer func() { <-d.slots }()
	select {
	case r := <-j.done:
		return r
	case <-ctx.Done():
		return j.giveUp(ctx)
	}
}

// enter puts a job into its portal's lane, which it makes when there is none.
// It returns why a job may not enter, and None when it has, and what a row takes,
// as inLine wants it.
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
	if !d.hasRoom(l, j.Portal, time.Duration(l.perRow.Load())) {
		if j.Order >= l.newest.Load() {
			return ratelimit.InFlight, time.Duration(l.steady.Load())
		}
		l.over++ // it takes the place of a younger one
	}
	l.jobs++
	d.jobs++
	d.queues[j.Portal.Queue]++
	l.queue = j.Portal.Queue
	l.arrived = append(l.arrived, j)
	l.nudge()
	return ratelimit.None, 0
}

// Busy reports whether the dispatcher has jobs.
func (d *Dispatcher) Busy() bool { return len(d.slots) > 0 }

// Drain stops the sending of anything more: jobs that wait, and jobs that come,
// are handed back at once. Requests on their way go on.
func (d *Dispatcher) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.draining {
		close(d.drained)
	}
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

// defers hands one job back.
func (d *Dispatcher) defers(j *pending, until time.Time, why ratelimit.Reason, hold *ratelimit.Hold) {
	d.cfg.Meter.Deferred(why, 1)
	j.end(Result{Deferred: &Deferral{Until: until, Reason: why, Hold: hold}})
}

// inLine hands jobs of one portal back until it is their turn in its line.
// perRow is what a row takes of one request's time, 0 while not known.
func (d *Dispatcher) inLine(jobs []*pending, perRow time.Duration, notBefore time.Time, why ratelimit.Reason) {
	if len(jobs) == 0 {
		return
	}
	p := jobs[0].Portal
	r := ratelimit.LineRequest{Request: request(p, jobs), Batch: d.batchRows(jobs[0].Bot), NotBefore: notBefore}
	if perRow > 0 {
		r.Batch = min(r.Batch, rowsWithin(p.ServerTimeout/batchShare, perRow))
		r.PerSecond = float64(d.cfg.Parallel) / perRow.Seconds()
	}
	r.Batched = r.Batch > 1
	places, err := d.cfg.Gate.Place(d.ctx, r)
	if err == nil && len(places) != len(jobs) {
		err = fmt.Errorf("%d places for %d rows", len(places), len(jobs))
	}
	if err != nil {
		d.cfg.Log.Warn("the gate gave no place in line", "portal", p.Name, "err", err)
	}
	for i, j := range jobs {
		at := later(time.Now().Add(longWait), notBefore)
		if err == nil {
			at = places[i].Ask
		}
		d.cfg.Meter.Deferred(why, 1)
		j.end(Result{Deferred: &Deferral{Until: at, Reason: why, Early: true}})
	}
	d.expect(p.ID, time.Now())
}

// expect notes that rows of a portal have been put off, and will come again.
func (d *Dispatcher) expect(portal string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[portal]; l != nil {
		l.putOffAt.Store(now.UnixNano())
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// request is what the gate is asked for jobs of one portal.
func request(p *portals.Portal, jobs []*pending) ratelimit.Request {
	r := ratelimit.Request{
		Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: bitrix.MethodRegister, Rows: len(jobs),
		Batched: len(jobs) > 1, Codes: make([]string, len(jobs)), Order: make([]int64, len(jobs)),
	}
	for i, j := range jobs {
		r.Codes[i], r.Order[i] = strings.ToLower(j.Bot.Code), j.Order
	}
	return r
}
