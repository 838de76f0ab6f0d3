// Package metrics tells Prometheus what a worker does.
//
// What happens in the worker itself is counted as it happens: [Metrics] is the
// Meter of the dispatcher and of the handler. What stands in Redis or in the
// gate is asked for when somebody scrapes: [Metrics.Watch] says whom to ask.
//
//	m := metrics.New(metrics.Config{Version: "1.2.3"})
//	defer m.Close()
//	… start a worker with m as its meter …
//	err := m.Watch(metrics.Sources{Gate: gate, Queues: inspector, Runs: runs, Portals: registry, Redis: client})
//	mux.Handle("GET /metrics", m.Handler())
//
// A scrape never fails because a source does, and never takes longer than 5 s:
// what could not be had is left out, and counted.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config of a worker's metrics.
type Config struct {
	Version string       // of the program
	Log     *slog.Logger // nil: nothing is logged
}

// Metrics are a worker's metrics. Its methods may be called from many
// goroutines.
type Metrics struct {
	log      *slog.Logger
	registry *prometheus.Registry
	counts   counts

	ctx     context.Context //nolint:containedctx // of the questions to sources: ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex
	closed  bool
	looks   sync.WaitGroup
	errors  *prometheus.CounterVec
	lastFor *prometheus.GaugeVec
}

// New returns metrics that know of nothing yet. Close ends them.
func New(cfg Config) *Metrics {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Metrics{
		log: cfg.Log, registry: prometheus.NewRegistry(), counts: newCounts(),
		errors: newCounter(scrapeErrors), lastFor: newGauge(scrapeDuration),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	build := newGauge(buildInfo)
	build.WithLabelValues(cfg.Version).Set(1)
	m.registry.MustRegister(build, m.errors, m.lastFor, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.counts.all()...)
	return m
}

// Sources are asked at each scrape. One that is nil is left out.
type Sources struct {
	Gate    Gate
	Queues  Queues
	Runs    Runs
	Portals Portals
	Redis   Redis
}

// Watch adds sources to the scrapes. Call it once.
func (m *Metrics) Watch(from Sources) error {
	for _, s := range m.sources(from) {
		if err := m.registry.Register(s); err != nil {
			return fmt.Errorf("watch the %s for metrics: %w", s.name, err)
		}
		m.errors.WithLabelValues(s.name) // there from the start, at 0
		m.lastFor.WithLabelValues(s.name)
	}
	return nil
}

func (m *Metrics) sources(from Sources) []*source {
	var all []*source
	add := func(name string, d []definition, ask question) {
		all = append(all, &source{m: m, name: name, definitions: d, ask: ask})
	}
	if from.Gate != nil {
		add("gate", gateDefinitions(), askGate(from.Gate))
	}
	if from.Queues != nil {
		add("queues", queueDefinitions(), askQueues(from.Queues))
	}
	if from.Runs != nil {
		add("runs", runsDefinitions(), askRuns(from.Runs))
	}
	if from.Portals != nil {
		add("portals", portalsDefinitions(), askPortals(from.Portals))
	}
	if from.Redis != nil {
		add("redis", redisDefinitions(), askRedis(from.Redis))
	}
	return all
}

// mostScrapes is how many scrapes are answered side by side: they share what
// the sources say, so that a pair of Prometheus servers costs the worker as
// much as one. More are told to come back.
const mostScrapes = 4

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(m.log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: mostScrapes,
	})
}

// Close ends the questions on their way and waits for them. A question to asynq
// takes no context: it ends with the Redis client's own timeouts, and at once
// when that client was closed before.
func (m *Metrics) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.looks.Wait()
}
