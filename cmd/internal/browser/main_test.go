//go:build browser

// What all tests share: the two commands, built once, and one browser.

package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"botfleet/cmd/internal/built"
)

var (
	binaries string    // folder of the built commands; set once, before any test
	shared   *chromium // set once, before any test
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// atOnce is how many tests run side by side unless -parallel says it: they wait
// for other processes nearly all the time, however few cores there are.
const atOnce = "6"

func runAll(m *testing.M) int {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(atOnce); err != nil {
			return fail(err)
		}
	}
	dir, err := os.MkdirTemp("", "botfleet-browser-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binaries = dir
	if err := built.Build(context.Background(), dir, false, "enqueue", "worker"); err != nil {
		return fail(err)
	}
	if shared, err = startChromium(filepath.Join(dir, "profile")); err != nil {
		return fail(err)
	}
	code := m.Run()
	shared.close()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, "browser:", err)
	return 1
}
