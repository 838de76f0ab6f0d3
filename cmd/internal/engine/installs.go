// The application's install handler: what it needs of the rest.

package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks/onboard"
)

// Installs takes in portals that install the application.
type Installs struct {
	service *onboard.Service
	queue   redis.UniversalClient
	prover  *bitrix.Client
}

// botsFile is BOTS_FILE. It is read at each install, so that a changed file holds
// from the next one on.
type botsFile string

// For implements [onboard.Bots].
func (f botsFile) For(ctx context.Context) ([]bitrix.Bot, error) {
	return rowfile.LoadBots(ctx, string(f))
}

// CheckInstalls finds what would keep [Worker.StartInstalls] from working: better
// before a worker takes tasks than after it, or at the first install.
func CheckInstalls(ctx context.Context, cfg config.Config) error {
	if cfg.InstallAddr == "" || cfg.BotsFile == "" {
		return nil
	}
	_, err := botsFile(cfg.BotsFile).For(ctx)
	return err
}

// cacheAge is longer than workers believe what they have read of a portal.
const cacheAge = 2 * time.Second

// StartInstalls begins to work on what the install handler takes in. End it with Stop.
func (w *Worker) StartInstalls(ctx context.Context, o WorkerOptions, meter onboard.Meter) (*Installs, error) {
	registry, err := w.base.OpenedRegistry(w.cfg)
	if err != nil {
		return nil, err
	}
	i := &Installs{
		queue: w.base.conn.Client(redisconn.Doorstep),
		prover: bitrix.NewClient(bitrix.Config{
			UserAgent: "botfleet/" + o.Version, Endpoints: w.cfg.Endpoints, Timeout: w.cfg.RequestTimeout, Transport: o.Transport,
		}),
	}
	cfg := onboard.Config{
		Keys: w.cfg.Keys, Queue: asynq.NewClientFromRedisClient(i.queue), Redis: w.base.queue, Registry: registry,
		Endpoints: w.cfg.Endpoints, Prover: i.prover, Gate: w.gate, Gone: w.gone, Eager: o.Private, Log: o.Log, Meter: meter,
		Submitter: w.base.Client(w.cfg, w.cfg.ResultTTL, w.gate), Runs: w.base.Runs, Inspector: w.base.Inspector,
	}
	if w.cfg.BotsFile != "" {
		cfg.Bots = botsFile(w.cfg.BotsFile)
	}
	if i.service, err = onboard.New(cfg); err == nil {
		err = i.service.Start()
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// gone ends the waiting rows of a portal that has uninstalled the application.
// Workers that have read the portal before would still call it.
func (w *Worker) gone(ctx context.Context, p portals.Portal) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(cacheAge):
	}
	return w.base.Wake(ctx, []portals.Portal{p})
}

// Handler is what portals send their events to.
func (i *Installs) Handler() http.Handler { return i.service.Handler() }

// Stop ends it. The server of its handler has to be stopped before.
func (i *Installs) Stop() {
	i.service.Stop()
	i.close()
}

func (i *Installs) close() {
	i.prover.Close()
	_ = i.queue.Close() // what was written was answered
}
