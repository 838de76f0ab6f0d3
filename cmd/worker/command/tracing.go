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

// endTracingWithin bounds how long a stopping worker waits for what takes its
// traces. It is part of SHUTDOWN_TIMEOUT, of which it takes a tenth at most.
const endTracingWithin = 5 * time.Second

// trace begins to trace, and takes the time that ending it needs off the
// worker's own for stopping.
func (o Options) trace(ctx context.Context, cfg *config.Config, environ []string, log *slog.Logger) (_ engine.Tracer, end func(), err error) {
	if o.Tracing == nil {
		return nil, func() {}, nil
	}
	tracer, finish, err := o.Tracing(ctx, environ, log)
	if err != nil {
		return nil, nil, err
	}
	if finish == nil {
		return tracer, func() {}, nil
	}
	within := min(endTracingWithin, cfg.Shutdown/10)
	cfg.Shutdown -= within
	return tracer, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		if err := finish(ctx); err != nil {
			log.Warn("the last traces are lost", "err", err)
		}
	}, nil
}
