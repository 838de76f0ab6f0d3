// What all tests share: the two commands, built once.

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"botfleet/cmd/internal/built"
)

// binaries is the folder of the built commands; set once, before any test.
var binaries string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "botfleet-e2e-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binaries = dir
	if err := built.Build(context.Background(), dir, withRace, "enqueue", "worker"); err != nil {
		return fail(err)
	}
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(atOnce); err != nil {
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
