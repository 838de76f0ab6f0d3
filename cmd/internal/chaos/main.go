// Command chaos looks for lost and doubled rows: it lets everything go wrong at
// once, as a seed decides, and then compares row by row.
//
// For each seed it starts a redis-server, a box of portals and three built
// workers on loopback, and submits rows with the built producer. Meanwhile
// portals disturb a tenth of their requests, are renamed, block their caller
// and let tokens expire; workers are killed, frozen, stopped and started again;
// Redis is killed, stopped and started; the network between the programs and
// Redis is cut and heals; producers are killed in the middle; and somebody
// deletes, archives and re-runs tasks as on a dashboard. Then all of it is left
// alone until no row waits.
//
// What the runs, the queues and the portals say in the end must agree: one
// outcome for each row, one bot for each CODE, limits kept, and a reason for
// each dead row that fits what was done to it. The run's sum is looked at all
// the time. A seed decides what happens and when; what it meets, a real system
// decides.
//
// It prints one line for each seed, and exits with 1 when one was not clean; the
// folder with all evidence is then kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"botfleet/cmd/internal/built"
	"botfleet/cmd/internal/redisconn"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		}
		os.Exit(1)
	}
}

// options are what a person may choose. The seed decides all else.
type options struct {
	seeds   []uint64
	rows    int
	portals int
	trouble time.Duration // how long things go wrong
	limit   time.Duration // for a seed
	dir     string        // for what is kept
	race    bool
	keep    bool
	verbose bool
}

// errUnclean ends a run in which a seed was not clean.
var errUnclean = errors.New("not every seed is clean")

// run goes through the seeds, one after the other.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	redisconn.LogTo(slog.New(slog.DiscardHandler)) // Redis is away now and then, as is meant
	bin, err := os.MkdirTemp("", "botfleet-chaos-bin-")
	if err != nil {
		return fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(bin) }()
	if err := built.Build(ctx, bin, o.race, "enqueue", "worker"); err != nil {
		return err
	}
	clean := true
	for _, seed := range o.seeds {
		ok, err := runSeed(ctx, o, bin, seed, stdout, stderr)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		clean = clean && ok
	}
	if !clean {
		return errUnclean
	}
	return nil
}

// parse reads the flags and the seeds.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: chaos [options] [SEED...]")
		set.PrintDefaults()
	}
	set.IntVar(&o.rows, "rows", 5000, "rows in all")
	set.IntVar(&o.portals, "portals", 200, "portals")
	set.DurationVar(&o.trouble, "trouble", 85*time.Second, "how long things go wrong")
	set.DurationVar(&o.limit, "limit", 4*time.Minute, "longest that a seed may take")
	set.StringVar(&o.dir, "dir", os.TempDir(), "where the folder of a seed is kept")
	set.BoolVar(&o.race, "race", false, "build the programs with the race detector")
	set.BoolVar(&o.keep, "keep", false, "keep the folder of a clean seed, too")
	set.BoolVar(&o.verbose, "v", false, "say what happens while it happens")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	for _, word := range set.Args() {
		seed, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return o, fmt.Errorf("seed %q is not a whole number", word)
		}
		o.seeds = append(o.seeds, seed)
	}
	if len(o.seeds) == 0 {
		o.seeds = []uint64{1}
	}
	if o.portals < 20 || o.rows < 5*o.portals || o.trouble < 20*time.Second {
		return o, errors.New("needed are -portals of at least 20, -rows of at least five a portal, and -trouble of at least 20s")
	}
	for _, seed := range o.seeds {
		told := write(seed, o)
		over := told.over()
		if least := over + anew + judging; o.limit < least {
			return o, fmt.Errorf("-limit %s cannot be kept: the trouble of seed %d is over after %s, so it takes at least %s",
				o.limit, seed, over.Round(time.Second), least.Round(time.Second)+time.Second)
		}
	}
	return o, nil
}
