// Command worker registers the bots that producers have queued, until it is
// told to stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/version"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGTSTP)
	os.Exit(run(os.Args[1:], os.Environ(), signals, os.Stdout, os.Stderr))
}

// run is the command, without its process: 0 after a stop that was asked for,
// 1 otherwise.
func run(args, environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	cmd := newCommand(environ, signals, stdout, stderr)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		_, _ = fmt.Fprintf(stderr, "worker: %v\n", err)
		return 1
	}
	return 0
}

func newCommand(environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) *cobra.Command {
	var inMemory bool
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Register queued chat bots on their portals, until told to stop",
		Long: `Register the bots that producers have queued in Redis, until told to stop.

Signals: SIGTERM and Ctrl-C stop it: nothing more is taken, what is on its way
ends or is handed back, within SHUTDOWN_TIMEOUT; a second one ends it at once.
SIGTSTP: nothing more is taken, and it stays.

HTTP on HTTP_ADDR: /healthz says that the process lives, /readyz that it can work.

Exit status: 0 after a stop that was asked for, 1 otherwise.

Environment (a flag of the same name beats it):
` + config.Help(),
		Version:       version.String(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(environ, flags)
			if err != nil {
				return err
			}
			return work(cfg, inMemory, signals, stderr)
		},
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.Flags().BoolVar(&inMemory, "embedded", false, "also serve an in-memory Redis on the address in REDIS_URL")
	flags = config.AddFlags(cmd.Flags())
	config.HideFlags(cmd.Flags())
	return cmd
}

// errStopped ends the start of a worker that is told to stop meanwhile.
var errStopped = errors.New("stopped")

// work runs a worker until a signal ends it.
func work(cfg config.Config, inMemory bool, signals <-chan os.Signal, stderr io.Writer) error {
	log := cfg.Logger(stderr)
	redisconn.LogTo(log)
	if inMemory {
		stop, err := serveRedis(cfg.RedisURL)
		if err != nil {
			return err
		}
		defer stop()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// A dead worker's claim is waited out for some seconds, and a signal must
	// end that too.
	early := make(chan os.Signal, 1)
	starting := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		select {
		case s := <-signals:
			cancel(errStopped)
			early <- s
		case <-starting:
		}
	}()
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		close(starting)
		<-forwarded
		return quietly(err)
	}
	defer func() { _ = base.Close() }()
	w, err := base.StartWorker(ctx, cfg, engine.WorkerOptions{Log: log, Version: version.String()})
	close(starting)
	<-forwarded
	if err != nil {
		return quietly(err)
	}
	health, err := serveHealth(cfg.HTTPAddr, w, log)
	if err != nil {
		return errors.Join(err, w.Stop())
	}
	log.Info("worker started", "redis", base.String(), "http", health.addr, "concurrency", cfg.Concurrency)
	cause := wait(w, merge(early, signals), log)
	health.stopping()
	log.Info("worker stops", "within", cfg.Shutdown)
	stopped := stopOrKill(w, signals)
	health.close()
	log.Info("worker stopped")
	return errors.Join(cause, stopped)
}

// quietly drops the error of a start that was called off.
func quietly(err error) error {
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// merge returns the signals, with one that came early in front.
func merge(early, signals <-chan os.Signal) <-chan os.Signal {
	if len(early) == 0 {
		return signals
	}
	return early
}

// logger is what wait needs of slog.
type logger interface{ Info(msg string, args ...any) }

// wait returns when the worker is to stop: nil when it was told to.
func wait(w *engine.Worker, signals <-chan os.Signal, log logger) error {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGTSTP {
				return nil
			}
			w.Pause()
			log.Info("worker takes no more tasks")
		case err := <-w.Lost():
			return err
		}
	}
}

// sameSignal is how long after the first signal another one counts as the same:
// some send it to both the process and its group.
const sameSignal = time.Second

// stopOrKill stops the worker; a second signal does not wait for it.
func stopOrKill(w *engine.Worker, signals <-chan os.Signal) error {
	stopped := make(chan error, 1)
	first := time.Now()
	go func() { stopped <- w.Stop() }()
	for {
		select {
		case err := <-stopped:
			return err
		case s := <-signals:
			if s != syscall.SIGTSTP && time.Since(first) > sameSignal {
				return errors.New("told to stop twice: tasks in work will be run again by another worker")
			}
		}
	}
}

// serveRedis serves an in-memory Redis on the address of a Redis URL.
func serveRedis(raw string) (stop func(), err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "redis" || u.User != nil {
		return nil, errors.New("--embedded: REDIS_URL has to be redis://HOST:PORT without user and password")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "6379"
	}
	s, err := embedded.Start(host + ":" + port)
	if err != nil {
		return nil, err
	}
	return s.Close, nil
}
