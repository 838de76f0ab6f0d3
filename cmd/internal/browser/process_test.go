//go:build browser

// Processes: started, waited for with a bound, and ended with the test.

package browser

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/cmd/internal/built"
)

// await waits until cond holds, and fails the test when it does not within bound.
func await(t *testing.T, bound time.Duration, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), bound) // cleanups wait too
	defer cancel()
	if built.Await(ctx, cond) != nil {
		t.Fatalf("waited %v for: %s", bound, what)
	}
}

// command is a command that has not been started: "enqueue" or "worker".
func command(ctx context.Context, name string, env []string, args ...string) *exec.Cmd {
	return built.Command(ctx, filepath.Join(binaries, name), append([]string{"TZ=UTC", "ALLOW_INSECURE_PORTALS=127.0.0.0/8"}, env...), args...)
}

// worker is a running worker.
type worker struct {
	*built.Process

	URL    string // where it serves its pages: http://127.0.0.1:4711
	t      *testing.T
	stderr built.Output
}

// startWorker starts a worker and waits until it works. It is stopped with the test.
func startWorker(t *testing.T, env ...string) *worker {
	t.Helper()
	w := &worker{t: t}
	cmd := command(context.WithoutCancel(t.Context()), "worker", append([]string{"HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=8s", "REQUEST_TIMEOUT=3s"}, env...))
	cmd.Stderr = &w.stderr
	var err error
	if w.Process, err = built.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Await(ctx, func() bool { return strings.Contains(w.stderr.String(), "worker started") }); err != nil {
		t.Fatalf("the worker does not work: %v", err)
	}
	found := regexp.MustCompile(`http=\S+?:(\d+)\s`).FindStringSubmatch(w.stderr.String())
	if found == nil {
		t.Fatalf("the worker does not say where it serves: %s", w.stderr.String())
	}
	w.URL = "http://127.0.0.1:" + found[1]
	return w
}

// stop ends the worker as an operator does; one that does not go says where it hangs.
func (w *worker) stop() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 15*time.Second)
	defer cancel()
	if err := w.Signal(syscall.SIGTERM); err != nil {
		w.t.Error(err)
	}
	if w.Wait(ctx) != nil {
		w.Quit()
		w.t.Error("the worker did not stop")
	}
	if text := w.stderr.String(); strings.Contains(text, "panic") || strings.Contains(text, "the page has a fault") || w.t.Failed() {
		w.t.Logf("the worker said: %s", built.Tail(text))
		if !w.t.Failed() {
			w.t.Error("the worker has a fault")
		}
	}
}

// enqueue runs a command to its end, wants exit status 0, and returns what it wrote
// to standard output.
func enqueue(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := command(t.Context(), "enqueue", env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("enqueue %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}
