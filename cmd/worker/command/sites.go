// The worker's pages for people: runs and portals at /, the queue at /dashboard/.

package command

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/dashboard"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/guard"
	"botfleet/cmd/internal/overview"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/version"
	"botfleet/tasks/dispatch"
)

// dashboardPath is where the queue is shown.
const dashboardPath = "/dashboard"

// sites are the pages for people, behind their guard.
type sites struct {
	guard    guard.Config
	overview *overview.Overview
	queue    *dashboard.Dashboard
	// redis is the dashboard's: one that gives up soon, as somebody waits for it.
	redis redis.UniversalClient
}

// openSites makes the pages. Nothing is asked of Redis before somebody looks.
func openSites(cfg config.Config, base *engine.Base, w *engine.Worker, log *slog.Logger) (*sites, error) {
	conn, err := redisconn.Parse(cfg.RedisURL)
	if err != nil {
		return nil, err
	}
	s := &sites{
		guard: guard.Config{
			Addr: cfg.HTTPAddr, User: cfg.DashboardUser, Password: cfg.DashboardPassword, Key: bitrix.NewSecret(cfg.SecretsKey), Log: log,
		},
		redis: conn.Client(redisconn.Question),
	}
	s.queue, err = dashboard.New(dashboard.Config{
		Redis: s.redis, Root: dashboardPath, Home: "/", MaxAttempts: cfg.MaxAttempts, Log: log,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dashboard: %w", err), s.redis.Close())
	}
	s.overview, err = overview.New(overview.Config{
		Runs: base.Runs, Registry: base.Registry, Gate: w.Gate(), Queues: base.Inspector, Redis: base.Redis,
		Warnings: w.Warnings, Batch: rowsInRequest(cfg), Parallel: cfg.PortalParallel,
		Dashboard: dashboardPath + "/", Version: version.String(), Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, s.redis.Close())
	}
	return s, nil
}

// route adds the pages to the worker's addresses.
func (s *sites) route(mux *http.ServeMux) {
	enter := guard.New(s.guard)
	front := enter(s.overview)
	for _, pattern := range []string{"GET /{$}", "GET /runs/{id}", "GET /assets/"} {
		mux.Handle(pattern, front)
	}
	mux.Handle(dashboardPath+"/", enter(s.queue))
}

// announce says where the pages are, and who may open them.
func (s *sites) announce(addr string, log *slog.Logger) {
	switch s.guard.Access() {
	case guard.Open:
		log.Info("pages are open on this machine", "runs", "http://"+addr+"/", "dashboard", "http://"+addr+dashboardPath+"/")
	case guard.Password:
		log.Info("pages ask for a password", "runs", "http://"+addr+"/", "dashboard", "http://"+addr+dashboardPath+"/", "user", s.guard.User)
	case guard.Closed:
		log.Warn("/ and /dashboard/ are closed, as HTTP_ADDR is no loopback address: set DASHBOARD_USER and DASHBOARD_PASSWORD", "http", addr)
	}
}

// close ends what the pages hold, after their server.
func (s *sites) close() {
	s.overview.Close()
	_ = s.redis.Close() // nobody asks any more
}

// rowsInRequest is how many rows the worker's requests may carry.
func rowsInRequest(cfg config.Config) int {
	if dispatch.Batching(cfg.Batch) == dispatch.Off {
		return 1
	}
	return cfg.BatchSize
}
