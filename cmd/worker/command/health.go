// The worker's HTTP server: /healthz, /readyz, /metrics, and the pages for people.

package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"botfleet/cmd/internal/dashboard"
)

// pages are what stands behind the worker's addresses.
type pages struct {
	ready func(ctx context.Context) error // nil: the worker can work
	// warnings name what will soon keep it from working.
	warnings func(ctx context.Context) []string
	metrics  http.Handler
	sites    *sites
}

// health serves the pages, and knows whether the worker is about to end.
type health struct {
	addr   string
	server *http.Server
	ending atomic.Bool
	done   chan struct{}
}

// serveHealth begins to serve an address.
func serveHealth(l net.Listener, p pages, log *slog.Logger) *health {
	h := &health{addr: l.Addr().String(), done: make(chan struct{})}
	state := newReadiness(p.ready, p.warnings)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, nil) })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		if h.ending.Load() {
			answer(rw, errors.New("the worker is stopping"))
			return
		}
		now := state.ask(r.Context())
		answer(rw, now.err)
		for _, w := range now.warnings {
			_, _ = fmt.Fprintln(rw, "warning: "+w)
		}
	})
	mux.Handle("GET /metrics", p.metrics)
	p.sites.route(mux)
	h.server = &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: dashboard.AnswerWithin + readyWait, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(l) // always ErrServerClosed, after close
	}()
	return h
}

// answer writes ok, or 503 and what is wrong.
func answer(rw http.ResponseWriter, err error) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	if err != nil {
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(rw, err)
		return
	}
	_, _ = fmt.Fprintln(rw, "ok")
}

// stopping makes readyz say no, so that nobody counts on this worker any more.
func (h *health) stopping() { h.ending.Store(true) }

func (h *health) close() {
	_ = h.server.Close()
	<-h.done
}
