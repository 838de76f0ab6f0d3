// The built programs as processes of their own, and the memory they take.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// build builds one of the module's commands, once, and returns the program's path.
func (b *bench) build(ctx context.Context, command string) (string, error) {
	path := filepath.Join(b.dir, command)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "botfleet/cmd/"+command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return path, nil
}

// process is a running program, watched for its peak of resident memory.
type process struct {
	cmd    *exec.Cmd
	output output // what it prints on stderr
	stdout bytes.Buffer
	ended  chan struct{} // closed when it has ended and the fields below are set
	err    error
	took   time.Duration
	peak   int64 // bytes
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

// Bytes is a copy of what has been printed so far.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

// peakEvery is how often a process is asked for its peak. The kernel keeps the
// peak itself, so only what happens in the last moment of a life can be missed.
const peakEvery = 5 * time.Millisecond

// start starts a program. It is killed when ctx ends.
func start(ctx context.Context, environ []string, path string, args ...string) (*process, error) {
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Env = append(os.Environ(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.output
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	waited := make(chan error, 1)
	go func() { waited <- p.cmd.Wait() }()
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(peakEvery)
		defer tick.Stop()
		for {
			if peak, err := peakOf(p.cmd.Process.Pid); err == nil {
				p.peak = max(p.peak, peak)
			}
			select {
			case p.err = <-waited:
				p.took = time.Since(began)
				return
			case <-tick.C:
			}
		}
	}()
	return p, nil
}

// wait returns when the program has ended, with what it said if it failed.
func (p *process) wait() error {
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), p.err, bytes.TrimSpace(p.output.Bytes()))
	}
	if p.peak == 0 {
		return errors.New("the kernel tells no peak of memory in /proc: this case needs Linux")
	}
	return nil
}

// stop tells the program to stop, and waits.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return p.wait()
}

// kill ends the program at once, and waits. It is for programs that would take
// long to stop and whose work is over.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an ended process is left alone
	<-p.ended
}

// cpu is the CPU time of a program that has ended.
func (p *process) cpu() time.Duration {
	<-p.ended
	if p.cmd.ProcessState == nil {
		return 0
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// peakOf reads the peak of a process's resident memory, in bytes. What
// wait4(2) tells of a child will not do: it counts the moment before exec, in
// which the child is its parent's copy.
func peakOf(pid int) (int64, error) {
	name := "/proc/" + strconv.Itoa(pid) + "/status"
	status, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("%s names no VmHWM: %w", name, fs.ErrNotExist) // it has ended
}
