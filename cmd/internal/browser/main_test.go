//go:build browser

// What all tests share: the two commands, built once, and one browser.

package browser

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
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
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "botfleet/cmd/enqueue", "botfleet/cmd/worker")
	if out, err := build.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("build the commands: %w\n%s", err, out))
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
