// What one pass knows and has found.

package sweep

import (
	"context"
	"sync"
	"time"
)

// pass is one pass under way.
type pass struct {
	*Sweeper

	lease         *lease
	names         []string          // of the queues that are swept
	tasks         []taskRef         // suspects
	rowsToMend    []rowRef          // suspects
	seen          time.Time         // when the newest suspect was found
	queueByPortal map[string]string // "": no such portal

	tasksSeen, rowsSeen int

	mu      sync.Mutex // of what follows: rows are mended side by side
	mended  map[string]int
	trouble error // the first that concerned one row alone
}

// suspects is how many suspects are gathered before they are looked at again:
// two megabytes of them.
const suspects = 10_000

func (p *pass) add(kind string) {
	if kind == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mended[kind]++
}

// spare notes an error that need not end the pass.
func (p *pass) spare(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		p.trouble = err
	}
}

func (p *pass) troubleErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble
}

// settled waits until the suspects may be looked at again.
func (p *pass) settled(ctx context.Context) error {
	if !wait(ctx, time.Until(p.seen.Add(p.settle))) {
		return context.Cause(ctx)
	}
	return nil
}
