// Processes: started, waited for with a bound, and ended with the test.

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
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

// lasts waits as long as something is to last.
func lasts(d time.Duration) { <-time.After(d) }

// process is a running command.
type process struct {
	*built.Process

	t              *testing.T
	name           string
	stdout, stderr built.Output
}

// command is a command that has not been started: "enqueue" or "worker".
func command(t *testing.T, name string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	return built.Command(t.Context(), filepath.Join(binaries, name), append([]string{"ALLOW_INSECURE_PORTALS=127.0.0.0/8"}, env...), args...)
}

// start starts a command. It is killed when the test ends before it does.
func start(t *testing.T, name string, env []string, args ...string) *process {
	t.Helper()
	return launch(t, command(t, name, env, args...))
}

// launch starts a command, whose standard output may go elsewhere.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: filepath.Base(cmd.Path)}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	cmd.Stderr = &p.stderr
	var err error
	if p.Process, err = built.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.name, built.Tail(p.stderr.String()))
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the process's end and returns its exit status.
func (p *process) wait(bound time.Duration) int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), bound) // likewise
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.Quit()
		p.t.Fatalf("%v within %v:\n%s", err, bound, built.Tail(p.stderr.String()))
	}
	return p.Code()
}

// expect waits for the process's end and fails the test when its status is another.
func (p *process) expect(code int, bound time.Duration) {
	p.t.Helper()
	if got := p.wait(bound); got != code {
		p.t.Fatalf("%s %s: exit status %d, want %d\nstdout:\n%s\nstderr:\n%s", p.name, strings.Join(p.Cmd.Args[1:], " "),
			got, code, built.Tail(p.stdout.String()), built.Tail(p.stderr.String()))
	}
}

// finish runs a command to its end and wants an exit status.
func finish(t *testing.T, code int, bound time.Duration, name string, env []string, args ...string) *process {
	t.Helper()
	p := start(t, name, env, args...)
	p.expect(code, bound)
	return p
}

// startWorker starts a worker and waits until it works.
func startWorker(t *testing.T, env ...string) *process {
	t.Helper()
	w := start(t, "worker", append([]string{"HTTP_ADDR=127.0.0.1:0"}, env...))
	awaitLine(t, w, "worker started")
	return w
}

// awaitLine waits until a process has written a text to standard error.
func awaitLine(t *testing.T, p *process, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Await(ctx, func() bool { return strings.Contains(p.stderr.String(), text) }); err != nil {
		t.Fatalf("%s, which was to print %q: %v:\n%s", p.name, text, err, built.Tail(p.stderr.String()))
	}
}

// stop ends a worker as an operator does.
func (p *process) stop(within time.Duration) {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.expect(0, within)
}
