// What whoever opens the page at three in the morning reads first.

package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"botfleet/cmd/internal/report"
)

// verdict says in a sentence whether something is wrong.
type verdict struct {
	Class string // bad, warn or good
	Text  string
}

// judge finds the sentence.
func judge(l *frontLook) verdict {
	if l.runs.err != nil {
		return verdict{"bad", "The runs cannot be read: it is not known whether anything moves."}
	}
	bad, warn := l.faults()
	rest, stuck := l.rest(len(bad)+len(warn) > 0)
	if len(bad) > 0 {
		rest = wait(l.runs.value.waiting)
	}
	all := slices.Concat(bad, warn)
	v := verdict{Class: "good", Text: sentence(rest)}
	switch {
	case len(bad) > 0:
		v.Class = "bad"
	case len(warn) > 0 || stuck:
		v.Class = "warn"
	}
	if len(all) > 0 {
		v.Text = sentence(strings.Join(all, ", ") + "; " + rest)
	}
	return v
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// faults are what keeps all rows from moving, and what keeps some.
func (l *frontLook) faults() (bad, warn []string) {
	waiting := l.runs.value.waiting
	if l.server.err == nil && l.server.value.workers == 0 && waiting > 0 {
		bad = append(bad, "no worker takes rows")
	}
	if share := l.server.value.memory.Share(); share >= 1 {
		bad = append(bad, "Redis is full")
	}
	if n := len(l.queues.value.paused()); n > 0 {
		bad = append(bad, are(n, "queue")+" paused")
	}
	if n := l.held.value.count; n > 0 {
		warn = append(warn, are(n, "portal")+" held")
	}
	if n := l.gate.value.silent; n == 1 {
		warn = append(warn, "1 portal does not answer")
	} else if n > 1 {
		warn = append(warn, report.Count(n)+" portals do not answer")
	}
	if n, where := lastDead(l.runs.value.list); n > 0 {
		warn = append(warn, fmt.Sprintf("%s dead %s", are(n, "row"), where))
	}
	if n := len(l.server.value.warnings); n > 0 {
		warn = append(warn, thereAre(n, "warning"))
	}
	if l.held.err != nil || l.gate.err != nil || l.queues.err != nil || l.server.err != nil {
		warn = append(warn, "not everything could be read")
	}
	return bad, warn
}

// thereAre is "there is 1 warning", "there are 3 warnings".
func thereAre(n int, one string) string {
	if n == 1 {
		return "there is 1 " + one
	}
	return "there are " + report.Counted(n, one)
}

// rest says what is true of all that is not wrong, and whether it is stuck.
func (l *frontLook) rest(others bool) (text string, stuck bool) {
	waiting := l.runs.value.waiting
	everything, nothing := "everything", "nothing"
	if others {
		everything, nothing = "everything else", "nothing else"
	}
	switch {
	case waiting == 0 && l.runs.value.unfinished > 0:
		return "rows are being submitted, and none waits", false
	case waiting == 0:
		return "nothing waits", false
	case l.allClosed(waiting):
		return nothing + " waits", false
	case l.now.Sub(l.runs.value.ended) < stillFor:
		return everything + " moves", false
	}
	switch since := l.still(); {
	case since.IsZero():
		return wait(waiting) + ", and it is not known when one was last done", true
	case l.now.Sub(since) >= stillFor:
		return fmt.Sprintf("%s, and none was done since %s", wait(waiting), momentOf(since, l.now).Clock), true
	}
	return wait(waiting) + ", and none of them is done yet", false
}

// still is since when rows wait without one being done: not since before the oldest
// of them was queued. Zero: not known.
func (l *frontLook) still() time.Time {
	ended, queued := l.runs.value.ended, l.runs.value.queued
	if queued.After(ended) {
		return queued
	}
	return ended
}

// allClosed reports whether all waiting rows are known to wait for closed portals.
func (l *frontLook) allClosed(waiting int) bool {
	closed := 0
	for _, d := range l.details {
		if d.err != nil {
			return false
		}
		for _, c := range d.value.counts {
			closed += c.rows
		}
		closed += d.value.standing().rows
	}
	return closed >= waiting
}
