// A worker whose address is taken.

package command

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/metrics"
	"botfleet/ratelimit/redistest"
)

// It ends at once, says what to do, and was never at work: no asynq server has
// told Redis of itself, which each does with ZADD before it takes a task.
func TestATakenAddress(t *testing.T) {
	for _, setting := range []string{"HTTP_ADDR", "INSTALL_ADDR"} {
		t.Run(setting, func(t *testing.T) {
			server := redistest.Start(t)
			other, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close() }()
			addr := other.Addr().String()
			environ := []string{
				"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0", setting + "=" + addr,
			}
			var errs output
			ended := make(chan int, 1)
			go func() { ended <- Options{}.run(nil, environ, make(chan os.Signal), &errs, &errs) }()
			select {
			case code := <-ended:
				if code != 1 {
					t.Errorf("exit status %d", code)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("it does not end: %s", errs.String())
			}
			if want := "worker: " + setting + ": " + addr + " is in use, perhaps by another worker"; !strings.Contains(errs.String(), want) ||
				!strings.Contains(errs.String(), "set "+setting+" to another port") || strings.Contains(errs.String(), "worker stop") {
				t.Errorf("%q; want %q", errs.String(), want)
			}
			stats, err := redistest.Client(t, server.URL).Info(t.Context(), "commandstats").Result()
			if err != nil || !strings.Contains(stats, "cmdstat_") {
				t.Fatal(stats, err)
			}
			if strings.Contains(stats, "cmdstat_zadd:") {
				t.Error("its asynq servers were at work")
			}
		})
	}
}

// What keeps a worker from opening its doors once it is at work is said before the
// stop, which may take its time.
func TestDoorsThatDoNotOpen(t *testing.T) {
	server := redistest.Start(t)
	cfg, err := config.Load([]string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=5s"}, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	base, err := engine.Open(t.Context(), cfg, cfg.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	var log output
	r, err := start(t.Context(), base, cfg, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	sources := metrics.Sources{Gate: r.Gate(), Queues: base.Inspector, Runs: base.Runs, Portals: base.Registry, Redis: base.Redis}
	if err := r.measured.Watch(sources); err != nil {
		t.Fatal(err)
	}
	err = r.live(t.Context(), make(chan os.Signal)) // watches a second time, which metrics refuse
	if err == nil {
		t.Fatal("nothing failed")
	}
	if !strings.Contains(log.String(), "worker stops, as it cannot open its doors") || strings.Contains(log.String(), "worker started") {
		t.Error(log.String())
	}
	if _, err := net.Dial("tcp", r.addrs.people.Addr().String()); err == nil {
		t.Error("the address is still taken")
	}
}
