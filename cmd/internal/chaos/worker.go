// Workers, and who looks after them: one that dies is started again.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"botfleet/cmd/internal/built"
	"botfleet/cmd/internal/cable"
)

// shutdownTimeout is SHUTDOWN_TIMEOUT of the workers.
const shutdownTimeout = 15 * time.Second

// tolerance is what a busy machine may add to it.
const tolerance = 3 * time.Second

// worker is one of the fleet, through all its lives.
type worker struct {
	w     *world
	index int
	net   *cable.Cable
	log   *os.File

	turn  sync.Mutex // one thing happens to it at a time
	mu    sync.Mutex
	p     *built.Process
	meant bool // the end of the present life is meant
}

func (w *world) newWorker(ctx context.Context, index int) (*worker, error) {
	net, err := cable.New(ctx, w.redis.addr(), 0)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(w.dir, fmt.Sprintf("worker-%d.log", index)))
	if err != nil {
		net.Close()
		return nil, fmt.Errorf("make a worker's log: %w", err)
	}
	return &worker{w: w, index: index, net: net, log: log}, nil
}

func (k *worker) name() string { return fmt.Sprintf("worker %d", k.index) }

// start starts the next life, and tries again while Redis is away, as whoever
// supervises a worker does.
func (k *worker) start(ctx context.Context) error {
	for ctx.Err() == nil {
		out := newWatched(k.log, "worker started")
		cmd := built.Command(k.w.life, filepath.Join(k.w.bin, "worker"), k.w.workerEnv(k.net.Addr())) //nolint:contextcheck // it outlives who starts it
		cmd.Stdout, cmd.Stderr = out, out
		p, err := built.Start(cmd)
		if err != nil {
			return err
		}
		select {
		case <-out.seen:
			k.mu.Lock()
			k.p, k.meant = p, false
			k.mu.Unlock()
			k.w.lives.Go(func() { k.watch(k.w.life, p) })
			return nil
		case <-p.Ended():
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// watch notices a worker that ends by itself, and starts it again.
func (k *worker) watch(ctx context.Context, p *built.Process) {
	<-p.Ended()
	k.mu.Lock()
	meant := k.meant
	k.mu.Unlock()
	if meant || ctx.Err() != nil {
		return
	}
	k.w.problemf("%s ended by itself: %s", k.name(), p.Cmd.ProcessState)
	if err := k.start(ctx); err != nil && ctx.Err() == nil {
		k.w.problemf("%s could not be started again: %v", k.name(), err)
	}
}

// alive is the present life, whose end is meant from now on if ends is set.
func (k *worker) alive(ends bool) *built.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.meant = k.meant || ends
	return k.p
}

// kill is kill -9, and a start some time later.
func (k *worker) kill(ctx context.Context, away time.Duration) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	k.alive(true).Kill()
	if err := sleep(ctx, away); err != nil {
		return err
	}
	return k.start(ctx)
}

// freeze stops the process for a while, without its noticing.
func (k *worker) freeze(ctx context.Context, d time.Duration) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	p := k.alive(false)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(sleep(ctx, d), p.Signal(syscall.SIGCONT))
}

// stop is SIGTERM, and a look at how it ends.
func (k *worker) stop(ctx context.Context) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	return k.end(ctx)
}

// end is stop. Its caller has the turn.
func (k *worker) end(ctx context.Context) error {
	p := k.alive(true)
	began := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout+tolerance)
	defer cancel()
	if p.Wait(ctx) != nil {
		k.w.problemf("%s was told to stop and did not within %v", k.name(), shutdownTimeout+tolerance)
		p.Quit()
		return nil
	}
	k.w.notef("%s stopped in %.1f s", k.name(), time.Since(began).Seconds())
	if code := p.Code(); code != 0 {
		k.w.problemf("%s was told to stop and ended with %s", k.name(), p.Cmd.ProcessState)
	}
	return nil
}

// restart is stop, and a start some time later.
func (k *worker) restart(ctx context.Context, away time.Duration) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	if err := k.end(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, away); err != nil {
		return err
	}
	return k.start(ctx)
}

// close ends the worker, whatever it does.
func (k *worker) close() {
	if p := k.alive(true); p != nil {
		p.Kill()
	}
	k.net.Close()
	_ = k.log.Close() // its writers have ended
}
