// Results as a table for people. The first block of rows decides the widths of
// the columns; the others follow one by one, in memory that does not grow.

package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// block is how many rows are seen before widths are settled.
const block = 200

// layout is what a table shows. Its last column is as long as it has to be.
type layout struct {
	columns []string
	cells   func(Result) []string
	status  int // the column of the status, which is coloured; -1: none
}

var anyRows = layout{
	columns: []string{"ROW", "PORTAL", "CODE", "STATUS", "BOT_ID", "DETAIL"},
	cells: func(r Result) []string {
		return []string{strconv.Itoa(r.Row), Clean(r.Portal), Clean(r.Code), Clean(string(r.Status)), number(r.BotID), Clean(detail(r))}
	},
	status: 3,
}

var deadRows = layout{
	columns: []string{"ROW", "ID", "PORTAL", "CODE", "CLASS", "ERROR", "TRIES", "WHEN", "DESCRIPTION"},
	cells: func(r Result) []string {
		var e Failure
		if r.Error != nil {
			e = *r.Error
		}
		when := ""
		if !r.DoneAt.IsZero() {
			when = r.DoneAt.Local().Format("2006-01-02 15:04:05")
		}
		return []string{
			strconv.Itoa(r.Row), Clean(r.ID), Clean(r.Portal), Clean(r.Code), Clean(r.Class), Clean(e.Code),
			strconv.Itoa(r.Attempts), when, Clean(e.Description + again(r)),
		}
	},
	status: -1,
}

// widest bounds a column's width: one long CODE must not push all the others
// off the screen. A longer cell moves its own line only.
const widest = 40

type tableWriter struct {
	w       *bufio.Writer
	o       Options
	layout  layout
	held    [][]string // rows before the widths are settled
	widths  []int      // nil until then
	rows    int
	failure error
}

func newTableWriter(w io.Writer, o Options) *tableWriter {
	t := &tableWriter{w: bufio.NewWriterSize(w, 64<<10), o: o, layout: anyRows}
	if o.Dead {
		t.layout = deadRows
	}
	return t
}

func (t *tableWriter) Write(r Result) error {
	cells := t.layout.cells(r)
	t.rows++
	if t.widths != nil {
		t.line(cells, t.status(cells))
		return t.failed(nil)
	}
	if t.held = append(t.held, cells); len(t.held) == block {
		t.settle()
	}
	return t.failed(nil)
}

// Flush shows what is held back, which settles the columns' widths.
func (t *tableWriter) Flush() error {
	if t.widths == nil && len(t.held) > 0 {
		t.settle()
	}
	return t.failed(t.w.Flush())
}

// Close flushes. A table without rows is no table: nothing is written.
func (t *tableWriter) Close() error { return t.Flush() }

func (t *tableWriter) settle() {
	t.widths = make([]int, len(t.layout.columns))
	for _, cells := range append(t.held, t.layout.columns) {
		for i, cell := range cells {
			t.widths[i] = max(t.widths[i], min(widest, utf8.RuneCountInString(cell)))
		}
	}
	t.line(t.layout.columns, "")
	for _, cells := range t.held {
		t.line(cells, t.status(cells))
	}
	t.held = nil
}

func (t *tableWriter) status(cells []string) Status {
	if t.layout.status < 0 {
		return ""
	}
	return Status(cells[t.layout.status])
}

// line writes one line, cut to the terminal's width.
func (t *tableWriter) line(cells []string, status Status) {
	left := t.o.Width
	for i, cell := range cells {
		text := cell
		if i < len(cells)-1 {
			// Two spaces part the columns, also after a cell wider than its column.
			text += strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(cell))+2)
		}
		if t.o.Width > 0 {
			text = shorten(text, left)
			left -= utf8.RuneCountInString(text)
		}
		if i == t.layout.status && t.o.Color {
			text = paint(text, status)
		}
		_, t.failure = t.w.WriteString(text) // bufio keeps the first error
	}
	_, t.failure = t.w.WriteString("\n")
}

func (t *tableWriter) failed(err error) error {
	if err == nil {
		err = t.failure
	}
	if err == nil {
		return nil
	}
	return &WriteError{Name: t.o.Name, Err: err}
}

// paint colours a status: ANSI green, red, yellow, grey.
func paint(text string, s Status) string {
	color := map[Status]string{Registered: "32", Dead: "31", Refused: "33", Duplicate: "90"}[s]
	if color == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// again says in words that a row was queued again; nothing when it was not.
func again(r Result) string {
	if r.Retried == nil {
		return ""
	}
	text := " (queued again once"
	if r.Retried.Times != 1 {
		text = fmt.Sprintf(" (queued again %s times", Count(r.Retried.Times))
	}
	if r.Retried.Reason != "" {
		text += ": " + r.Retried.Reason
	}
	return text + ")"
}

// detail says in words what the other columns do not.
func detail(r Result) string { return strings.TrimSpace(outcome(r) + again(r)) }

func outcome(r Result) string {
	switch {
	case r.Status == Registered && r.Existed != nil && *r.Existed && (r.How == "" || r.How == Created):
		return "was there already"
	case r.Status == Registered:
		return r.How
	case r.Status == Duplicate && r.Of != nil:
		return "of run " + r.Of.Run + ", row " + strconv.Itoa(r.Of.Row)
	case len(r.Errors) > 0:
		return joinProblems(r.Errors)
	case r.Error != nil:
		return strings.Join(nonEmpty(r.Class, r.Error.Code, r.Error.Description), ": ")
	}
	return r.Class
}

func nonEmpty(texts ...string) []string {
	var some []string
	for _, t := range texts {
		if t != "" {
			some = append(some, t)
		}
	}
	return some
}
