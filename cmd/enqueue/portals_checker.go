// One portal signed in to: asked within its limits, and looked at afterwards.

package main

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
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
	timeout  time.Duration
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
	err      error // of what is not the portal's: Redis
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
	// patience is how long is waited for a portal's limits and for its token. A
	// portal that has refused for its rate is left alone for 30 s at most.
	patience = 35 * time.Second
	// gateLook bounds a wait between two questions to the gate, whose clock may
	// be another; shortest keeps it from becoming no wait at all.
	gateLook = 5 * time.Second
	shortest = 20 * time.Millisecond
)

// ask makes the request, again where something that passes kept it from an answer.
func (c *checker) ask(ctx context.Context, p *portals.Portal, r *checked) {
	began := time.Now()
	for {
		d, err := c.leave(ctx, p, began)
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
		bots, err := c.list(ctx, p, d)
		if again, wait := passes(err, len(d.Go) > 0); again && time.Since(began)+wait < patience {
			if r.err = pause(ctx, wait); r.err == nil {
				continue
			}
			return
		}
		r.bots, r.verdict = len(bots), c.judge(p, err)
		return
	}
}

// list makes one request and tells the gate, if that gave leave for it.
func (c *checker) list(ctx context.Context, p *portals.Portal, d ratelimit.Decision) ([]bitrix.ListedBot, error) {
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	bots, at, err := c.signer.Bots(call, p, p.ClientID)
	if len(d.Go) > 0 {
		// What is not told expires by itself, and is no reason to throw the answer away.
		_ = c.gate.Observe(context.WithoutCancel(ctx), d.Ticket, listAnswer(err, at))
	}
	return bots, err
}

// passes says whether a request is to be made again, and after how long: the
// portal's token is being renewed, or the portal refused it for its rate; then
// the gate, if it was asked, says when.
func passes(err error, gated bool) (again bool, wait time.Duration) {
	e, ok := errors.AsType[*bitrix.Error](err)
	switch {
	case !ok:
		return false, 0
	case e.Wait != nil:
		return true, max(time.Until(e.Wait.Until), shortest)
	}
	return gated && strings.EqualFold(e.Code, "QUERY_LIMIT_EXCEEDED"), shortest
}

// leave waits for the gate's leave. A decision without rows is its last word:
// the portal is held or silent, which one request may find out about all the
// same, as nobody else sends any, or its limits leave no room.
func (c *checker) leave(ctx context.Context, p *portals.Portal, began time.Time) (ratelimit.Decision, error) {
	for {
		d, err := c.gate.Acquire(ctx, ratelimit.Request{
			Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: bitrix.MethodBotList, Rows: 1,
		})
		if err != nil || len(d.Go) > 0 || d.Reason == ratelimit.Held || d.Reason == ratelimit.Silent {
			return d, err
		}
		if time.Since(began) >= patience || time.Until(d.Until) > patience {
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
