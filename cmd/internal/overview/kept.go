// What is asked once for all who look, and kept for a while.

package overview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// askFor bounds what asking for one part may take, and waitFor what a page
	// waits for all of its parts.
	askFor  = 2 * time.Second
	waitFor = 2500 * time.Millisecond
	// keptFor is how long an answer is good, a little less than the page takes to
	// refresh itself; errFor the same for a failure.
	keptFor = 4 * time.Second
	errFor  = time.Second
	// restShare bounds how much of the time is spent on asking: an answer that
	// took t is good for restShare × t, up to keptMost: an answer is slow for once
	// where Redis stalls, and what it said must not be believed for long. The page
	// says of what is older than noticed how old it is.
	restShare = 20
	keptMost  = 20 * time.Second
	noticed   = 2 * keptFor
)

var (
	errLate   = fmt.Errorf("no answer within %s", waitFor)
	errClosed = errors.New("the worker is stopping")
)

// looks owns the goroutines that ask.
type looks struct {
	now    func() time.Time
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // of all that is asked: ends with close
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newLooks(now func() time.Time, log *slog.Logger) *looks {
	l := &looks{now: now, log: log}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// begin runs f in a goroutine, unless it is too late for that.
func (l *looks) begin(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.running.Go(f)
	return true
}

func (l *looks) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
}

// kept is one part of what is shown. At most one goroutine asks for it at a time.
type kept[T any] struct {
	looks *looks
	name  string
	ask   func(ctx context.Context) (T, error)
	most  time.Duration // how long an answer is kept at most

	mu     sync.Mutex
	last   answer[T]
	until  time.Time
	asking chan struct{} // closed when last is there; nil: nobody asks
}

// answer is what a part was at a time. With an error the value counts as far as
// it was had.
type answer[T any] struct {
	value T
	err   error
	at    time.Time
}

func keep[T any](l *looks, name string, ask func(ctx context.Context) (T, error)) *kept[T] {
	return &kept[T]{looks: l, name: name, ask: ask, most: keptMost}
}

// get returns the part: what is kept, if that is fresh, else a new answer, or
// none once ctx has ended. The asking goes on then, for whoever comes next.
func (k *kept[T]) get(ctx context.Context) answer[T] {
	asking, a := k.begin()
	if asking == nil {
		return a
	}
	select {
	case <-asking:
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.last
	case <-ctx.Done():
		return answer[T]{err: errLate, at: k.looks.now()}
	}
}

// begin returns what is kept, or else what to wait for.
func (k *kept[T]) begin() (asking <-chan struct{}, a answer[T]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asking != nil {
		return k.asking, a
	}
	if k.looks.now().Before(k.until) {
		return nil, k.last
	}
	done := make(chan struct{})
	if !k.looks.begin(func() { k.run(done) }) {
		return nil, answer[T]{err: errClosed, at: k.looks.now()}
	}
	k.asking = done
	return done, a
}

func (k *kept[T]) run(done chan struct{}) {
	ctx, cancel := context.WithTimeout(k.looks.ctx, askFor)
	defer cancel()
	began := k.looks.now()
	value, err := k.asked(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s", askFor)
	}
	now := k.looks.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = answer[T]{value: value, err: err, at: now}
	least, most := keptFor, k.most
	if err != nil {
		least, most = errFor, min(noticed, k.most)
	}
	k.until = now.Add(min(max(least, restShare*now.Sub(began)), most))
	k.asking = nil
	close(done)
}

// asked asks. A mistake in what only shows things must not end the worker.
func (k *kept[T]) asked(ctx context.Context) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			k.looks.log.Error("the worker's page has a fault", "part", k.name, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("a fault of the page itself: see the worker's log")
		}
	}()
	return k.ask(ctx)
}

// previous is the last answer, however old.
func (k *kept[T]) previous() answer[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}
