// The requests of a lane: registrations, and the look for lost ones.

package dispatch

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// register sends one request for jobs, tells the gate, and ends the jobs.
func (l *lane) register(ctx context.Context, id uint64, jobs []*pending, t ratelimit.Ticket) finished {
	p := jobs[0].Portal
	if jobs = l.stillWanted(jobs); len(jobs) == 0 {
		l.observe(p, t, ending{Answer: ratelimit.Answer{Outcome: ratelimit.NotSent}}) //nolint:contextcheck // as below
		return finished{flight: id}
	}
	method := methodOf(jobs, t)
	began := time.Now()
	ctx, traced := l.trace(ctx, method, jobs)
	var results []Result
	var a ending
	if t.Batched { // if only one row of it may go, too: portals count batches apart
		results, a = l.batch(ctx, jobs)
	} else {
		results, a = l.single(ctx, jobs[0])
	}
	f := finished{flight: id, rows: a.Ran, took: time.Since(began)}
	l.meter(jobs, method, a.Outcome, began, f.took)
	if traced != nil {
		traced(tracedEnd(&a))
	}
	l.observe(p, t, a) //nolint:contextcheck // the gate is told even when the request was given up
	ended := 0
	for i, j := range jobs {
		if results[i] == (Result{}) {
			j.sent.Store(false)
			f.again = append(f.again, j)
			continue
		}
		if d := results[i].Deferred; d != nil {
			l.d.cfg.Meter.Deferred(d.Reason, 1)
		}
		j.end(results[i])
		ended++
	}
	l.left(ended)
	return f
}

// newest is the portal of jobs as it was read last: credentials are renewed while
// jobs wait.
func newest(jobs []*pending) *portals.Portal {
	p := jobs[0].Portal
	for _, j := range jobs[1:] {
		if j.Portal.Generation > p.Generation {
			p = j.Portal
		}
	}
	return p
}

// methodOf is the REST method of a request for jobs.
func methodOf(jobs []*pending, t ratelimit.Ticket) string {
	switch {
	case t.Batched:
		return bitrix.MethodBatch
	case jobs[0].botID != 0:
		return bitrix.MethodUpdate
	}
	return bitrix.MethodRegister
}

// meter tells of a request's end.
func (l *lane) meter(jobs []*pending, method string, outcome ratelimit.Outcome, began time.Time, took time.Duration) {
	l.d.cfg.Meter.Request(method, len(jobs), outcome, took)
	for _, j := range jobs {
		l.d.cfg.Meter.Waited(began.Sub(j.since))
	}
}

// stillWanted marks jobs as sent, but for those whose callers have left, which
// it takes off the lane. Both sides write before they read: either the caller
// is seen here to have left, or its giveUp sees that the job was sent.
func (l *lane) stillWanted(jobs []*pending) []*pending {
	wanted := jobs[:0:0]
	for _, j := range jobs {
		j.sent.Store(true)
		if !j.gone.Load() {
			wanted = append(wanted, j)
		}
	}
	l.left(len(jobs) - len(wanted))
	return wanted
}

func (l *lane) single(ctx context.Context, j *pending) ([]Result, ending) {
	if j.botID != 0 {
		return l.update(ctx, j)
	}
	reg, err := l.d.cfg.Caller.Register(ctx, j.Portal, j.Bot)
	a := answer(err, reg.Time)
	if err == nil && reg.Existed && j.Bot.Update {
		j.botID = reg.BotID // which takes a request of its own
		return []Result{{}}, a
	}
	return []Result{result(reg, err, j.Portal)}, a
}

// update brings a bot up to date that stands on its portal.
func (l *lane) update(ctx context.Context, j *pending) ([]Result, ending) {
	at, err := l.d.cfg.Caller.Update(ctx, j.Portal, j.botID, j.Bot)
	a := answer(err, at)
	if err != nil {
		if e := asError(err, j.Portal); e.Class == bitrix.Conflict {
			e.BotID = j.botID
		}
		return []Result{result(bitrix.Registered{}, err, j.Portal)}, a
	}
	return []Result{{Registered: &Registered{BotID: j.botID, Existed: true, Updated: true, Recovered: j.recovered}}}, a
}

func (l *lane) batch(ctx context.Context, jobs []*pending) ([]Result, ending) {
	bots := make([]*bitrix.Bot, len(jobs))
	for i, j := range jobs {
		bots[i] = j.Bot
	}
	results := make([]Result, len(jobs))
	ans, err := l.d.cfg.Caller.RegisterBatch(ctx, newest(jobs), bots)
	a := answer(err, ans.Time)
	if err != nil {
		for i, j := range jobs {
			results[i] = result(bitrix.Registered{}, err, j.Portal)
		}
		return results, a
	}
	a.Ran = 0
	for i, row := range ans.Rows {
		if !row.Ran {
			continue // the portal did not get to it: it goes again, no attempt spent
		}
		var rowErr error
		if row.Err != nil {
			rowErr = row.Err
		}
		results[i] = result(row.Registered, rowErr, jobs[i].Portal)
		merge(&a, answer(rowErr, row.Time))
	}
	if a.Ran == 0 && a.Outcome == ratelimit.Answered {
		l.notRun(jobs, results)
	}
	return results, a
}

// notRun ends the jobs of a batch of which the portal ran nothing at all:
// sending them again at once could go on for ever.
func (l *lane) notRun(jobs []*pending, results []Result) {
	for i, j := range jobs {
		if results[i] == (Result{}) {
			results[i] = Result{Err: &bitrix.Error{
				Class: bitrix.Transient, Code: bitrix.CodeNotSent, Method: "batch", Host: j.Portal.Name,
				Description: "the portal ran none of the batch's commands",
			}}
		}
	}
}

// merge adds what one command of a batch tells to what its envelope told.
func merge(a *ending, row ending) {
	if row.Outcome == ratelimit.WorkRefused || row.Outcome == ratelimit.BlockedByBX {
		a.Outcome, a.Code, a.Text, a.credential = row.Outcome, row.Code, row.Text, row.credential
	}
	a.Ran += row.Ran
	a.Unsure = a.Unsure || row.Unsure
	if row.HasOperating && (!a.HasOperating || row.Operating > a.Operating) {
		a.HasOperating, a.Operating, a.ResetAt = true, row.Operating, row.ResetAt
	}
}

// observe tells the gate how a request ended. A request that ended needs no
// context of its own: the gate bounds its own work. A hold is kept first: what
// the gate alone holds is released again as a left-over.
func (l *lane) observe(p *portals.Portal, t ratelimit.Ticket, a ending) {
	ctx := context.WithoutCancel(l.d.ctx)
	changed := false // new credentials came while the call was on its way with the old ones
	if a.Outcome == ratelimit.BlockedByBX && l.d.cfg.Holds != nil {
		held, err := l.d.cfg.Holds.HoldCredential(ctx, p.ID, cmp.Or(a.credential, p.Credential), holdReason(a.Code, a.Text), time.Now())
		if err != nil {
			l.d.cfg.Log.Warn("the hold of a portal could not be kept", "portal", p.Name, "err", err)
		}
		changed = err == nil && !held
	}
	err := l.d.cfg.Gate.Observe(ctx, t, a.Answer)
	if err == nil && changed {
		err = l.d.cfg.Gate.Release(ctx, p.ID)
	}
	if err != nil {
		l.d.cfg.Log.Warn("the gate could not be told of an answer", "portal", p.Name, "err", err)
	}
}

func holdReason(code, text string) string {
	if text == "" {
		return code
	}
	return code + ": " + text
}

// result is one job's end after its call. The zero Result means that the
// portal refused for its limits: the job goes again, no attempt spent.
func result(reg bitrix.Registered, err error, p *portals.Portal) Result {
	if err == nil {
		return Result{Registered: &Registered{BotID: reg.BotID, Existed: reg.Existed, Updated: reg.Updated}}
	}
	e := asError(err, p)
	switch {
	case e.Class == bitrix.Limit:
		return Result{}
	case e.Wait != nil:
		return Result{Deferred: signInLater(e)}
	}
	return Result{Err: e}
}

// signInLater puts a job off whose portal cannot be signed in to now, for reasons
// that are neither the job's nor the portal's.
func signInLater(e *bitrix.Error) *Deferral {
	return &Deferral{
		Until: e.Wait.Until, Reason: SignIn,
		Hold: &ratelimit.Hold{Reason: holdReason(e.Code, e.Description), Since: e.Wait.Since},
	}
}

// asError returns err as the client's typed error.
func asError(err error, p *portals.Portal) *bitrix.Error {
	if e, ok := errors.AsType[*bitrix.Error](err); ok {
		return e
	}
	return &bitrix.Error{
		Class: bitrix.Ambiguous, Code: bitrix.CodeCancelled, Host: p.Name, Method: "imbot.register",
		Description: "the call was broken off", Err: err,
	}
}

// ending is how a request ended: what the gate learns of it, and the credential
// that a portal has refused.
type ending struct {
	ratelimit.Answer
	credential string
	status     int // HTTP
}

// answer is the end of one call.
func answer(err error, t bitrix.Time) ending {
	a := ending{status: statusOf(err), Answer: ratelimit.Answer{
		Outcome: ratelimit.Answered, Ran: 1,
		HasOperating: t.HasOperating, Operating: t.Operating, ResetAt: t.ResetAt,
	}}
	if err == nil {
		return a
	}
	var e *bitrix.Error
	if !errors.As(err, &e) {
		a.Outcome, a.Ran, a.Unsure = ratelimit.NoAnswer, 0, true
		return a
	}
	a.Code, a.Text, a.credential = e.Code, e.Description, e.Credential
	switch {
	case e.Wait != nil && e.Status == 0:
		a.Outcome, a.Ran = ratelimit.NotSent, 0
	case e.Wait != nil: // the portal has answered that it wants another token
		a.Ran = 0
	case e.Class == bitrix.Limit && strings.EqualFold(e.Code, "OPERATION_TIME_LIMIT"):
		a.Outcome, a.Ran = ratelimit.WorkRefused, 0
	case e.Class == bitrix.Limit:
		a.Outcome, a.Ran = ratelimit.RateRefused, 0
	case e.Class == bitrix.Blocked || e.Class == bitrix.Token:
		a.Outcome, a.Ran = ratelimit.BlockedByBX, 0
	case e.Code == bitrix.CodeNotSent:
		a.Outcome, a.Ran = ratelimit.NotSent, 0
	case e.Status == 0:
		a.Outcome, a.Ran = ratelimit.NoAnswer, 0
	}
	a.Unsure = e.Class == bitrix.Ambiguous
	return a
}

// lookAgain is how long jobs wait after a look that failed before the next.
const lookAgain = 15 * time.Second

// look searches the portal's list for the bots of lost jobs, one look for all
// of them: found ones are registered. It returns after how long to look again
// at the latest.
func (l *lane) look(now time.Time) time.Duration {
	if len(l.lost) == 0 || l.looking {
		return time.Hour
	}
	jobs := l.lost
	p := jobs[0].Portal
	ctx, cancel := context.WithDeadline(l.d.ctx, now.Add(l.d.cfg.RequestTimeout))
	dec, err := l.acquire(ctx, p, ratelimit.Request{
		Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: bitrix.MethodBotList, Rows: 1,
	})
	if err != nil {
		cancel()
		dec = ratelimit.Decision{Until: now.Add(longWait), Reason: ratelimit.Rate}
	}
	if len(dec.Go) == 0 {
		cancel()
		if wait := dec.Until.Sub(now); err == nil && wait <= longWait {
			return max(wait, time.Millisecond)
		}
		if l.awaitsFlight(dec.Reason) {
			if waited := now.Sub(jobs[0].since); waited < longWait {
				return longWait - waited
			}
			dec.Until = l.afterFlights(now)
		}
		l.lost = nil
		l.putOff(jobs, dec)
		return time.Hour
	}
	l.lost, l.looking = nil, true
	l.start(func(id uint64) finished {
		defer cancel()
		return finished{flight: id, look: true, again: l.find(ctx, p, jobs, dec.Ticket)}
	})
	return time.Hour
}

// putOff hands back jobs that the gate lets nobody look for now.
func (l *lane) putOff(jobs []markedJob, dec ratelimit.Decision) {
	var marked []markedJob
	var back []*pending
	for _, j := range jobs {
		switch {
		case dec.Hold != nil:
			l.d.defers(j.pending, dec.Until, dec.Reason, dec.Hold)
			l.left(1)
		case j.until.IsZero():
			back = append(back, j.pending)
		default:
			marked = append(marked, j)
		}
	}
	l.inLine(back, dec.Until, dec.Reason)
	l.waitForMarks(marked)
}

// find looks, and returns the jobs to send: those that are not there and bear no mark.
func (l *lane) find(ctx context.Context, p *portals.Portal, jobs []markedJob, t ratelimit.Ticket) (again []*pending) {
	began := time.Now()
	ctx, traced := l.traceLook(ctx, jobs)
	bots, at, err := l.d.cfg.Caller.Bots(ctx, p, jobs[0].Bot.ClientID)
	a := answer(err, at)
	l.d.cfg.Meter.Request(bitrix.MethodBotList, len(jobs), a.Outcome, time.Since(began))
	if traced != nil {
		traced(tracedEnd(&a))
	}
	a.Unsure = false   // a look changes nothing on the portal
	l.observe(p, t, a) //nolint:contextcheck // the gate is told even when the request was given up
	if err != nil {
		return l.notSeen(jobs, asError(err, p))
	}
	byCode := make(map[string]int64, len(bots))
	for _, b := range bots {
		byCode[strings.ToLower(b.Code)] = b.ID
	}
	var missing []markedJob
	for _, j := range jobs {
		code := strings.ToLower(j.Bot.Code)
		id, ok := byCode[code]
		switch {
		case !ok && j.until.IsZero() && j.Last:
			l.giveUp(j.pending, "the bot is not in the portal's list")
			continue
		case !ok && j.until.IsZero():
			j.looked = true
			again = append(again, j.pending)
			continue
		case !ok:
			missing = append(missing, j)
			continue
		}
		if err := l.d.cfg.Gate.ClearMark(ctx, p.ID, code); err != nil {
			l.d.cfg.Log.Warn("a sending mark could not be cleared", "portal", p.Name, "err", err)
		}
		if j.Bot.Update {
			j.botID, j.recovered = id, true
			again = append(again, j.pending)
			continue
		}
		j.end(Result{Registered: &Registered{BotID: id, Recovered: true}})
		l.left(1)
	}
	l.waitForMarks(missing)
	return again
}

// giveUp ends a job that no call is left to.
func (l *lane) giveUp(j *pending, why string) {
	j.end(Result{Err: &bitrix.Error{
		Class: bitrix.Ambiguous, Code: CodeAnswerLost, Method: bitrix.MethodRegister, Host: j.Portal.Name,
		Description: "no answer came, and " + why,
	}})
	l.left(1)
}

// notSeen is find after a look that failed. A portal that answered, if only
// that it will not list its bots, is asked to register: that tells as much.
func (l *lane) notSeen(jobs []markedJob, e *bitrix.Error) (again []*pending) {
	if e.Wait != nil {
		d := signInLater(e)
		for _, j := range jobs {
			l.d.defers(j.pending, d.Until, d.Reason, d.Hold)
		}
		l.left(len(jobs))
		return nil
	}
	soon := time.Now().Add(lookAgain)
	var marked []markedJob
	for _, j := range jobs {
		switch {
		case !j.until.IsZero():
			if j.until.After(soon) {
				j.until = soon
			}
			marked = append(marked, j)
		case j.Last && e.Code == bitrix.CodeNotSent:
			l.d.defers(j.pending, soon, ratelimit.InFlight, nil)
			l.left(1)
		case j.Last:
			l.giveUp(j.pending, "the portal's list cannot be read: "+e.Description)
		case e.Status != 0 || e.Code == bitrix.CodeNotSent:
			j.looked = true
			again = append(again, j.pending)
		default:
			j.end(Result{Err: e})
			l.left(1)
		}
	}
	l.waitForMarks(marked)
	return again
}

// waitForMarks hands jobs back until their marks end, or now if they bear none.
func (l *lane) waitForMarks(jobs []markedJob) {
	for _, j := range jobs {
		if j.until.IsZero() {
			l.d.defers(j.pending, time.Now(), ShuttingDown, nil)
			continue
		}
		l.d.defers(j.pending, j.until, ratelimit.Marked, nil)
	}
	l.left(len(jobs))
}
