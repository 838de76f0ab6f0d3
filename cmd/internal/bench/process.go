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
	"strings"
	"syscall"
	"time"

	"botfleet/cmd/internal/built"
)

// build builds one of the module's commands, once, and returns the program's path.
func (b *bench) build(ctx context.Context, command string) (string, error) {
	path := filepath.Join(b.dir, command)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, built.Build(ctx, b.dir, false, command)
}

// process is a running program, watched for its peak of resident memory.
type process struct {
	program *built.Process
	output  built.Output // what it prints on stderr
	stdout  bytes.Buffer
	ended   chan struct{} // closed when it has ended and the fields below are set
	took    time.Duration
	peak    int64 // bytes
}

// peakEvery is how often a process is asked for its peak. The kernel keeps the
// peak itself, so only what happens in the last moment of a life can be missed.
const peakEvery = 5 * time.Millisecond

// start starts a program. It is killed when ctx ends.
func start(ctx context.Context, environ []string, path string, args ...string) (*process, error) {
	p := &process{ended: make(chan struct{})}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.output
	began := time.Now()
	var err error
	if p.program, err = built.Start(cmd); err != nil {
		return nil, err
	}
	go p.watch(began)
	return p, nil
}

// watch asks for the peak until the program ends.
func (p *process) watch(began time.Time) {
	defer close(p.ended)
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	for {
		if peak, err := peakOf(p.pid()); err == nil {
			p.peak = max(p.peak, peak)
		}
		select {
		case <-p.program.Ended():
			p.took = time.Since(began)
			return
		case <-tick.C:
		}
	}
}

func (p *process) pid() int { return p.program.Cmd.Process.Pid }

// wait returns when the program has ended, with what it said if it failed.
func (p *process) wait() error {
	<-p.ended
	if err := p.program.Err(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(p.program.Cmd.Path), err, strings.TrimSpace(p.output.String()))
	}
	if p.peak == 0 {
		return errors.New("the kernel tells no peak of memory in /proc: this case needs Linux")
	}
	return nil
}

// stop tells the program to stop, and waits.
func (p *process) stop() error {
	if err := p.program.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.wait()
}

// kill ends the program at once, and waits. It is for programs that would take
// long to stop and whose work is over.
func (p *process) kill() {
	p.program.Kill()
	<-p.ended
}

// cpu is the CPU time of a program that has ended.
func (p *process) cpu() time.Duration {
	<-p.ended
	return p.program.Cmd.ProcessState.UserTime() + p.program.Cmd.ProcessState.SystemTime()
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
