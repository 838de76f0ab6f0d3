// What a followed run waits for when nothing of it moves.

package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

const (
	// standsAfter is how long nothing has moved when a person is told why.
	standsAfter = 30 * time.Second
	// tellWithin bounds the finding out, and toldLines what is told.
	tellWithin = 10 * time.Second
	toldLines  = 20
)

// standstill watches whether a run's counts move.
type standstill struct {
	counts runs.Counts
	since  time.Time
	told   bool
}

// look reports whether it is time to say why nothing moves: once.
func (s *standstill) look(c runs.Counts, now time.Time) bool {
	if c != s.counts {
		s.counts, s.since = c, now
	}
	if s.told || c.Waiting == 0 || now.Sub(s.since) < standsAfter {
		return false
	}
	s.told = true
	return true
}

// tellWaits prints what status says of a run. When that cannot be found out
// nothing is said: the follower meets the same trouble, and tells of it.
func (a *app) tellWaits(ctx context.Context, cfg config.Config, base *engine.Base, run string, to io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	var text bytes.Buffer
	b := *a
	b.std.out, b.common.format = &text, report.Table
	if err := b.oneRun(ctx, cfg, base, run); err != nil {
		return
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text.String(), "\n")+"\n", "\n")
	lines = lines[:len(lines)-1]
	if more := len(lines) - toldLines; more > 0 {
		lines = append(lines[:toldLines], fmt.Sprintf("… and %s; enqueue status %s prints all\n", report.Counted(more, "more line"), run))
	}
	_, _ = fmt.Fprintf(to, "nothing has moved for %s:\n%s", report.Duration(standsAfter), strings.Join(lines, ""))
}
