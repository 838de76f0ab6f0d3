// A source is asked when somebody scrapes: within a bound, one question at a time.

package metrics

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// askTimeout bounds what a source may take: half of Prometheus' own default
// for a whole scrape.
const askTimeout = 5 * time.Second

// question asks a source and hands each value to emit. What was handed over
// before an error counts.
type question func(ctx context.Context, emit emit) error

// emit takes one value of a metric.
type emit func(d definition, value float64, labels ...string)

// source asks somebody at each scrape. It implements [prometheus.Collector].
type source struct {
	m           *Metrics
	name        string
	definitions []definition
	ask         question

	mu      sync.Mutex
	current *look // nil: nobody is being asked
	failing bool  // the last scrape got less than everything
}

// look is one question on its way. All who scrape meanwhile wait for it.
type look struct {
	ctx    context.Context //nolint:containedctx // bounds the waiting for it too
	done   chan struct{}   // closed when values and err are there
	values []prometheus.Metric
	err    error
}

// Describe implements [prometheus.Collector].
func (s *source) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.definitions {
		ch <- d.desc
	}
}

// Collect implements [prometheus.Collector].
func (s *source) Collect(ch chan<- prometheus.Metric) {
	l := s.look()
	if l == nil {
		return
	}
	select {
	case <-l.done:
	case <-l.ctx.Done():
	}
	select {
	case <-l.done:
		for _, v := range l.values {
			ch <- v
		}
		s.note(l.err)
	default:
		s.note(context.Cause(l.ctx))
	}
}

// look returns the question on its way, and asks when there is none; nil after
// Close.
func (s *source) look() *look {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m.closed || s.current != nil {
		return s.current
	}
	ctx, cancel := context.WithTimeoutCause(s.m.ctx, askTimeout, fmt.Errorf("no answer within %s", askTimeout))
	l := &look{ctx: ctx, done: make(chan struct{})}
	s.current = l
	s.m.looks.Go(func() {
		defer cancel()
		s.run(l)
	})
	return l
}

func (s *source) run(l *look) {
	began := time.Now()
	l.err = s.ask(l.ctx, func(d definition, value float64, labels ...string) {
		// Only a label that is no UTF-8 is refused: a queue that another program named.
		if v, err := prometheus.NewConstMetric(d.desc, d.kind, value, labels...); err == nil {
			l.values = append(l.values, v)
		}
	})
	s.m.lastFor.WithLabelValues(s.name).Set(time.Since(began).Seconds())
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	close(l.done)
}

// note counts a scrape that got less than everything. Only the first of a row
// is logged.
func (s *source) note(err error) {
	s.mu.Lock()
	first := err != nil && !s.failing
	s.failing = err != nil
	s.mu.Unlock()
	if err != nil {
		s.m.errors.WithLabelValues(s.name).Inc()
	}
	if first {
		s.m.log.Warn("metrics are incomplete", "collector", s.name, "err", err)
	}
}
