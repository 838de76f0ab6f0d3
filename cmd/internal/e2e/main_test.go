// What all tests share: the two commands, built once.

package e2e

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"botfleet/cmd/internal/built"
	"botfleet/cmd/internal/redisconn"
)

// binaries is the folder of the built commands; set once, before any test.
var binaries string

// turns has a place for each test that may keep the machine busy.
var turns = make(chan struct{}, atOnce)

// turn lets a test run beside others once it is its turn.
func turn(t *testing.T) {
	t.Helper()
	t.Parallel()
	turns <- struct{}{}
	t.Cleanup(func() { <-turns })
}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	flag.Parse()
	// The Redis that the tests stop is missed by their own clients, at length.
	redisconn.LogTo(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "botfleet-e2e-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binaries = dir
	if err := built.Build(context.Background(), dir, withRace, "enqueue", "worker"); err != nil {
		return fail(err)
	}
	// All may begin, and those that keep the machine busy take turns.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("100"); err != nil {
			return fail(err)
		}
	}
	if code := m.Run(); code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}
