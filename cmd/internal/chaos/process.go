// The programs as processes: built, started, signalled, waited for.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// build builds the two commands into a folder.
func build(ctx context.Context, dir string, race bool) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "botfleet/cmd/enqueue", "botfleet/cmd/worker")...) //nolint:gosec // words of our own
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the commands: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// command is what is started.
type command struct {
	path           string
	args, env      []string
	stdout, stderr io.Writer
}

// process is a running program.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

// startProcess starts a program, with nothing in its environment but what is
// given and what a process needs. It is killed when ctx ends.
func startProcess(ctx context.Context, c command) (*process, error) {
	p := &process{ended: make(chan struct{}), cmd: exec.CommandContext(ctx, c.path, c.args...)} //nolint:gosec // words of our own
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir()}, c.env...)
	p.cmd.Stdout, p.cmd.Stderr = c.stdout, c.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.path), err)
	}
	go func() { // ends with the process, which ctx ends
		defer close(p.ended)
		_ = p.cmd.Wait() // the status is read where it matters
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // one that has ended is left alone
}

// code is the exit status of a process that has ended; -1 after a signal.
func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// errLate is returned when a process has not ended in time.
var errLate = errors.New("it did not end in time")

// wait waits for the process's end, for at most d.
func (p *process) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(d):
		return errLate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watched is a log that knows whether a text was written to it.
type watched struct {
	to   io.Writer
	text []byte
	seen chan struct{} // closed then

	mu   sync.Mutex
	tail []byte
	hit  bool
}

func newWatched(to io.Writer, text string) *watched {
	return &watched{to: to, text: []byte(text), seen: make(chan struct{})}
}

func (o *watched) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hit {
		o.tail = append(o.tail, b...)
		if bytes.Contains(o.tail, o.text) {
			o.hit, o.tail = true, nil
			close(o.seen)
		} else if keep := len(o.text); len(o.tail) > keep {
			o.tail = append([]byte(nil), o.tail[len(o.tail)-keep:]...)
		}
	}
	return o.to.Write(b)
}

// sleep waits for d, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
