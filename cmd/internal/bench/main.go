// Command bench measures the whole system against a real redis-server, which
// it starts itself, and says whether the project's targets are met.
//
// Rates depend on the machine, so they are given as ratios to bare asynq: the
// same number of tasks with the same payload size and options, through as many
// servers and slots, in the same run, in alternating rounds. Memory is what the
// kernel says of the built programs' own processes, which needs Linux.
//
// The limit cases run the built worker against portals in a box, with their
// periods shortened, and compare how long it takes with the ideal that follows
// from the portals' limits alone.
//
// It prints one line for each figure and exits with 1 when a target is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		}
		os.Exit(1)
	}
}

// bench is one run of the program.
type bench struct {
	rows     int
	rounds   int
	million  int
	soaked   time.Duration // how long soak takes
	share    float64       // of the rows of limit cases
	profiles string        // a folder, or empty
	traces   string        // likewise
	dir      string        // for everything temporary
	redis    *redisServer
	progress io.Writer
}

// benchCase is one thing that can be measured, under the name it is asked for by.
type benchCase struct {
	name    string
	measure func(*bench, context.Context) ([]figure, error)
}

// cases are what can be measured, in the order of the table.
var cases = append([]benchCase{
	{"pipeline", (*bench).pipeline},
	{"enqueue", (*bench).enqueue},
	{"memory", (*bench).memory},
	{"million", (*bench).millionRows},
	{"redis-memory", (*bench).redisMemory},
	{"portals-check", (*bench).portalsCheck},
	{"refresh", (*bench).refresh},
	{soakCase, (*bench).soak},
}, limitCases...)

// soakCase takes half an hour, and is measured only when it is asked for.
const soakCase = "soak"

// errMissed ends a run in which a target was missed.
var errMissed = errors.New("not every target is met")

// run measures what args ask for and prints the table.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &bench{progress: stderr}
	only, err := b.parse(args, stderr)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "botfleet-bench-"); err != nil {
		return fmt.Errorf("make a folder for temporary files: %w", err)
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	if b.redis, err = startRedis(ctx, b.dir); err != nil {
		return err
	}
	defer b.redis.stop()

	var figures []figure
	var broken error
	for _, c := range cases {
		if !slices.Contains(only, c.name) || ctx.Err() != nil {
			continue
		}
		began := time.Now()
		got, err := c.measure(b, ctx)
		if err != nil {
			// The others are measured all the same: a table takes long.
			broken = errors.Join(broken, fmt.Errorf("%s: %w", c.name, err))
		}
		figures = append(figures, got...)
		b.sayf("%s took %.0f s", c.name, time.Since(began).Seconds())
	}
	printTable(stdout, figures)
	if broken == nil && slices.ContainsFunc(figures, figure.missed) {
		return errMissed
	}
	return errors.Join(broken, context.Cause(ctx))
}

// parse reads the flags and returns the names of the cases to measure.
func (b *bench) parse(args []string, stderr io.Writer) (only []string, err error) {
	var all []string
	for _, c := range cases {
		all = append(all, c.name)
	}
	names := strings.Join(all, ",")
	usual := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == soakCase })
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	list := set.String("only", strings.Join(usual, ","), "cases to measure; "+soakCase+" is one more, which takes -soak")
	set.DurationVar(&b.soaked, "soak", 30*time.Minute, "how long the case "+soakCase+" takes")
	set.IntVar(&b.rows, "rows", 20_000, "rows in a round of pipeline and enqueue")
	set.IntVar(&b.rounds, "rounds", 5, "rounds of pipeline and enqueue; the median counts")
	set.IntVar(&b.million, "million", 1_000_000, "rows of the case million")
	set.Float64Var(&b.share, "share", 1, "share of the rows of the limit cases; below 1 is for trying them out")
	set.StringVar(&b.traces, "traces", "", "folder for what the portals of limit cases saw, a line a request")
	set.StringVar(&b.profiles, "profiles", "", "folder for CPU profiles of our side of pipeline and enqueue")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if b.rows < pipelinePortals || b.rounds < 1 || b.million < millionPortals || !(b.share > 0 && b.share <= 1) || set.NArg() > 0 {
		return nil, fmt.Errorf("needed are -rows of at least %d, -rounds of at least 1, -million of at least %d, -share above 0 and at most 1, and nothing else",
			pipelinePortals, millionPortals)
	}
	only = strings.Split(*list, ",")
	for _, name := range only {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("-only: %q is not one of %s", name, names)
		}
	}
	return only, nil
}

// sayf tells a person how far the measuring is.
func (b *bench) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...)
}
