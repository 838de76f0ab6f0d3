//go:build browser

// Processes: started, waited for with a bound, and ended with the test.

package browser

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// await waits until cond holds, and fails the test when it does not within bound.
func await(t *testing.T, bound time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %v for: %s", bound, what)
		case <-tick.C:
		}
	}
}

// output gathers what a process prints, while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// environ is what a command gets: nothing but what is given and what a process needs.
func environ(env []string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(), "TZ=UTC",
		"ALLOW_INSECURE_PORTALS=127.0.0.0/8",
	}, env...)
}

// worker is a running worker.
type worker struct {
	URL string // where it serves its pages: http://127.0.0.1:4711

	t      *testing.T
	cmd    *exec.Cmd
	stderr output
	ended  chan struct{}
}

// startWorker starts a worker and waits until it works. It is stopped with the test.
func startWorker(t *testing.T, env ...string) *worker {
	t.Helper()
	w := &worker{t: t, cmd: exec.Command(filepath.Join(binaries, "worker")), ended: make(chan struct{})}
	w.cmd.Env = environ(append([]string{"HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=8s", "REQUEST_TIMEOUT=3s"}, env...))
	w.cmd.Stderr = &w.stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, which Cleanup ends
		defer close(w.ended)
		_ = w.cmd.Wait() // the status is read where it matters
	}()
	t.Cleanup(w.stop)
	await(t, time.Minute, "the worker to start", func() bool {
		select {
		case <-w.ended:
			t.Fatalf("the worker ended: %s", w.stderr.String())
		default:
		}
		return strings.Contains(w.stderr.String(), "worker started")
	})
	found := regexp.MustCompile(`http=\S+?:(\d+)\s`).FindStringSubmatch(w.stderr.String())
	if found == nil {
		t.Fatalf("the worker does not say where it serves: %s", w.stderr.String())
	}
	w.URL = "http://127.0.0.1:" + found[1]
	return w
}

// stop ends the worker as an operator does; one that does not go is killed.
func (w *worker) stop() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	select {
	case <-w.ended:
	case <-deadline.C:
		_ = w.cmd.Process.Kill()
		<-w.ended
		w.t.Error("the worker did not stop")
	}
	if text := w.stderr.String(); strings.Contains(text, "panic") || strings.Contains(text, "the page has a fault") || w.t.Failed() {
		w.t.Logf("the worker said: …%s", text[max(0, len(text)-4000):])
		if !w.t.Failed() {
			w.t.Error("the worker has a fault")
		}
	}
}

// enqueue runs a command to its end, wants exit status 0, and returns what it wrote
// to standard output.
func enqueue(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binaries, "enqueue"), args...)
	cmd.Env = environ(env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("enqueue %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}
