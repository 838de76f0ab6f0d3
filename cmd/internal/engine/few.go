// Log lines about many portals at once: a few of each kind, and a count.

package engine

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// fewLines is how many lines with one message the log takes within fewFor. A
	// thousand portals that are held at once are one event, not a thousand.
	fewLines = 20
	fewFor   = time.Minute
	// fewKinds bounds the messages that are counted; others pass.
	fewKinds = 1000
)

// few is a handler that lets only the first lines of each message pass, and counts
// the others until [few.flush]. Debug lines pass.
type few struct {
	slog.Handler

	count *fewCount
}

// fewCount is shared by all handlers that were made of one.
type fewCount struct {
	mu    sync.Mutex
	kinds map[string]*fewKind
}

type fewKind struct {
	began       time.Time
	level       slog.Level
	lines, over int
}

func newFew(h slog.Handler) *few { return &few{h, &fewCount{kinds: map[string]*fewKind{}}} }

// WithAttrs implements [slog.Handler].
func (f *few) WithAttrs(a []slog.Attr) slog.Handler { return &few{f.Handler.WithAttrs(a), f.count} }

// WithGroup implements [slog.Handler].
func (f *few) WithGroup(name string) slog.Handler { return &few{f.Handler.WithGroup(name), f.count} }

// Handle implements [slog.Handler].
func (f *few) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !f.count.passes(r.Message, r.Level, r.Time) {
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

// passes counts a line, and reports whether it may be written.
func (c *fewCount) passes(message string, level slog.Level, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kinds[message]
	if k == nil {
		if len(c.kinds) >= fewKinds {
			return true
		}
		k = &fewKind{began: at, level: level}
		c.kinds[message] = k
	}
	if k.lines == fewLines {
		k.over++
		return false
	}
	k.lines++
	return true
}

// skip counts lines that were not even made.
func (c *fewCount) skip(message string, at time.Time, lines int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kinds[message]; k != nil {
		k.over += lines
	} else if len(c.kinds) < fewKinds {
		c.kinds[message] = &fewKind{began: at, lines: fewLines, over: lines}
	}
}

// flush tells how many lines were left out of each message whose time is over, and
// lets it begin anew. Its owner calls it every second or so, and at the end with
// the zero time, which ends the time of all.
func (f *few) flush(ctx context.Context, now time.Time) {
	f.count.mu.Lock()
	over := map[string]*fewKind{}
	for message, k := range f.count.kinds {
		if now.IsZero() || now.Sub(k.began) >= fewFor {
			delete(f.count.kinds, message)
			if k.over > 0 {
				over[message] = k
			}
		}
	}
	f.count.mu.Unlock()
	for _, message := range slices.Sorted(maps.Keys(over)) {
		k := over[message]
		if !f.Enabled(ctx, k.level) {
			continue
		}
		r := slog.NewRecord(time.Now(), k.level, "lines left out of the log", 0)
		r.AddAttrs(slog.String("like", message), slog.Int("lines", k.over))
		_ = f.Handler.Handle(ctx, r) // as every line of a log
	}
}
