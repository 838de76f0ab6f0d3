// Running processes: signalled, waited for, ended.

package built

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a program that was started. Its methods may be called at once by many.
type Process struct {
	Cmd   *exec.Cmd     // its ProcessState is there once the process has ended
	ended chan struct{} // closed then
	err   error
}

// Start starts a program and sees to its end.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name(), err)
	}
	go func() { // ends with the process
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *Process) name() string { return filepath.Base(p.Cmd.Path) }

// Ended is closed when the process has ended and all of its output is written.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err waits for the process's end, and is what exec.Cmd.Wait said of it.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// Code waits for the process's end, and is its exit status: -1 after a signal.
func (p *Process) Code() int {
	<-p.ended
	return p.Cmd.ProcessState.ExitCode()
}

// Wait waits for the process's end, however it ends. It returns why ctx has ended
// if that comes first.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", p.name(), context.Cause(ctx))
	}
}

// Await waits until cond holds. It returns an error if the process or ctx ends first.
func (p *Process) Await(ctx context.Context, cond func() bool) error {
	return await(ctx, p, cond)
}

// Signal sends a signal. A process that has ended is left alone.
func (p *Process) Signal(s os.Signal) error {
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name(), err)
	}
	return nil
}

// Kill ends the process at once, and waits.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // one that has ended is left alone
	<-p.ended
}

// lastWords is how long a process has for Quit's dump.
const lastWords = 3 * time.Second

// Quit ends a process that hangs: a Go program writes to standard error what its
// goroutines wait for. What does not end by that is killed.
func (p *Process) Quit() {
	_ = p.Signal(syscall.SIGQUIT) // or it is killed
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.Kill()
	}
}

// lookEvery is how often Await looks.
const lookEvery = 10 * time.Millisecond

// Await waits until cond holds, which is asked for every few milliseconds. It
// returns why ctx has ended if that comes first.
func Await(ctx context.Context, cond func() bool) error { return await(ctx, nil, cond) }

func await(ctx context.Context, p *Process, cond func() bool) error {
	var ended <-chan struct{} // never, without a process
	if p != nil {
		ended = p.ended
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return fmt.Errorf("%s has ended: %s", p.name(), p.Cmd.ProcessState)
		default:
		}
		if cond() {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
