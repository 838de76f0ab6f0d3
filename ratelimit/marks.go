// Sending marks: which CODEs are on their way to a portal, so that no two
// calls register one CODE at the same time. This file has the door and the
// marks of one process.

package ratelimit

import (
	"context"
	"sync"
	"time"
)

// Marks keeps sending marks. A mark belongs to an owner, one request, and ends
// by itself. Its methods may be called from many goroutines.
type Marks interface {
	// Set marks, atomically, every code of the portal that bears no other
	// owner's mark, and reports for the others, by index, until when they are
	// marked. The codes are distinct. A repeat by the same owner changes
	// nothing: an answer may have been lost on its way.
	Set(ctx context.Context, portal string, codes []string, owner string, ttl time.Duration) (taken map[int]time.Time, err error)
	// Clear removes the owner's own marks of the codes; with owner "" whoever's.
	Clear(ctx context.Context, portal string, codes []string, owner string) error
}

// memoryMarks are the marks of one process.
type memoryMarks struct {
	now   func() time.Time
	mu    sync.Mutex
	marks map[markKey]mark
	tidy  tidy
}

type markKey struct{ portal, code string }

type mark struct {
	owner string
	until time.Time
}

// NewMemoryMarks returns marks that one process keeps in memory; they are lost
// with it. now nil means time.Now.
func NewMemoryMarks(now func() time.Time) Marks {
	if now == nil {
		now = time.Now
	}
	return &memoryMarks{now: now, marks: make(map[markKey]mark)}
}

func (m *memoryMarks) Set(_ context.Context, portal string, codes []string, owner string, ttl time.Duration) (map[int]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now)
	var taken map[int]time.Time
	for i, code := range codes {
		key := markKey{portal, code}
		old, marked := m.marks[key]
		switch {
		case !marked || !old.until.After(now):
			m.marks[key] = mark{owner: owner, until: now.Add(ttl)}
		case old.owner != owner:
			if taken == nil {
				taken = make(map[int]time.Time)
			}
			taken[i] = old.until
		}
	}
	return taken, nil
}

func (m *memoryMarks) Clear(_ context.Context, portal string, codes []string, owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, code := range codes {
		key := markKey{portal, code}
		if owner == "" || m.marks[key].owner == owner {
			delete(m.marks, key)
		}
	}
	return nil
}

// sweep drops marks that have ended.
func (m *memoryMarks) sweep(now time.Time) {
	if !m.tidy.due(now, len(m.marks)) {
		return
	}
	for key, mark := range m.marks {
		if !mark.until.After(now) {
			delete(m.marks, key)
		}
	}
	m.tidy.done(now, len(m.marks))
}

// tidy says when a map is worth going through for what has expired: when it
// has doubled since the last time, and once a minute. So the cost per use is
// constant, and the memory is at most twice what is needed.
type tidy struct {
	size int
	at   time.Time
}

const (
	tidyLeast = 64
	tidyEvery = time.Minute
)

func (t *tidy) due(now time.Time, size int) bool {
	return size > max(tidyLeast, 2*t.size) || now.Sub(t.at) >= tidyEvery
}

func (t *tidy) done(now time.Time, size int) { t.size, t.at = size, now }
