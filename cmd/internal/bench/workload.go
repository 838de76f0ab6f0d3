// What is registered: rows, spread evenly over portals, and how the programs
// are configured for it.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// runID names the one run of a round.
const runID = "bench"

// submitRows is how many rows are given to Submit at once, as `enqueue submit` does.
const submitRows = 2048

// workload is rows for portals without limits.
type workload struct {
	entries []portals.Entry
	rows    []tasks.Registration
}

// newWorkload makes n rows, portal by portal, as a file that is sorted by portal
// has them.
func newWorkload(webhooks []string, n int) (workload, error) {
	w := workload{rows: make([]tasks.Registration, n)}
	for _, raw := range webhooks {
		access, err := bitrix.ParseWebhook(raw)
		if err != nil {
			return w, fmt.Errorf("make up a portal: %w", err)
		}
		w.entries = append(w.entries, portals.Entry{
			Name: access.Host(), ClientID: "bench", Plan: portals.Standard, Access: access,
			Limits:        ratelimit.Limits{Rate: 10_000, Burst: 1_000_000, OperatingWindow: 10 * time.Minute},
			ServerTimeout: portals.DefaultServerTimeout,
		})
	}
	for i := range w.rows {
		w.rows[i] = tasks.Registration{Row: i + 1, Portal: w.entries[i*len(w.entries)/n].Name, Bot: bitrix.Bot{
			Code: fmt.Sprintf("helper%06d", i), Type: "B", EventHandler: "https://bots.example.com/events",
			Properties: bitrix.Properties{Name: fmt.Sprintf("Helper %d", i), Color: "AZURE", WorkPosition: "Answers everyday questions"},
		}}
	}
	return w, nil
}

// environment is that of the programs under test. Everything not named here is
// as delivered.
func (b *bench) environment(key string, more ...string) []string {
	return append([]string{
		"REDIS_URL=" + b.redis.url, "SECRETS_KEY=" + key, "ALLOW_INSECURE_PORTALS=127.0.0.0/8", "HTTP_ADDR=127.0.0.1:0",
	}, more...)
}

// open connects as the programs do and stores the portals.
func (b *bench) open(ctx context.Context, w workload, more ...string) (*engine.Base, config.Config, error) {
	cfg, err := config.Load(b.environment(portals.NewKey(), more...), config.Flags{})
	if err != nil {
		return nil, cfg, err
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return nil, cfg, err
	}
	if _, err := base.Registry.Import(ctx, w.entries); err != nil {
		_ = base.Close()
		return nil, cfg, err
	}
	return base, cfg, nil
}

// submit queues all rows.
func (w workload) submit(ctx context.Context, base *engine.Base, cfg config.Config) error {
	return submitRun(ctx, base, cfg, runID, w.rows)
}

// submitRun queues rows as a run of their own.
func submitRun(ctx context.Context, base *engine.Base, cfg config.Config, run string, rows []tasks.Registration) error {
	client := base.Client(cfg, cfg.ResultTTL, base.Gate(cfg))
	if err := base.Runs.Open(ctx, run, runs.Begin{Label: "bench"}); err != nil {
		return err
	}
	for from := 0; from < len(rows); from += submitRows {
		receipts, err := client.Submit(ctx, run, rows[from:min(from+submitRows, len(rows))]...)
		if err != nil {
			return err
		}
		for i := range receipts {
			if receipts[i].Status != tasks.ReceiptQueued {
				return fmt.Errorf("row %d was not queued but %s %v", receipts[i].Row, receipts[i].Status, receipts[i].Problems)
			}
		}
	}
	return nil
}
