// The whole pipeline: from queued tasks to recorded outcomes.

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"botfleet/cmd/internal/engine"
)

const (
	pipelinePortals = 200
	// leastPipeline is the share of bare asynq's rate that the pipeline must reach
	// over HTTP, with the portals on the same processors, and leastAlone without
	// connections: then nothing is counted but what is done for a row.
	leastPipeline = 0.5
	leastAlone    = 0.6
)

// way is one way to run the pipeline.
type way struct {
	what  string
	least float64
	http  bool // real HTTP over loopback, or answers without connections
	batch string

	race
	requests int64 // of all rounds
}

// pipeline measures rows a second through the worker, against portals that
// answer at once.
func (b *bench) pipeline(ctx context.Context) ([]figure, error) {
	portals, err := startPortals(pipelinePortals)
	if err != nil {
		return nil, err
	}
	defer portals.close()
	w, err := newWorkload(portals.webhooks, b.rows)
	if err != nil {
		return nil, err
	}
	ways := []*way{
		{what: "pipeline, portals over HTTP", least: leastPipeline, http: true, batch: "auto"},
		{what: "pipeline, over HTTP, BATCH=off", http: true, batch: "off"},
		{what: "pipeline, over HTTP, BATCH=always", http: true, batch: "always"},
		{what: "pipeline, answers without connections", least: leastAlone, batch: "auto"},
		{what: "pipeline, without connections, BATCH=always", batch: "always"},
	}
	for round := range b.rounds {
		for _, y := range ways {
			if err := b.pipelineRound(ctx, round, y, w, portals); err != nil {
				return nil, fmt.Errorf("%s: %w", y.what, err)
			}
		}
	}
	figures := make([]figure, len(ways))
	for i, y := range ways {
		y.n = b.rows
		perRow := float64(y.requests) / float64(b.rows*b.rounds)
		figures[i] = y.figure(y.what, fmt.Sprintf("; %d rows on %d portals, %.2f requests a row", b.rows, pipelinePortals, perRow), y.least)
	}
	return figures, nil
}

// pipelineRound measures both sides once, in an order that changes with the rounds.
func (b *bench) pipelineRound(ctx context.Context, round int, y *way, w workload, portals *answering) error {
	var bareTook, ourTook spent
	ours := func() (err error) { ourTook, err = b.pipelineOnce(ctx, y, w, portals); return err }
	theirs := func() (err error) { bareTook, err = b.drainBare(ctx, w); return err }
	if err := inTurn(round, theirs, ours); err != nil {
		return err
	}
	y.add(ourTook.clock, bareTook.clock)
	b.sayf("round %d of %d: %s: %v, bare asynq %v", round+1, b.rounds, y.what, ourTook, bareTook)
	return nil
}

func (b *bench) drainBare(ctx context.Context, w workload) (spent, error) {
	a, err := b.newBare(ctx, len(w.rows))
	if err != nil {
		return spent{}, err
	}
	if err := a.enqueue(ctx, w); err != nil {
		return spent{}, err
	}
	return a.drain(ctx)
}

// pipelineOnce submits all rows and returns what a new worker needs for
// them, from its start to the last completion.
func (b *bench) pipelineOnce(ctx context.Context, y *way, w workload, portals *answering) (took spent, err error) {
	if err := b.redis.empty(ctx); err != nil {
		return spent{}, err
	}
	base, cfg, err := b.open(ctx, w, "BATCH="+y.batch)
	if err != nil {
		return spent{}, err
	}
	defer func() { _ = base.Close() }()
	if err := w.submit(ctx, base, cfg); err != nil {
		return spent{}, err
	}
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return spent{}, err
	}
	// Outcomes are logged as by a worker whose log nobody keeps.
	sink, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return spent{}, err
	}
	defer func() { _ = sink.Close() }()
	var transport http.RoundTripper
	if !y.http {
		transport = portals
	}
	portals.reset()
	endProfile, err := b.profile(strings.NewReplacer(" ", "-", ",", "", "=", "-").Replace(y.what))
	if err != nil {
		return spent{}, err
	}
	m := b.redis.meter(ctx)
	worker, err := base.StartWorker(ctx, cfg, engine.WorkerOptions{Transport: transport, Log: cfg.Logger(sink), Version: "bench"})
	if err != nil {
		return spent{}, err
	}
	err = b.redis.awaitCompleted(ctx, queues, len(w.rows))
	took = m.read(ctx)
	endProfile()
	worker.Stop()
	if err != nil {
		return spent{}, err
	}
	y.requests += portals.requests.Load()
	return took, checkRegistered(ctx, base, w, portals.bots.Load())
}

// checkRegistered makes sure that what was timed has happened.
func checkRegistered(ctx context.Context, base *engine.Base, w workload, bots int64) error {
	info, err := base.Runs.Get(ctx, runID)
	if err != nil {
		return err
	}
	if n := len(w.rows); info.Counts.Registered != n || bots != int64(n) {
		return fmt.Errorf("of %d rows the run has %d registered, and the portals %d bots", n, info.Counts.Registered, bots)
	}
	return nil
}

// profile writes a CPU profile until it is ended. Later rounds overwrite it.
func (b *bench) profile(name string) (end func(), err error) {
	if b.profiles == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(b.profiles, name+".pprof"))
	if err != nil {
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}
