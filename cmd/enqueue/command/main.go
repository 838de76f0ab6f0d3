// Package command is the command enqueue, which registers chat bots from files: it
// checks them, queues them, follows them, and, with run, does the whole job in one
// process.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/completion"
)

// Main is the whole process: it returns the exit status.
func Main(o Options) int {
	// A reader that has gone is an error of a write, not the end of a process
	// that still has requests on their way.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := interruptible()
	code := o.run(ctx, os.Args[1:], os.Environ(), stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	return code
}

// errInterrupted is the cause of a context ended by Ctrl-C or SIGTERM.
var errInterrupted = errors.New("interrupted")

// sameSignal is how long after the first signal another one counts as the same:
// a shell, timeout(1) and others signal both the process and its group.
const sameSignal = time.Second

// interruptible returns a context that the first Ctrl-C or SIGTERM ends. A
// second one ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, ok := <-signals; !ok {
			return
		}
		cancel(errInterrupted)
		first := time.Now()
		for range signals {
			if time.Since(first) > sameSignal {
				os.Exit(exitInterrupted)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// stdio are a process's streams.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// Exit statuses.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUnfinished  = 2
	exitRefused     = 3
	exitInterrupted = 130
)

// exitError ends the command with a status of its own. err may be nil when
// everything has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run is the command, without its process.
func (o Options) run(ctx context.Context, args, environ []string, std stdio) int {
	root := newRoot(o, environ, std) //nolint:contextcheck // the commands take theirs from ExecuteContext
	root.SetArgs(args)
	completion.Prepare(root, args)
	understood := false // the command line
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if _, usage := errors.AsType[*usageError](err); usage || !understood {
		err = fmt.Errorf("%w\nsee: %s --help", err, cmd.CommandPath())
	}
	code := exitFailed
	if exit, ok := errors.AsType[*exitError](err); ok {
		code, err = exit.code, exit.err
	}
	if errors.Is(err, errInterrupted) || errors.Is(context.Cause(ctx), errInterrupted) {
		code = exitInterrupted
	}
	if err != nil {
		complain(std.err, err)
	}
	return code
}

// usageError is a command line that lacks something, or says too much.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// complain prints an error, each of its lines with the name of the command.
func complain(w io.Writer, err error) {
	for line := range strings.Lines(plain(err)) {
		if line = strings.TrimSpace(line); line != "" {
			_, _ = fmt.Fprintf(w, "enqueue: %s\n", line)
		}
	}
}
