// One portal signed in to: asked within its limits, and looked at afterwards.

package command

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/ratelimit"
)

// signer lists a portal's bots with the credentials that the portal has now.
type signer interface {
	Bots(ctx context.Context, p *portals.Portal, clientID string) ([]bitrix.ListedBot, bitrix.Time, error)
}

// registry is what check asks and tells of stored portals.
type registry interface {
	Get(ctx context.Context, id string) (portals.Portal, error)
	Release(ctx context.Context, id string) error
}

// checker asks portals.
type checker struct {
	gate     ratelimit.Gate
	signer   signer
	open     func(ctx context.Context, p *portals.Portal) (portals.Portal, error) // with its credentials
	registry registry                                                             // nil for those of a file
	timeout  time.Duration                                                        // of a portal's whole check, waiting included
	release  bool
	file     bool

	requests atomic.Int64 // to portals
	renewals atomic.Int64 // requests to the authorization server
}

// Refreshed and Moved make a checker the meter of its signer.
func (c *checker) Refreshed(string) { c.renewals.Add(1) }

// Moved is told with each portal.
func (c *checker) Moved() {}

// checked is what became of one portal.
type checked struct {
	portal   portals.Portal // as it was before
	name     string         // now
	verdict  verdict
	bots     int
	held     *portals.Hold // that it was under
	works    bool
	released bool
	requests int
	took     time.Duration
	again    time.Time // before which nobody can say whether a held portal works; zero: it was found out
	err      error     // of what is not the portal's: Redis
}

// one asks one portal. An error in what it returns means that nothing can be
// said of any portal.
func (c *checker) one(ctx context.Context, p *portals.Portal) (r checked) {
	began := time.Now()
	r = checked{portal: *p, name: p.Name, held: p.Held}
	defer func() { r.took = time.Since(began) }()
	if p.Gone != nil {
		r.verdict = goneVerdict(p.Gone)
		return r
	}
	opened, err := c.open(ctx, p)
	if err != nil {
		r.verdict, r.err = unopened(err)
		return r
	}
	r.held = opened.Held
	var sent atomic.Int64
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) },
	})
	c.ask(traced, &opened, &r)
	r.requests = int(sent.Load())
	c.requests.Add(sent.Load())
	if r.err == nil && c.registry != nil && ctx.Err() == nil {
		r.err = c.lookAfter(ctx, &r)
	}
	return r
}

const (
	// patience is how much longer a check may take for its turn at the
	// authorization server, where many portals of this process stand in line.
	patience = 35 * time.Second
	// gateLook bounds a wait between two questions to the gate, whose clock may
	// be another; shortest keeps it from becoming no wait at all.
	gateLook = 5 * time.Second
	shortest = 20 * time.Millisecond
)

// ask makes the request, again where something that passes kept it from an answer.
func (c *checker) ask(ctx context.Context, p *portals.Portal, r *checked) {
	end := time.Now().Add(c.timeout)
	last := end.Add(patience)
	for {
		d, err := c.leave(ctx, p, end)
		if err != nil {
			r.err = err
			return
		}
		if d.Reason == ratelimit.Held && r.held == nil {
			r.held = gateHold(d.Hold)
		}
		if len(d.Go) == 0 && d.Reason != ratelimit.Held && d.Reason != ratelimit.Silent {
			r.verdict = busyVerdict(d)
			return
		}
		bots, err := c.list(ctx, p, d, end)
		again, wait := c.passes(err, r.held != nil, len(d.Go) > 0, time.Until(end))
		if turn := inLine(err); turn > 0 && time.Now().Add(turn).Before(last) {
			again, wait, end = true, turn, end.Add(turn)
		}
		if !again {
			r.bots, r.verdict, r.again = len(bots), c.judge(p, err), tokenAgain(r.held, err)
			return
		}
		if r.err = pause(ctx, wait); r.err != nil {
			return
		}
	}
}

// list makes one request and tells the gate, if that gave leave for it.
func (c *checker) list(ctx context.Context, p *portals.Portal, d ratelimit.Decision, end time.Time) ([]bitrix.ListedBot, error) {
	call, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	bots, at, err := c.signer.Bots(call, p, p.ClientID)
	if len(d.Go) > 0 {
		// What is not told expires by itself, and is no reason to throw the answer away.
		_ = c.gate.Observe(context.WithoutCancel(ctx), d.Ticket, listAnswer(err, at))
	}
	return bots, err
}

// passes says whether a request is to be made again in the time left, and after
// how long: the portal's token is being renewed, or the portal refused it for
// its rate; then the gate, if it was asked, says when.
func (c *checker) passes(err error, held, gated bool, left time.Duration) (again bool, wait time.Duration) {
	e, ok := errors.AsType[*bitrix.Error](err)
	if !ok || left < c.timeout/8 { // too little for an answer
		return false, 0
	}
	if e.Wait == nil {
		return gated && strings.EqualFold(e.Code, "QUERY_LIMIT_EXCEEDED"), shortest
	}
	wait = max(time.Until(e.Wait.Until), shortest)
	switch {
	case refusesApplication(e): // asking again only makes it worse
		return false, wait
	case e.Code == signin.CodePending && held:
		// What it is held for may keep the token, too: a renewal whose answer
		// was lost is left alone for longer than anybody waits here.
		return false, wait
	case e.Code == signin.CodePending: // which costs no request, so earlier is as well
		return true, min(wait, left/2)
	}
	return wait <= left/2, wait
}

// inLine is how long to wait when a check came to nothing because other portals
// of this process had their turns at the authorization server; 0: it did not.
func inLine(err error) time.Duration {
	e, ok := errors.AsType[*bitrix.Error](err)
	if !ok || e.Wait == nil || e.Code != bitrix.CodeNotSent {
		return 0
	}
	return max(time.Until(e.Wait.Until), shortest)
}

// tokenAgain is when it can be found out whether a held portal works whose token
// is being renewed, or was when the answer was lost: until that renewal's lock
// ends nobody tries again.
func tokenAgain(held *portals.Hold, err error) time.Time {
	e, ok := errors.AsType[*bitrix.Error](err)
	if held == nil || !ok || e.Wait == nil {
		return time.Time{}
	}
	at := e.Wait.Until
	if locked := held.Since.Add(signin.LockTime); e.Code == signin.CodePending && locked.After(at) {
		at = locked
	}
	return at
}

// leave waits for the gate's leave. A decision without rows is its last word:
// the portal is held or silent, which one request may find out about all the
// same, as nobody else sends any, or its limits leave no room.
func (c *checker) leave(ctx context.Context, p *portals.Portal, end time.Time) (ratelimit.Decision, error) {
	latest := end.Add(-c.timeout / 4) // the rest is for the answer
	for {
		d, err := c.gate.Acquire(ctx, ratelimit.Request{
			Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: bitrix.MethodBotList, Rows: 1,
		})
		if err != nil || len(d.Go) > 0 || d.Reason == ratelimit.Held || d.Reason == ratelimit.Silent {
			return d, err
		}
		if !time.Now().Before(latest) || d.Until.After(latest) {
			return d, nil
		}
		if err := pause(ctx, min(max(time.Until(d.Until), shortest), gateLook)); err != nil {
			return d, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func gateHold(h *ratelimit.Hold) *portals.Hold {
	if h == nil {
		return &portals.Hold{Reason: "held", Since: time.Now()}
	}
	return &portals.Hold{Reason: h.Reason, Since: h.Since}
}

// lookAfter finds out what signing in has changed, and releases what works.
func (c *checker) lookAfter(ctx context.Context, r *checked) error {
	now, err := c.registry.Get(ctx, r.portal.ID)
	if errors.Is(err, portals.ErrUnknown) {
		r.verdict = verdict{statusRemoved, "", "was removed while it was checked"}
		return nil
	}
	if err != nil {
		return err
	}
	r.name = now.Name
	if r.held == nil {
		return nil
	}
	r.works = r.verdict.fine()
	switch {
	case now.Held == nil && r.portal.Held != nil: // new tokens have ended it
		r.released = true
	case r.works && c.release && (now.Held == nil || sameHold(now.Held, r.held) && !now.Held.ByOperator):
		if err := c.registry.Release(ctx, r.portal.ID); err != nil {
			return err
		}
		r.released = true
	}
	if r.released {
		return c.gate.Release(ctx, r.portal.ID)
	}
	return nil
}

// sameHold tells a hold from one that came while the portal was asked.
func sameHold(a, b *portals.Hold) bool { return a.Reason == b.Reason && a.Since.Equal(b.Since) }

// listAnswer is what the gate learns from the request. That the portal refuses
// these credentials is not told: a check holds nothing.
func listAnswer(err error, at bitrix.Time) ratelimit.Answer {
	a := ratelimit.Answer{Outcome: ratelimit.Answered, HasOperating: at.HasOperating, Operating: at.Operating, ResetAt: at.ResetAt}
	if err == nil {
		a.Ran = 1
		return a
	}
	e, ok := errors.AsType[*bitrix.Error](err)
	switch {
	case !ok:
		a.Outcome = ratelimit.NoAnswer
	case strings.EqualFold(e.Code, "OPERATION_TIME_LIMIT"):
		a.Outcome = ratelimit.WorkRefused
	case e.Class == bitrix.Limit:
		a.Outcome = ratelimit.RateRefused
	case e.Status != 0: // the portal has answered, whatever
	case e.Code == bitrix.CodeNotSent, e.Class == bitrix.Blocked, e.Wait != nil:
		a.Outcome = ratelimit.NotSent
	default:
		a.Outcome = ratelimit.NoAnswer
	}
	return a
}
