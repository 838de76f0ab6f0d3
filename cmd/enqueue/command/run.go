// enqueue run: the whole job in one process.

package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/report"
	"botfleet/cmd/internal/version"
)

type runFlags struct {
	inputFlags
	sandbox bool
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Register a file of rows: submit, work and report in this process",
		Long: `Register the rows of FILE in one process, with an in-memory Redis unless
REDIS_URL is set. Each row's result is written as it comes.

With --sandbox the portals are answered for by this process itself, and nothing
leaves the machine, nor goes into the Redis of REDIS_URL; without FILE it
registers a built-in sample.

Interrupted, the same command with the same --output goes on: rows that are
registered already are skipped.`,
		Example: "  enqueue run --sandbox\n  enqueue run --portals portals.csv --output results.jsonl bots.csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if !cfg.Given["HOLD_TTL"] {
				// Nobody is there to release a portal while the command runs.
				cfg.HoldTTL = 0
			}
			j := &job{app: a, cfg: cfg, flags: &f}
			return j.run(cmd.Context(), args)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.sandbox, "sandbox", false, "answer for the portals in this process; without FILE, with sample rows")
	return cmd
}

// job is one run command at work.
type job struct {
	*app
	cfg   config.Config
	flags *runFlags

	entries   []portals.Entry
	rows      rows
	transport http.RoundTripper
	private   bool // nobody else uses the Redis
	base      *engine.Base
	closers   []func()
}

func (j *job) run(ctx context.Context, args []string) error {
	wish, err := j.flags.onExisting()
	if err != nil {
		return err
	}
	defer j.close()
	if err := j.open(ctx, args); err != nil {
		return err
	}
	if err := j.base.Room(ctx); err != nil {
		return err
	}
	dir := newMerged(j.entries, j.base.Registry)
	if j.rows == nil {
		var err error
		j.rows, err = j.flags.openRows(ctx, args, j.std.in, func() ([]string, error) { return dir.names(ctx) })
		if err != nil {
			return inputError(err)
		}
		j.closers = append(j.closers, func() { _ = j.rows.Close() })
	}
	rep, err := j.inspect(ctx, j.cfg, j.rows, dir, j.flags.skipInvalid)
	if err != nil {
		return err
	}
	s, file, err := j.app.results()
	if err != nil {
		return err
	}
	if err := j.app.importPortals(ctx, j.base, j.entries); err != nil {
		return errors.Join(err, s.close())
	}
	d := &delivery{
		runs: j.base.Runs, label: filepath.Base(j.rows.Name()), wish: wish, rows: j.rows, report: rep, sink: s,
	}
	if file != nil {
		if n := file.Kept(); n > 0 {
			j.sayf("registered before, as %s says: %s", j.common.output, report.Counted(n, "row"))
		}
		d.skip = func(portal, code string) bool { _, ok := file.Registered(portal, code); return ok }
	}
	return joined(j.work(ctx, d), s.close())
}

// open reads the portals and gets Redis, and the sandbox if there is one, ready.
func (j *job) open(ctx context.Context, args []string) error {
	var err error
	if j.entries, err = j.flags.readPortals(j.cfg); err != nil {
		return inputError(err)
	}
	if j.flags.sandbox {
		if err := j.openSandbox(ctx, args); err != nil {
			return err
		}
	}
	url := j.cfg.RedisURL
	// A rehearsal must leave nothing in a real Redis: neither made-up credentials
	// in place of the real ones, nor bots that count as registered.
	if j.flags.sandbox || !j.cfg.Given["REDIS_URL"] {
		mem, err := embedded.Start("")
		if err != nil {
			return err
		}
		j.closers = append(j.closers, mem.Close)
		url, j.private = mem.URL(), true
		if j.cfg.Keys.Empty() {
			// It seals for as long as the process and its Redis live.
			if j.cfg.Keys, err = portals.ParseKeys(portals.NewKey()); err != nil {
				return err
			}
		}
	}
	if j.base, err = engine.Open(ctx, j.cfg, url); err != nil {
		return err
	}
	j.closers = append(j.closers, func() { _ = j.base.Close() })
	endTracing, err := j.app.trace(ctx, j.cfg, j.base)
	if err == nil {
		j.closers = append(j.closers, endTracing)
	}
	return err
}

// close undoes open, the other way round.
func (j *job) close() {
	for _, undo := range slices.Backward(j.closers) {
		undo()
	}
}

// embeddedWindow is how many rows may wait in the embedded Redis at once.
const embeddedWindow = 20_000

// work starts a worker, submits the rows, and follows them to their end.
func (j *job) work(ctx context.Context, d *delivery) error {
	began := time.Now()
	bar := j.progress(d.report.Rows, 0)
	defer bar.Done()
	d.refusals = &findings{w: bar.Log(), file: j.rows.Name(), most: shownProblems}
	if !j.cfg.Given["LOG_LEVEL"] {
		j.cfg.LogLevel = "warn" // every outcome is in the results
	}
	log := j.cfg.Logger(bar.Log())
	redisconn.LogTo(log)
	w, err := j.base.StartWorker(ctx, j.cfg, engine.WorkerOptions{
		Transport: j.transport, Private: j.private, Log: log, Version: version.String(),
	})
	if err != nil {
		return err
	}
	mark := ""
	if err = w.Ready(ctx); err == nil { // as when no stored credentials open: nothing would ever move
		mark, err = j.prepare(ctx, d, w)
	}
	if err != nil {
		w.Stop()
		return err
	}
	d.bar = bar
	err = j.deliver(ctx, d, w)
	bar.Done()
	return j.conclude(d, err, mark, began) //nolint:contextcheck // an ended run is told of even when ctx has ended
}

// prepare opens the run: a new one, or on a lasting Redis the one that the
// same command was interrupted in.
func (j *job) prepare(ctx context.Context, d *delivery, w *engine.Worker) (mark string, err error) {
	if j.private {
		d.window, d.forget = embeddedWindow, true
		d.client = j.base.Client(j.cfg, 0, w.Gate())
		return "", j.beginRun(ctx, d, "")
	}
	d.client = j.base.Client(j.cfg, j.cfg.ResultTTL, w.Gate())
	given := ""
	if j.common.output != "" {
		mark = bookmark(j.common.output, j.rows.Name())
		if given, err = j.base.Runs.Bookmarked(ctx, mark); err != nil {
			return "", err
		}
	}
	if given != "" {
		if _, err := j.base.Runs.Get(ctx, given); err == nil {
			j.sayf("going on with run %s", given)
			d.skip, d.resumed = nil, true // the run itself knows its registered rows
			return mark, j.beginRun(ctx, d, given)
		}
	}
	if err := j.beginRun(ctx, d, ""); err != nil || mark == "" {
		return mark, err
	}
	return mark, j.base.Runs.Bookmark(ctx, mark, d.run)
}

// bookmark names a command by its output and input on this machine.
func bookmark(output, input string) string {
	host, _ := os.Hostname() // without one, the paths have to do
	abs, err := filepath.Abs(output)
	if err != nil {
		abs = output
	}
	sum := sha256.Sum256([]byte(host + "\x00" + abs + "\x00" + input))
	return hex.EncodeToString(sum[:16])
}

// deliver runs submission and following side by side, and ends both and the
// worker before it returns.
func (j *job) deliver(ctx context.Context, d *delivery, w *engine.Worker) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	submitted := make(chan error, 1)
	go func() {
		err := d.submit(ctx)
		if err != nil {
			cancel(err)
		}
		submitted <- err
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		j.watch(ctx, d, w)
	}()
	if d.resumed {
		// Rows that ended badly before are queued anew. Until all are, what the
		// run says of them is not their end.
		err := <-submitted
		submitted <- err
	}
	err := d.follow(ctx)
	cancel(err)
	<-submitted //nolint:errcheck // follow has returned its error, the cause of ctx
	<-watched
	if errors.Is(err, errInterrupted) {
		j.sayf("stopping: requests on their way may end; Ctrl-C again does not wait for them")
	}
	w.Stop()
	if err != nil {
		// What ended while the worker stopped is a result too.
		rest, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		err = joined(err, d.last(rest))
	}
	return err
}

// joined adds a later error to an earlier one, unless it says the same: an output
// that has failed, as on a full disk, fails at each use.
func joined(err, later error) error {
	if err != nil && later != nil && strings.HasSuffix(err.Error(), later.Error()) {
		return err
	}
	return errors.Join(err, later)
}

// sayEvery is how often a person is told what the rest of the rows waits for.
const sayEvery = 30 * time.Second

// watch tells what rows wait for, until ctx ends.
func (j *job) watch(ctx context.Context, d *delivery, w *engine.Worker) {
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if text := w.Closed(ctx); text != "" && !j.common.quiet {
			_, _ = fmt.Fprintln(d.bar.Log(), text)
		}
	}
}

// conclude says how it ended, and how to go on.
func (j *job) conclude(d *delivery, err error, mark string, began time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	info, getting := j.base.Runs.Get(ctx, d.run)
	if getting == nil {
		j.sayf("%s", summary(info.Counts, d.skipped, time.Since(began)))
	}
	if err != nil {
		if d.sink != nil && j.common.output != "" {
			j.sayf("the same command goes on where this one ended; %s keeps what is registered", j.common.output)
		} else if !j.private {
			j.sayf("the rows wait in Redis; a worker, or enqueue submit --run %s, goes on with them", d.run)
		}
		return err
	}
	if getting != nil {
		return getting
	}
	if err := noteHandlers(ctx, j.base, d.report); err != nil {
		return err
	}
	if mark != "" {
		if err := j.base.Runs.DropBookmark(ctx, mark); err != nil {
			return err
		}
	}
	return ended(info.Counts)
}
