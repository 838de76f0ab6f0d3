// Progress on standard error: a bar on a terminal, a line every 10 s elsewhere.

package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Counts is how far a run is.
type Counts struct {
	Registered, Dead, Refused, Duplicate int
}

// Done returns how many rows have their result.
func (c Counts) Done() int { return c.Registered + c.Dead + c.Refused + c.Duplicate }

// ProgressOptions of [NewProgress].
type ProgressOptions struct {
	Terminal bool // a bar that is redrawn, instead of lines
	Quiet    bool // nothing at all; Log still passes
	Total    int  // rows; 0: unknown
	Done     int  // rows that are not to count for the rate: done before
	Width    int  // characters of the terminal's line. Defaults to 80
	// Good is what Counts.Registered counts. Defaults to "registered".
	Good string
	// Every is how often a line is written when it is no terminal. Defaults to 10 s.
	Every time.Duration
}

// Progress shows how far a run is. Its methods may be called from any goroutine.
type Progress struct {
	mu     sync.Mutex
	w      io.Writer
	o      ProgressOptions
	counts Counts
	pace   pace
	bar    *bar // nil when there is none
	shown  bool // the bar is on the screen
	ended  bool
	stop   chan struct{}
	idle   chan struct{} // closed when the goroutine has ended
}

// redraw is often enough to look alive, and rare enough for a slow terminal.
const redraw = 200 * time.Millisecond

// NewProgress begins to show progress on w. It starts a goroutine, which
// [Progress.Done] ends and awaits.
func NewProgress(w io.Writer, o ProgressOptions) *Progress {
	if o.Width <= 0 {
		o.Width = 80
	}
	if o.Good == "" {
		o.Good = string(Registered)
	}
	if o.Every <= 0 {
		o.Every = 10 * time.Second
	}
	p := &Progress{w: w, o: o, stop: make(chan struct{}), idle: make(chan struct{})}
	p.pace.add(time.Now(), o.Done)
	every := o.Every
	if o.Terminal {
		p.bar = newBar(o.Total, o.Width)
		every = redraw
	}
	if o.Quiet {
		close(p.idle)
		return p
	}
	go p.run(every)
	return p
}

func (p *Progress) run(every time.Duration) {
	defer close(p.idle)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			p.show(now)
		}
	}
}

// Update says how far the run is now.
func (p *Progress) Update(c Counts) {
	p.mu.Lock()
	p.counts = c
	p.mu.Unlock()
}

// SetTotal says how many rows there are, once that is known.
func (p *Progress) SetTotal(rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.o.Total = rows
	if p.bar != nil {
		p.bar = newBar(rows, p.o.Width)
	}
}

// Done takes the bar off the screen and ends the progress. It may be called
// more than once.
func (p *Progress) Done() {
	p.mu.Lock()
	if !p.ended {
		p.ended = true
		close(p.stop)
	}
	p.mu.Unlock()
	<-p.idle
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// Log returns a writer for log lines: they go where the progress goes, and
// the bar steps aside for them. It works after Done too.
func (p *Progress) Log() io.Writer { return logWriter{p} }

type logWriter struct{ p *Progress }

// Write writes a whole line or several; the bar comes back at the next redraw.
func (l logWriter) Write(text []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.clear()
	return l.p.w.Write(text)
}

// show writes the state. A screen that cannot be written to is no reason to
// stop a run, so errors end here.
func (p *Progress) show(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.add(now, p.counts.Done())
	if p.bar == nil {
		_, _ = fmt.Fprintln(p.w, p.line())
		return
	}
	_, _ = io.WriteString(p.w, "\r\x1b[2K"+p.bar.render(p.counts.Done(), p.details()))
	p.shown = true
}

func (p *Progress) clear() {
	if p.shown {
		p.shown = false
		_, _ = io.WriteString(p.w, "\r\x1b[2K")
	}
}

// line is "12,000 of 60,000 rows · registered 11,800 · dead 12 · 320/s · about 2m30s left".
func (p *Progress) line() string {
	head := Count(p.counts.Done()) + " rows"
	if p.o.Total > 0 {
		head = fmt.Sprintf("%s of %s rows", Count(p.counts.Done()), Count(p.o.Total))
	}
	return head + " · " + p.details()
}

// details are the counts that are not zero, the rate, and what is left.
func (p *Progress) details() string {
	parts := []string{p.o.Good + " " + Count(p.counts.Registered)}
	for _, c := range []struct {
		name string
		n    int
	}{{"dead", p.counts.Dead}, {"refused", p.counts.Refused}, {"duplicate", p.counts.Duplicate}} {
		if c.n > 0 {
			parts = append(parts, c.name+" "+Count(c.n))
		}
	}
	rate := p.pace.rate()
	parts = append(parts, Rate(rate))
	if left := p.o.Total - p.counts.Done(); left > 0 && rate > 0 {
		// A year is long enough to say, and far from the end of time.Duration.
		seconds := min(float64(left)/rate, 365*24*3600)
		parts = append(parts, "about "+Duration(time.Duration(seconds*float64(time.Second)))+" left")
	}
	return strings.Join(parts, " · ")
}

// bar is a drawn bar. It is drawn to memory: what goes to the screen, and
// when, is for Progress to say.
type bar struct {
	drawn *progressbar.ProgressBar
	width int
	total int
}

// barWidth leaves most of the line to the words.
const barWidth = 20

func newBar(total, width int) *bar {
	b := &bar{width: width, total: total}
	if total > 0 {
		b.drawn = progressbar.NewOptions(total, progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetWidth(barWidth),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionShowCount(),
			progressbar.OptionShowDescriptionAtLineEnd())
	}
	return b
}

// render returns one line, short enough not to wrap: what wraps cannot be cleared.
func (b *bar) render(done int, words string) string {
	text := Count(done) + " rows · " + words
	if b.drawn != nil {
		b.drawn.Describe(words)
		// More rows done than announced is the caller's slip, not the user's trouble.
		_ = b.drawn.Set(min(done, b.total))
		text = strings.TrimSpace(Clean(b.drawn.String()))
	}
	return shorten(text, b.width-1)
}
