// What scripts answer, read with checks: a script of another version may be
// answering.

package ratelimit

import (
	"errors"
	"fmt"
	"time"
)

// errReply is an answer of a script that cannot be read.
var errReply = errors.New("the script's answer cannot be read")

// reader reads an answer. The first thing that is not as it should be ends the
// reading, and stays in err.
type reader struct{ err error }

func (r *reader) wrong(what string, v any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s is %v", errReply, what, v)
	}
}

func (r *reader) text(what string, v any) string {
	s, ok := v.(string)
	if !ok {
		r.wrong(what, v)
	}
	return s
}

func (r *reader) number(what string, v any) int64 {
	n, ok := v.(int64)
	if !ok {
		r.wrong(what, v)
	}
	return n
}

func (r *reader) time(what string, v any) time.Time {
	return time.UnixMicro(r.number(what, v)).UTC()
}

func (r *reader) list(what string, v any) []any {
	l, ok := v.([]any)
	if !ok {
		r.wrong(what, v)
	}
	return l
}

// row is the index of one of rows.
func (r *reader) row(v any, rows int) int {
	n := r.number("a row", v)
	if n < 1 || n > int64(rows) {
		r.wrong("a row", v)
		return 0
	}
	return int(n) - 1
}

// readDecision reads what acquire.lua answers for a request of rows.
func readDecision(reply []any, rows int) (Decision, error) {
	if len(reply) != 5 {
		return Decision{}, fmt.Errorf("%w: it has %d parts", errReply, len(reply))
	}
	var r reader
	d := Decision{Reason: Reason(r.text("the reason", reply[0]))}
	if d.Reason != None {
		d.Until = r.time("the time", reply[1])
	}
	for _, row := range r.list("the list of rows", reply[2]) {
		d.Go = append(d.Go, r.row(row, rows))
	}
	d.Marked = r.marked(reply[3], rows)
	d.Hold, d.Others = r.hold(reply[4], d.Reason)
	if len(d.Go) == 0 && d.Reason == None {
		r.wrong("the reason", "none")
	}
	return d, r.err
}

func (r *reader) marked(v any, rows int) map[int]time.Time {
	pairs := r.list("the list of marks", v)
	if len(pairs) == 0 {
		return nil
	}
	marked := make(map[int]time.Time, len(pairs)/2)
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		marked[r.row(pairs[0], rows)] = r.time("a mark's end", pairs[1])
	}
	return marked
}

func (r *reader) hold(v any, why Reason) (h *Hold, others time.Time) {
	parts := r.list("the hold", v)
	if len(parts) != 4 {
		return nil, time.Time{}
	}
	h = &Hold{
		Since:  r.time("the hold's beginning", parts[0]),
		Probes: int(r.number("the number of probes", parts[1])),
		Reason: r.text("the hold's reason", parts[2]),
	}
	if why == Silent {
		h.Reason = silentReason
		others = r.time("when others ask", parts[3])
	}
	return h, others
}
