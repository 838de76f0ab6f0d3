// Progress of a check on standard error: a line that is redrawn on a terminal,
// a line every 10 s elsewhere.

package command

import (
	"fmt"
	"io"
	"sync"
	"time"

	"botfleet/cmd/internal/report"
)

const (
	redrawEvery = 200 * time.Millisecond
	lineEvery   = 10 * time.Second
)

// checkProgress shows how far a check is.
type checkProgress struct {
	w     io.Writer
	total int
	width int // of the terminal; 0: there is none
	began time.Time
	stop  chan struct{}
	idle  chan struct{} // closed when the goroutine has ended

	mu        sync.Mutex
	asked     int
	bad       int
	shown     bool
	endedOnce sync.Once
}

// newCheckProgress begins to show progress, which done ends.
func newCheckProgress(w io.Writer, total, width int, quiet bool) *checkProgress {
	p := &checkProgress{w: w, total: total, width: width, began: time.Now(), stop: make(chan struct{}), idle: make(chan struct{})}
	if quiet {
		close(p.idle)
		return p
	}
	every := lineEvery
	if width > 0 {
		every = redrawEvery
	}
	go p.run(every)
	return p
}

func (p *checkProgress) run(every time.Duration) {
	defer close(p.idle)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.show()
		}
	}
}

func (p *checkProgress) update(asked, bad int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.bad = asked, bad
}

// show writes the state. A screen that cannot be written to stops no check.
func (p *checkProgress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.line()
	if p.width == 0 {
		_, _ = fmt.Fprintln(p.w, text)
		return
	}
	if len(text) >= p.width { // a line that wraps cannot be cleared
		text = text[:p.width-1]
	}
	_, _ = io.WriteString(p.w, "\r\x1b[2K"+text)
	p.shown = true
}

// line is "312 of 1,000 portals, 4 not fine, 80/s, about 8s left".
func (p *checkProgress) line() string {
	text := fmt.Sprintf("%s of %s, %s not fine", report.Count(p.asked), report.Counted(p.total, "portal"), report.Count(p.bad))
	took := time.Since(p.began)
	if p.asked == 0 || took < time.Second {
		return text
	}
	text += ", " + report.Rate(float64(p.asked)/took.Seconds())
	if left := p.total - p.asked; left > 0 {
		text += ", about " + report.Duration(took/time.Duration(p.asked)*time.Duration(left)) + " left"
	}
	return text
}

// done takes the line off the screen and ends the progress.
func (p *checkProgress) done() {
	p.endedOnce.Do(func() { close(p.stop) })
	<-p.idle
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.shown = false
		_, _ = io.WriteString(p.w, "\r\x1b[2K")
	}
}
