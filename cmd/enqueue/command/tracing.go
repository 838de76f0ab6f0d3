// Builds of the command that trace.

package command

import (
	"context"
	"log/slog"
	"time"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
)

// Options are what builds of this command differ in. The zero value is the plain one.
type Options struct {
	// Tracing makes what follows rows and requests. Nil: nothing does.
	Tracing engine.Tracing
}

// endTracingWithin bounds how long an ending command waits for what takes its
// traces: at most SHUTDOWN_TIMEOUT.
const endTracingWithin = 5 * time.Second

// trace begins to trace on a base. end tells what is left, and must be called
// once nothing is at work any more.
func (a *app) trace(ctx context.Context, cfg config.Config, base *engine.Base) (end func(), err error) {
	if a.options.Tracing == nil {
		return func() {}, nil
	}
	log := slog.New(slog.DiscardHandler)
	if !a.common.quiet {
		log = cfg.Logger(a.std.err)
	}
	tracer, finish, err := a.options.Tracing(ctx, a.environ, log)
	if err != nil {
		return nil, err
	}
	base.Tracer = tracer
	if finish == nil {
		return func() {}, nil
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(endTracingWithin, cfg.Shutdown))
		defer cancel()
		if err := finish(ctx); err != nil {
			log.Warn("the last traces are lost", "err", err)
		}
	}, nil
}
