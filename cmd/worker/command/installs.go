// The server of the application's install handler.

package command

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/metrics"
	"botfleet/cmd/internal/version"
)

// installs serves INSTALL_ADDR. Its zero value serves nothing.
type installs struct {
	inner  *engine.Installs
	server *http.Server
	done   chan struct{}
}

// serveInstalls begins to take in installs, if there is an address for them.
func serveInstalls(ctx context.Context, l net.Listener, w *engine.Worker, m *metrics.Metrics, cfg config.Config, log *slog.Logger) (*installs, error) {
	if l == nil {
		if cfg.BotsFile != "" {
			log.Warn("BOTS_FILE has no effect without INSTALL_ADDR")
		}
		return &installs{}, nil
	}
	if cfg.ClientID == "" {
		log.Warn("tokens of installed portals end after an hour: BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET are needed to refresh them")
	}
	inner, err := w.StartInstalls(ctx, engine.WorkerOptions{Log: log, Version: version.String()}, m)
	if err != nil {
		return nil, err
	}
	i := &installs{inner: inner, done: make(chan struct{})}
	i.server = &http.Server{
		// Whoever sends slowly is a stranger until proved otherwise.
		Handler: inner.Handler(), ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 4 * time.Second,
		WriteTimeout: 8 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what strangers do wrong
	}
	go func() {
		defer close(i.done)
		_ = i.server.Serve(l) // always ErrServerClosed, after stop
	}()
	log.Info("install handler started", "addr", l.Addr().String(), "bots", cfg.BotsFile)
	return i, nil
}

// installsWithin is how long requests under way may take when the worker stops:
// each is answered within 2 s.
const installsWithin = 3 * time.Second

// stop ends the server, and then the work on what it has taken.
func (i *installs) stop() {
	if i.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), installsWithin)
	defer cancel()
	if i.server.Shutdown(ctx) != nil {
		_ = i.server.Close() // what is still under way is broken off
	}
	<-i.done
	i.inner.Stop()
}
