// Following requests to portals: the seam for a tracer.

package dispatch

import (
	"context"
	"errors"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// Tracer follows requests to portals, as distributed tracing does. It is called
// from many goroutines and must neither block nor keep or change what it is
// given. A nil Tracer costs nothing.
type Tracer interface {
	// Request begins a request. It is sent with the context that is returned, which
	// has to be of ctx. end, which may not be nil, is called exactly once.
	Request(ctx context.Context, r TracedRequest) (_ context.Context, end func(TracedEnd))
}

// TracedRequest is a request about to be sent. It holds no secret: the path of a
// webhook's address is one, and is not part of it.
type TracedRequest struct {
	Portal string // the portal's name: its host, or host:port, but where a service names its portals otherwise
	Method string // REST method
	// Rows are the contexts that the jobs of its rows were given to [Dispatcher.Do]
	// with. They may have ended.
	Rows []context.Context
}

// TracedEnd is how a request ended.
type TracedEnd struct {
	Outcome ratelimit.Outcome
	Status  int    // HTTP status; 0: none came
	Code    string // of the portal's error, or one of package bitrix; empty: none
	Text    string // what the error says; scrubbed
}

// trace begins to follow a request for jobs, if somebody wants to.
func (l *lane) trace(ctx context.Context, method string, jobs []*pending) (context.Context, func(TracedEnd)) {
	t := l.d.cfg.Tracer
	if t == nil {
		return ctx, nil
	}
	r := TracedRequest{Portal: jobs[0].Portal.Name, Method: method, Rows: make([]context.Context, 0, len(jobs))}
	for _, j := range jobs {
		r.Rows = append(r.Rows, j.caller)
	}
	return t.Request(ctx, r)
}

// traceLook is trace for a look for lost jobs.
func (l *lane) traceLook(ctx context.Context, lost []markedJob) (context.Context, func(TracedEnd)) {
	if l.d.cfg.Tracer == nil {
		return ctx, nil
	}
	jobs := make([]*pending, len(lost))
	for i, j := range lost {
		jobs[i] = j.pending
	}
	return l.trace(ctx, bitrix.MethodBotList, jobs)
}

// statusAnswered is the HTTP status of every answer that is a success.
const statusAnswered = 200

// tracedEnd is the end of a request as tracers hear of it.
func tracedEnd(a *ending) TracedEnd {
	return TracedEnd{Outcome: a.Outcome, Status: a.status, Code: a.Code, Text: a.Text}
}

// statusOf is the HTTP status of an answer; 0 where none came.
func statusOf(err error) int {
	if err == nil {
		return statusAnswered
	}
	if e, ok := errors.AsType[*bitrix.Error](err); ok {
		return e.Status
	}
	return 0
}
