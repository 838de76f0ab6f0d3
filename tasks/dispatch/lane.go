// A lane: the jobs of one portal on their way to it.

package dispatch

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// pending is a job in a lane.
type pending struct {
	Job
	caller context.Context //nolint:containedctx // the caller's, for a Tracer
	since  time.Time
	done   chan Result // buffered: ending a job never waits for its caller
	sent   atomic.Bool // it is part of a request
	gone   atomic.Bool // its caller has left before it was sent

	// Run's own:
	looked    bool  // it was looked for on the portal, which does not list it
	botID     int64 // it stands there, and is only to be updated
	recovered bool  // that was found by looking for it
}

func (j *pending) end(r Result) { j.done <- r }

// giveUp is what a job's caller gets whose context has ended.
func (j *pending) giveUp(ctx context.Context) Result {
	j.gone.Store(true)
	select {
	case r := <-j.done:
		return r
	default:
	}
	e := &bitrix.Error{
		Class: bitrix.Transient, Code: bitrix.CodeNotSent, Description: "given up before it was sent",
		Method: "imbot.register", Host: j.Portal.Name, Err: context.Cause(ctx),
	}
	if j.sent.Load() {
		e.Class, e.Code, e.Description = bitrix.Ambiguous, bitrix.CodeCancelled, "given up before the answer came"
	}
	return Result{Err: e}
}

// lane gathers the jobs of one portal. Its goroutine, run, owns all fields but
// those under the dispatcher's lock.
type lane struct {
	d      *Dispatcher
	portal string

	// Under d.mu:
	jobs    int        // in the lane: arrived, waiting or in a request
	queue   string     // the portal's
	arrived []*pending // not yet taken over by run
	over    int        // how many jobs have come although there was no room

	perRow   atomic.Int64 // pace's, for those who want to enter
	steady   atomic.Int64 // pace's, for those who may not
	newest   atomic.Int64 // the greatest Order among the waiting jobs
	putOffAt atomic.Int64 // when rows were last put off into the portal's line; Unix time in ns

	wake     chan struct{} // something has changed
	ended    chan finished
	waiting  []*pending
	lost     []markedJob          // met a mark, or were sent before: to be looked for on the portal
	looking  bool                 // a look is on its way
	flights  map[uint64]time.Time // requests on their way, by when they began
	flight   uint64
	openAt   time.Time // the gate said: not before
	toldAt   time.Time // when it said so
	sentAt   time.Time // when a request last began
	cameAt   time.Time // when jobs last came
	crowded  bool      // they came soon after others
	probeAt  time.Time // of a silent portal: the gate wants one of the waiting jobs then
	others   time.Time // of a silent portal: until then all but the first have to wait
	bound    bool      // a limit binds: what waits now had to wait, and leaves in batches
	scarce   bool      // that limit is the request rate: each request should carry all it can
	why      ratelimit.Reason
	hold     *ratelimit.Hold
	pace     pace
	progress time.Time // when the portal last got something done
}

// finished is a request's end, as its lane hears of it.
type finished struct {
	flight uint64
	rows   int // that the portal ran
	took   time.Duration
	again  []*pending // jobs that the portal did not run
	look   bool       // it was a look for lost bots
}

func newLane(d *Dispatcher, portal string) *lane {
	return &lane{
		d: d, portal: portal,
		wake:    make(chan struct{}, 1),
		ended:   make(chan finished, d.cfg.Parallel+1),
		flights: map[uint64]time.Time{},
	}
}

// nudge wakes the lane's goroutine.
func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the lane's goroutine: it ends when the lane is empty.
func (l *lane) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		draining := l.takeArrived()
		if draining {
			l.handBackAll(time.Now(), ShuttingDown)
			l.waitForMarks(l.lost)
			l.lost = nil
		}
		// The look comes first: where only one request may go, as to a portal
		// that was silent, it tells of many rows and risks none.
		wait := l.look(time.Now())
		lost := len(l.lost)
		wait = min(wait, l.step(time.Now()))
		if len(l.lost) > lost { // some have just met a mark
			wait = min(wait, l.look(time.Now()))
		}
		l.noteNewest()
		left, lingers := l.leave(time.Now())
		if left {
			return
		}
		timer.Reset(min(wait, lingers))
		select {
		case <-l.wake:
		case f := <-l.ended:
			l.landed(f)
		case <-timer.C:
		}
	}
}

// takeArrived moves new jobs to the waiting ones, or to the lost ones when an
// earlier call failed, and drops those whose callers have left.
func (l *lane) takeArrived() (draining bool) {
	l.d.mu.Lock()
	for _, j := range l.arrived {
		if j.Retried {
			l.lost = append(l.lost, markedJob{pending: j})
		} else {
			l.waiting = append(l.waiting, j)
		}
	}
	came, over := len(l.arrived) > 0, l.over
	l.arrived, l.over = nil, 0
	draining = l.d.draining
	l.d.mu.Unlock()
	before := len(l.waiting)
	l.waiting = slices.DeleteFunc(l.waiting, func(j *pending) bool { return j.gone.Load() })
	l.left(before - len(l.waiting))
	if came {
		now := time.Now()
		l.crowded, l.cameAt = now.Sub(l.cameAt) < 2*gatherQuick, now
		// The queue keeps the order of what is due in one second only roughly.
		slices.SortStableFunc(l.waiting, func(a, b *pending) int { return cmp.Compare(a.Order, b.Order) })
		keep := max(len(l.waiting)-over, 0)
		l.inLine(slices.Clone(l.waiting[keep:]), time.Now(), ratelimit.InFlight)
		clear(l.waiting[keep:])
		l.waiting = l.waiting[:keep]
	}
	l.noteNewest()
	return draining
}

// noteNewest tells those who want to enter whether they are older than somebody
// who waits.
func (l *lane) noteNewest() {
	newest := int64(math.MinInt64)
	if n := len(l.waiting); n > 0 {
		newest = l.waiting[n-1].Order
	}
	l.newest.Store(newest)
}

// left takes n jobs off the lane's count.
func (l *lane) left(n int) {
	if n == 0 {
		return
	}
	l.d.mu.Lock()
	l.jobs -= n
	l.d.jobs -= n
	if l.d.queues[l.queue] -= n; l.d.queues[l.queue] == 0 {
		delete(l.d.queues, l.queue)
	}
	l.d.mu.Unlock()
}

const (
	// lingerFor is how long an empty lane stays after rows of its portal were
	// last put off. They come again, and what was learned of the portal, above
	// all that a limit binds, is worth more then than a first call at once.
	lingerFor = time.Minute
	// restsFor is how long any empty lane stays after its last request: rows that
	// come meanwhile find it, and what it knows of the portal.
	restsFor = 2 * time.Second
	// mostLanes is how many lanes there may be for empty ones to stay.
	mostLanes = 10_000
)

// leave removes an empty lane from the dispatcher, and reports whether it did, or
// after how long it may.
func (l *lane) leave(now time.Time) (left bool, after time.Duration) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.jobs > 0 || len(l.flights) > 0 {
		return false, time.Hour
	}
	if lingers := max(lingerFor-l.sincePutOff(now), restsFor-now.Sub(l.sentAt)); lingers > 0 && !l.d.draining && len(l.d.lanes) <= mostLanes {
		return false, lingers
	}
	delete(l.d.lanes, l.portal)
	return true, 0
}

// sincePutOff is how long ago rows of the portal were last put off into its line.
func (l *lane) sincePutOff(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, l.putOffAt.Load()))
}

func (l *lane) landed(f finished) {
	delete(l.flights, f.flight)
	if f.look {
		l.looking = false
	}
	if f.rows > 0 {
		l.progress = time.Now()
		l.pace.learn(f.rows, f.took)
		l.perRow.Store(int64(l.pace.perRow()))
		l.steady.Store(int64(l.pace.steady(l.d.cfg.Batching)))
	}
	// Back in front: they have waited longest.
	l.waiting = append(f.again, l.waiting...)
	if l.why == ratelimit.InFlight {
		l.openAt = time.Time{}
	}
}

// step sends what may go now, hands back what would wait too long, and returns
// after how long to step again at the latest.
func (l *lane) step(now time.Time) time.Duration {
	if l.sincePutOff(now) < lingerFor {
		l.bound = true
	}
	for len(l.waiting) > 0 {
		if wait := l.closedFor(now); wait > 0 {
			l.bound = true
			if !l.worthWaiting(now, wait) {
				continue
			}
			if l.why == ratelimit.InFlight {
				wait = min(wait, l.patience(now))
			}
			return wait
		}
		if wait := l.fuller(now); wait > 0 {
			return wait
		}
		l.send(l.choose(), now)
		now = time.Now()
	}
	if l.sincePutOff(now) >= lingerFor {
		l.bound, l.scarce = false, false
	}
	return time.Hour
}

// fullWait is how long a batch waits for more rows while requests are scarce:
// rows that were put off come on whole seconds. The bucket fills meanwhile.
const fullWait = 1200 * time.Millisecond

// fuller is how long the next batch should wait for more rows. While rows of the
// portal are put off, those that are due come together. And while the request
// rate is what binds, a batch that is not full wastes a part of it.
func (l *lane) fuller(now time.Time) time.Duration {
	if len(l.waiting) >= l.most() {
		return 0
	}
	if !l.bound { // the portal is quick; rows that come one by one still go at once
		if !l.crowded || l.d.cfg.Batching == Always { // which have gathered
			return 0
		}
		return gatherQuick - now.Sub(l.waiting[0].since)
	}
	if l.sincePutOff(now) >= lingerFor {
		return 0
	}
	gather := gatherFor - now.Sub(l.waiting[0].since)
	if !l.scarce {
		return gather
	}
	from := later(later(l.openAt, l.sentAt), l.waiting[0].since)
	return max(gather, fullWait-now.Sub(from))
}

// trustFor is how long a lane believes the gate when it says that it is shut. Limits
// are changed and portals released meanwhile.
const trustFor = 5 * time.Second

// closedFor returns how long nothing may be sent, as far as the lane knows.
func (l *lane) closedFor(now time.Time) time.Duration {
	if len(l.flights) >= l.d.cfg.Parallel {
		l.why, l.hold = ratelimit.InFlight, nil
		l.openAt = now.Add(longWait)
		return longWait
	}
	if wait := l.openAt.Sub(now); wait > 0 && now.Sub(l.toldAt) < trustFor {
		return wait
	}
	l.why, l.hold = ratelimit.None, nil
	if l.d.cfg.Batching == Always && len(l.waiting) < l.d.cfg.BatchSize {
		return gatherFor - now.Sub(l.waiting[0].since)
	}
	return 0
}

// patience is how long the oldest waiting job may still wait for requests on
// their way. A portal that gets things done, if slowly, is waited for; one
// that does not is not.
func (l *lane) patience(now time.Time) time.Duration {
	since := l.waiting[0].since
	if l.progress.After(since) {
		since = l.progress
	}
	return longWait + min(l.pace.request, keepBusy) - now.Sub(since)
}

// worthWaiting reports whether the waiting jobs may stay in the lane for wait.
// If not, those that have to leave are handed back.
func (l *lane) worthWaiting(now time.Time, wait time.Duration) bool {
	switch l.why {
	case ratelimit.Held, ratelimit.Silent, ratelimit.Marked:
		l.handBackAll(l.openAt, l.why)
		return false
	case ratelimit.InFlight:
		if l.patience(now) > 0 {
			return true
		}
		l.handBackOld(now, l.afterFlights(now))
		return len(l.waiting) > 0
	default:
		if wait <= longWait {
			return true
		}
		l.handBackOld(time.Time{}, l.openAt)
		return false
	}
}

// awaitsFlight reports whether the end of a request of this lane decides, and
// not the gate's Until, which then is only an upper bound: all places are taken,
// or the gate waits for a probe.
func (l *lane) awaitsFlight(why ratelimit.Reason) bool {
	return len(l.flights) > 0 && (why == ratelimit.InFlight || why == ratelimit.Silent || why == ratelimit.Refused)
}

// afterFlights is when requests on their way that take long may be over.
func (l *lane) afterFlights(now time.Time) time.Time {
	return now.Add(min(max(now.Sub(l.oldestFlight(now)), 5*time.Second), time.Minute))
}

func (l *lane) oldestFlight(now time.Time) time.Time {
	oldest := now
	for _, at := range l.flights {
		if at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// handBackAll hands every waiting job back until one time.
func (l *lane) handBackAll(until time.Time, why ratelimit.Reason) {
	for i, j := range l.waiting {
		if i == 1 && why == ratelimit.Silent && l.others.After(until) {
			until = l.others
		}
		l.d.defers(j, until, why, l.hold)
	}
	l.left(len(l.waiting))
	l.waiting = nil
	if why == ratelimit.Silent {
		l.openAt, l.probeAt = time.Time{}, time.Time{} // the gate knows who probes next: whoever comes asks it
	}
}

// handBackOld gives places in line to jobs that have waited longWait at now; to
// all of them when now is zero.
func (l *lane) handBackOld(now, notBefore time.Time) {
	var back, keep []*pending
	for _, j := range l.waiting {
		if !now.IsZero() && now.Sub(j.since) < longWait {
			keep = append(keep, j)
		} else {
			back = append(back, j)
		}
	}
	l.waiting = keep
	l.inLine(back, notBefore, l.why)
}

// inLine hands jobs back until it is their turn in the portal's line.
func (l *lane) inLine(jobs []*pending, notBefore time.Time, why ratelimit.Reason) {
	for len(jobs) > 0 { // of one account at a time
		n := 1
		for n < len(jobs) && jobs[n].Portal.Account == jobs[0].Portal.Account {
			n++
		}
		l.d.inLine(jobs[:n], l.pace.steady(l.d.cfg.Batching), notBefore, why)
		l.left(n)
		jobs = jobs[n:]
	}
}

// choose takes the jobs of the next request off the waiting ones, in their
// order: one while nothing binds, else as many as may travel together.
func (l *lane) choose() []*pending {
	most := l.most()
	n, bytes, commands := 0, 0, 0
	for _, j := range l.waiting {
		size := botBytes(j.Bot) * j.Bot.Commands()
		commands += j.Bot.Commands()
		if n > 0 && (bytes+size > batchBytes || commands > bitrix.MaxBatch || j.alone() || j.Portal.Account != l.waiting[0].Portal.Account) {
			break
		}
		n, bytes = n+1, bytes+size
		if n >= most || j.alone() {
			break
		}
	}
	jobs := slices.Clone(l.waiting[:n])
	l.waiting = l.waiting[n:]
	return jobs
}

// alone reports whether a job cannot travel in a batch.
func (j *pending) alone() bool { return j.botID != 0 || !bitrix.CanBatch(j.Bot) }

// most is how many rows the next request may carry.
func (l *lane) most() int {
	if l.d.cfg.Batching == Off {
		return 1
	}
	if !l.bound && l.d.cfg.Batching != Always {
		return l.pace.quick(l.d.batchRows(l.waiting[0].Bot))
	}
	p := l.waiting[0].Portal
	return min(l.d.batchRows(l.waiting[0].Bot), l.pace.rows(p.ServerTimeout), l.pace.enough(p.Limits.Rate, l.d.cfg.Parallel))
}

// batchBytes bounds the parameters that travel in one batch.
const batchBytes = 256 << 10

// botBytes is about how many bytes a bot takes in a request.
func botBytes(b *bitrix.Bot) int {
	p := &b.Properties
	return 512 + 3*(len(b.Code)+len(b.EventHandler)+len(b.EventMessageAdd)+len(b.EventMessageUpdate)+
		len(b.EventMessageDelete)+len(b.EventWelcomeMessage)+len(b.EventBotDelete)+len(b.ClientID)+
		len(p.Name)+len(p.LastName)+len(p.Email)+len(p.WorkPosition)+len(p.PersonalWWW)+len(p.PersonalPhoto))
}

// send asks the gate for the jobs and starts the request for those that may go.
func (l *lane) send(jobs []*pending, now time.Time) {
	p := jobs[0].Portal
	r := request(p, jobs)
	// While a limit binds a single row travels as a batch too: portals may count
	// the two kinds of call apart, and what is known of one says little of the other.
	r.Batched = r.Batched || (l.bound || jobs[0].Bot.Update) && l.d.cfg.Batching != Off && !jobs[0].alone()
	if jobs[0].botID != 0 {
		r.Method = bitrix.MethodUpdate
	}
	r.MarkFor = l.d.cfg.RequestTimeout + p.ServerTimeout + markSlack
	// The deadline is set before the marks are, so that nothing is ever sent
	// later than a mark allows for.
	ctx, cancel := context.WithDeadline(l.d.ctx, now.Add(l.d.cfg.RequestTimeout))
	dec, err := l.acquire(ctx, p, r)
	if err != nil {
		cancel()
		l.putBack(jobs)
		// From the present, not from now: asking may have taken long, and a
		// lane that asked again at once would not see that it is drained.
		l.toldAt = time.Now()
		l.openAt, l.why, l.hold = l.toldAt.Add(askAgain), ratelimit.Rate, nil
		return
	}
	going, marked, rest := split(jobs, dec)
	l.putBack(rest)
	if len(going) == 0 {
		cancel()
	} else {
		l.start(func(id uint64) finished {
			defer cancel()
			return l.register(ctx, id, going, dec.Ticket)
		})
	}
	for _, j := range marked {
		if j.looked {
			l.waitForMarks([]markedJob{j})
		} else {
			l.lost = append(l.lost, j)
		}
	}
	if len(rest) > 0 {
		if dec.Reason == ratelimit.Silent {
			// The gate tells one row to be the next probe. A lane that asks again,
			// because a request of its own has returned, is that one still.
			if l.probeAt.After(now) {
				dec.Until = l.probeAt
			}
			l.probeAt = dec.Until
		}
		l.openAt, l.why, l.hold, l.others = dec.Until, dec.Reason, dec.Hold, dec.Others
		l.toldAt = now
		l.scarce = dec.Reason == ratelimit.Rate
		if soonest := now.Add(time.Millisecond); len(going) == 0 && l.openAt.Before(soonest) {
			l.openAt = soonest // a gate whose clock is behind must not be asked without end
		}
		if l.awaitsFlight(dec.Reason) {
			l.why = ratelimit.InFlight
		}
	}
}

// putBack returns jobs to the head of the waiting ones.
func (l *lane) putBack(jobs []*pending) {
	if len(jobs) > 0 {
		l.waiting = append(slices.Clone(jobs), l.waiting...)
	}
}

// start runs one request beside the lane.
func (l *lane) start(request func(id uint64) finished) {
	l.flight++
	id := l.flight
	l.sentAt = time.Now()
	l.flights[id] = l.sentAt
	l.d.crew.run(func() { l.ended <- request(id) })
}

// markedJob is a job whose CODE bears another request's mark until a time. The
// zero time: no mark was met, but an earlier call of the job failed.
type markedJob struct {
	*pending
	until time.Time
}

// split sorts jobs by what the gate decided.
func split(jobs []*pending, dec ratelimit.Decision) (going []*pending, marked []markedJob, rest []*pending) {
	next := 0
	for i, j := range jobs {
		if next < len(dec.Go) && dec.Go[next] == i {
			going = append(going, j)
			next++
		} else if until, ok := dec.Marked[i]; ok {
			marked = append(marked, markedJob{j, until})
		} else {
			rest = append(rest, j)
		}
	}
	return going, marked, rest
}
