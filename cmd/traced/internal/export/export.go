// Package export sends the commands' traces where the standard OTEL_* variables
// of the environment say.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/version"
	"botfleet/cmd/traced/tracing"
)

// As returns what makes the tracer of a command that calls itself service, unless
// OTEL_SERVICE_NAME names it otherwise.
func As(service string) engine.Tracing {
	return func(ctx context.Context, environ []string, log *slog.Logger) (engine.Tracer, func(context.Context) error, error) {
		s, err := read(environ)
		if err != nil || s.off {
			return nil, nil, err
		}
		// The library's own log quotes variables that it cannot read, and
		// credentials are among them. What can be wrong was looked at above.
		otel.SetLogger(logr.Discard())
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // the exporter below tells of its errors
		res, err := describe(ctx, service)
		if err != nil {
			return nil, nil, err
		}
		to, err := otlptracehttp.New(ctx, s.options()...)
		if err != nil {
			return nil, nil, fmt.Errorf("make ready to send traces: %w", err)
		}
		watched := &exporter{next: to, log: log}
		p := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSampler(tracing.Sampler(s.sampler)), sdktrace.WithBatcher(watched))
		end := func(ctx context.Context) error {
			if err := p.Shutdown(ctx); err != nil {
				return errors.New(reason(err))
			}
			return watched.rest()
		}
		return tracing.New(p, tracing.Options{}), end, nil
	}
}

// options are what the library does not read in the variables as the standard has it.
func (s settings) options() []otlptracehttp.Option {
	if s.bare {
		return []otlptracehttp.Option{otlptracehttp.WithInsecure()}
	}
	return nil
}

// describe is what all spans of the process have in common. It takes nothing
// from the command line.
func describe(ctx context.Context, service string) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version.String())),
		resource.WithFromEnv(), // the last one wins
	)
	if err != nil {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: needed are pairs like deployment.environment.name=production,team=crm")
	}
	return res, nil
}

// lookup is the last value of a variable, without the blanks around it.
func lookup(environ []string, name string) string { return strings.TrimSpace(last(environ, name)) }

// last is the last value of a variable as it is.
func last(environ []string, name string) string {
	value := ""
	for _, v := range environ {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}
