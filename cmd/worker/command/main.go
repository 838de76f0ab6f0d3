// Package command is the command worker, which registers the bots that producers
// have queued, until it is told to stop.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/completion"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/metrics"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/version"
)

// Main is the whole process: it returns the exit status.
func Main(o Options) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGTSTP)
	return o.run(os.Args[1:], os.Environ(), signals, os.Stdout, os.Stderr)
}

// run is the command, without its process: 0 after a stop that was asked for,
// 1 otherwise.
func (o Options) run(args, environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	cmd := o.newCommand(environ, signals, stdout, stderr)
	cmd.SetArgs(args)
	completion.Prepare(cmd, args)
	if err := cmd.Execute(); err != nil {
		_, _ = fmt.Fprintf(stderr, "worker: %v\n", err)
		return 1
	}
	return 0
}

func (o Options) newCommand(environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) *cobra.Command {
	var inMemory bool
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Register queued chat bots on their portals, until told to stop",
		Long: `Register the bots that producers have queued in Redis, until told to stop.

Signals: SIGTERM and Ctrl-C stop it: nothing more is taken, what is on its way
ends or is handed back, within SHUTDOWN_TIMEOUT; a second one ends it at once.
SIGTSTP: nothing more is taken, what was not sent yet is handed back, and it stays.

With INSTALL_ADDR it also serves the application's install handler there: portals
that install the application are stored, and get the bots of BOTS_FILE.

HTTP on HTTP_ADDR: / shows runs and portals, /dashboard/ the queue with its dead
letters. They are open on a loopback address, and elsewhere need DASHBOARD_USER and
DASHBOARD_PASSWORD. Open to all: /healthz says that the process lives, /readyz
that it can work, /metrics tells Prometheus what it does.

Exit status:
  0  it was told to stop, and has
  1  it could not start, or was told to stop twice

Environment (a flag of the same name beats it):
` + config.Help(),
		Example: `  worker               # REDIS_URL and SECRETS_KEY are in the environment
  worker --embedded    # with a Redis in its own memory, for a try`,
		Version:       version.Long(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(environ, flags)
			if err != nil {
				return err
			}
			return o.work(cfg, environ, inMemory, signals, stderr)
		},
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.Flags().BoolVar(&inMemory, "embedded", false, "also serve an in-memory Redis on the address in REDIS_URL")
	flags = config.AddFlags(cmd.Flags())
	config.HideFlags(cmd.Flags())
	cmd.AddCommand(newHealth(environ))
	complete(cmd)
	return cmd
}

// errStopped ends the start of a worker that is told to stop meanwhile.
var errStopped = errors.New("stopped")

// work runs a worker until a signal ends it.
func (o Options) work(cfg config.Config, environ []string, inMemory bool, signals <-chan os.Signal, stderr io.Writer) (err error) {
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
	tracer, endTracing, err := o.trace(ctx, &cfg, environ, log)
	if err != nil {
		return err
	}
	defer func() {
		if !errors.Is(err, errKilled) {
			endTracing()
		}
	}()
	started := watchStart(signals, func() { cancel(errStopped) })
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		started()
		return quietly(ctx, err)
	}
	base.Tracer = tracer
	r, err := start(ctx, base, cfg, log)
	paused := started()
	if err != nil {
		_ = base.Close()
		return quietly(ctx, err)
	}
	if paused {
		r.Pause()
		log.Info("worker takes no tasks")
	}
	return r.live(ctx, signals)
}

// running is a worker that takes tasks, and what belongs to it.
type running struct {
	*engine.Worker

	base     *engine.Base
	cfg      config.Config
	measured *metrics.Metrics
	addrs    *listeners
	log      *slog.Logger
}

// start starts the worker, once all that a wrong setting can keep from it is there.
func start(ctx context.Context, base *engine.Base, cfg config.Config, log *slog.Logger) (*running, error) {
	if err := engine.CheckInstalls(ctx, cfg); err != nil {
		return nil, err
	}
	addrs, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	m := metrics.New(metrics.Config{Version: version.String(), Log: log})
	w, err := base.StartWorker(ctx, cfg, engine.WorkerOptions{Log: log, Meter: m, Version: version.String()})
	if err != nil {
		addrs.close()
		return nil, err
	}
	return &running{Worker: w, base: base, cfg: cfg, measured: m, addrs: addrs, log: log}, nil
}

// live opens the doors of a worker that works, and ends it and all it has when it
// is told to stop.
func (r *running) live(ctx context.Context, signals <-chan os.Signal) error {
	door, people, err := r.openDoors(ctx)
	if err != nil {
		return quietly(ctx, r.giveUp(err, signals))
	}
	err = r.serve(ctx, door, people, signals)
	switch {
	case errors.Is(err, errLate):
		r.log.Warn("worker did not stop in time and ends all the same", "err", err)
		return nil
	case errors.Is(err, errKilled): // asynq, at work then, would panic without its connections
		return err
	}
	people.close()
	_ = r.base.Close()
	r.measured.Close()
	return err
}

// giveUp stops a worker that takes tasks already and cannot open its doors. The
// reason is logged before the stop, which may take its time, and not only returned.
func (r *running) giveUp(why error, signals <-chan os.Signal) error {
	r.log.Error("worker stops, as it cannot open its doors", "err", why, "within", r.cfg.Shutdown)
	r.addrs.close()
	if err := stopOrKill(r.Stop, signals, time.Time{}, r.cfg.Shutdown); err != nil {
		return errors.Join(why, err)
	}
	_ = r.base.Close()
	r.measured.Close()
	return why
}

// openDoors opens what others come in by: portals that install the application,
// and people, and what measures the worker.
func (r *running) openDoors(ctx context.Context) (*installs, *sites, error) {
	err := r.measured.Watch(metrics.Sources{
		Gate: r.Gate(), Queues: r.base.Inspector, Runs: r.base.Runs, Portals: r.base.Registry, Redis: r.base.Redis,
	})
	if err != nil {
		return nil, nil, err
	}
	people, err := openSites(r.cfg, r.base, r.Worker, r.log)
	if err != nil {
		return nil, nil, err
	}
	door, err := serveInstalls(ctx, r.addrs.installs, r.Worker, r.measured, r.cfg, r.log)
	if err != nil {
		people.close()
		return nil, nil, err
	}
	return door, people, nil
}

// serve says that the worker lives until it is told to stop, and then stops it.
func (r *running) serve(ctx context.Context, door *installs, people *sites, signals <-chan os.Signal) error {
	web := pages{ready: r.Ready, warnings: r.Warnings, metrics: r.measured.Handler(), sites: people}
	health := serveHealth(r.addrs.people, web, r.log)
	r.log.Info("worker started", "redis", r.base.String(), "http", health.addr, "concurrency", r.cfg.Concurrency)
	people.announce(health.addr, r.log)
	if ctx.Err() == nil { // not told to stop at the last moment of the start
		wait(r.Worker, signals, r.log)
	}
	health.stopping()
	r.log.Info("worker stops", "within", r.cfg.Shutdown)
	stopped := stopOrKill(func() {
		var both sync.WaitGroup // side by side: SHUTDOWN_TIMEOUT is for both
		both.Go(door.stop)
		both.Go(r.Stop)
		both.Wait()
	}, signals, time.Now(), r.cfg.Shutdown)
	health.close()
	if stopped == nil {
		r.log.Info("worker stopped")
	}
	return stopped
}

// watchStart watches for signals while a worker starts: a Redis that is slow to
// answer is waited for, and a signal must end that too. The function it returns ends the watching, and reports whether the worker is to take no tasks.
func watchStart(signals <-chan os.Signal, stop func()) (started func() (paused bool)) {
	done, ended := make(chan struct{}), make(chan struct{})
	paused := false
	go func() {
		defer close(ended)
		for {
			select {
			case s := <-signals:
				if s != syscall.SIGTSTP {
					stop()
					return
				}
				paused = true
			case <-done:
				return
			}
		}
	}()
	return func() bool {
		close(done)
		<-ended
		return paused
	}
}

// quietly drops the error of a start that was called off, whatever Redis said
// of being broken off.
func quietly(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStopped) {
		return nil
	}
	return err
}

// wait returns when the worker is told to stop.
func wait(w *engine.Worker, signals <-chan os.Signal, log *slog.Logger) {
	for s := range signals {
		if s != syscall.SIGTSTP {
			return
		}
		w.Pause()
		log.Info("worker takes no more tasks")
	}
}

// sameSignal is how long after the first signal another one counts as the same:
// some send it to both the process and its group.
const sameSignal = time.Second

// errKilled ends a worker that was told to stop twice, with its tasks at work.
var errKilled = errors.New("told to stop twice: tasks in work will be run again by another worker")

// errLate ends a worker that has not stopped in time. Requests on their way were
// broken off before that, and what it cannot tell a Redis that does not answer is
// as if it had been killed: its tasks are run again.
var errLate = errors.New("Redis does not answer: tasks in work will be run again by another worker") //nolint:staticcheck // a name

// stopOrKill stops the worker within a time; a second signal does not wait for it.
// first is when the first one came; zero: the worker stops by itself.
func stopOrKill(stop func(), signals <-chan os.Signal, first time.Time, within time.Duration) error {
	stopped := make(chan struct{})
	late := time.NewTimer(within)
	defer late.Stop()
	go func() {
		defer close(stopped)
		stop()
	}()
	for {
		select {
		case <-stopped:
			return nil
		case <-late.C:
			return errLate
		case s := <-signals:
			switch {
			case s == syscall.SIGTSTP:
			case first.IsZero():
				first = time.Now()
			case time.Since(first) > sameSignal:
				return errKilled
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
