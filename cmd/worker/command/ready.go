// What /readyz answers. It is open to all, and costs Redis some questions.

package command

import (
	"context"
	"time"
)

const (
	// readyWait bounds a look whether Redis answers.
	readyWait = 2 * time.Second
	// readyFor is how long an answer is given again. Whoever asks more often must
	// not take the connections that rows need.
	readyFor = time.Second
)

// readiness asks once for all who want to know at the same time.
type readiness struct {
	ready    func(ctx context.Context) error // nil: the worker can work
	warnings func(ctx context.Context) []string

	turn   chan struct{} // of one: who holds it may ask
	answer readyAnswer
}

// readyAnswer is why the worker cannot work, or what will soon keep it from it.
type readyAnswer struct {
	err      error
	warnings []string
	at       time.Time
}

func newReadiness(ready func(context.Context) error, warnings func(context.Context) []string) *readiness {
	return &readiness{ready: ready, warnings: warnings, turn: make(chan struct{}, 1)}
}

// ask returns an answer that is at most readyFor old, or was asked for since.
func (r *readiness) ask(ctx context.Context) readyAnswer {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return readyAnswer{err: context.Cause(ctx)}
	}
	defer func() { <-r.turn }()
	if !r.answer.at.IsZero() && time.Since(r.answer.at) < readyFor {
		return r.answer
	}
	// Others wait for it too, whatever becomes of who asks.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWait)
	defer cancel()
	r.answer = readyAnswer{err: r.ready(ctx)}
	if r.answer.err == nil {
		r.answer.warnings = r.warnings(ctx)
	}
	r.answer.at = time.Now()
	return r.answer
}
