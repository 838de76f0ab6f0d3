// Processes: started, waited for with a bound, and ended with the test.

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pollEvery is how often await looks.
const pollEvery = 10 * time.Millisecond

// await waits until cond holds, and fails the test when it does not within bound.
func await(t *testing.T, bound time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
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

// process is a running command.
type process struct {
	t              *testing.T
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{} // closed when it has ended
}

// command is a command that has not been started: "enqueue" or "worker", with
// nothing in its environment but what is given and what a process needs.
func command(name string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries, name), args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(),
		"GORACE=halt_on_error=1", "ALLOW_INSECURE_PORTALS=127.0.0.0/8",
	}, env...)
	return cmd
}

// start starts a command. It is killed when the test ends before it does.
func start(t *testing.T, name string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: command(name, env, args...), ended: make(chan struct{})}
	p.launch()
	return p
}

// launch starts the process and sees to its end.
func (p *process) launch() {
	p.t.Helper()
	if p.cmd.Stdout == nil {
		p.cmd.Stdout = &p.stdout
	}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { // ends with the process, which Cleanup ends
		defer close(p.ended)
		_ = p.cmd.Wait() // the status is read where it matters
	}()
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("%s printed:\n%s", p.name, tail(p.stderr.String()))
		}
	})
}

// tail is the end of a long text.
func tail(s string) string {
	const most = 4000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an ended process is left alone
	<-p.ended
}

// wait waits for the process's end and returns its exit status.
func (p *process) wait(bound time.Duration) int {
	p.t.Helper()
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines say what it waits for
		p.kill()
		p.t.Fatalf("%s did not end within %v:\n%s", p.name, bound, tail(p.stderr.String()))
	}
	return p.cmd.ProcessState.ExitCode()
}

// expect waits for the process's end and fails the test when its status is another.
func (p *process) expect(code int, bound time.Duration) {
	p.t.Helper()
	if got := p.wait(bound); got != code {
		p.t.Fatalf("%s %s: exit status %d, want %d\nstdout:\n%s\nstderr:\n%s", p.name, strings.Join(p.cmd.Args[1:], " "),
			got, code, tail(p.stdout.String()), tail(p.stderr.String()))
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
	await(t, time.Minute, p.name+" printing "+text, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("%s ended before it printed %q:\n%s", p.name, text, tail(p.stderr.String()))
		default:
		}
		return strings.Contains(p.stderr.String(), text)
	})
}

// stop ends a worker as an operator does.
func (p *process) stop(within time.Duration) {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.expect(0, within)
}
