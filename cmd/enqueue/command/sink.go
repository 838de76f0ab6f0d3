// Sinks: where results go.

package command

import (
	"fmt"
	"io"
	"sort"

	"botfleet/bitrix"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

// sink takes outcomes as they come.
type sink interface {
	write(runs.Outcome) error
	flush() error
	close() error
}

// results returns the sink that --output and --format ask for. file is set
// when it is a file that may hold an earlier run's results.
func (a *app) results() (s sink, file *report.Output, err error) {
	if a.common.output != "" {
		out, err := report.OpenOutput(a.common.output, a.common.format)
		if err != nil {
			return nil, nil, err
		}
		return fileSink{writerSink{out}, out}, out, nil
	}
	format := a.stdoutFormat()
	w, err := report.NewWriter(a.std.out, format, report.Options{Color: a.color(a.std.out), Width: terminal(a.std.out)})
	if err != nil {
		return nil, nil, err
	}
	if format == report.Table {
		return &tableSink{w: w, note: a.std.err}, nil, nil
	}
	return writerSink{w}, nil, nil
}

func (a *app) stdoutFormat() string {
	switch {
	case a.common.format != "":
		return a.common.format
	case terminal(a.std.out) > 0:
		return report.Table
	}
	return report.JSONL
}

// writerSink writes each outcome at once.
type writerSink struct{ w report.ResultWriter }

func (s writerSink) write(o runs.Outcome) error { return s.w.Write(resultOf(o)) }
func (s writerSink) flush() error               { return s.w.Flush() }
func (s writerSink) close() error               { return s.w.Close() }

// fileSink writes to a file that may hold results from before.
type fileSink struct {
	writerSink
	out *report.Output
}

func (s fileSink) write(o runs.Outcome) error {
	if _, there := s.out.Registered(o.Portal, o.Code); there && o.Status == runs.StatusRegistered {
		return nil
	}
	return s.writerSink.write(o)
}

// tableSink shows a table at the end, in the order of the rows. Nobody reads
// thousands of rows on a terminal: past tableRows it keeps only what needs
// somebody's attention.
type tableSink struct {
	w     report.ResultWriter
	note  io.Writer
	kept  []runs.Outcome
	total int
}

const tableRows = 1000

func (s *tableSink) write(o runs.Outcome) error {
	s.total++
	s.kept = append(s.kept, o)
	if len(s.kept) <= tableRows {
		return nil
	}
	kept := s.kept[:0]
	for _, k := range s.kept {
		if k.Status != runs.StatusRegistered && len(kept) < tableRows {
			kept = append(kept, k)
		}
	}
	clear(s.kept[len(kept):])
	s.kept = kept
	return nil
}

func (s *tableSink) flush() error { return nil }

func (s *tableSink) close() error {
	sort.Slice(s.kept, func(i, j int) bool { return s.kept[i].Row < s.kept[j].Row })
	for _, o := range s.kept {
		if err := s.w.Write(resultOf(o)); err != nil {
			return err
		}
	}
	if hidden := s.total - len(s.kept); hidden > 0 {
		_, _ = fmt.Fprintf(s.note, "not shown: %s; --output FILE keeps every row's result\n", report.Counted(hidden, "more row"))
	}
	return s.w.Close()
}

// resultOf is an outcome as users read it.
func resultOf(o runs.Outcome) report.Result {
	r := report.Result{
		Row: o.Row, ID: o.ID, Portal: o.Portal, Code: o.Code, Status: report.Status(o.Status),
		BotID: o.BotID, How: o.How, Attempts: o.Attempts, QueuedAt: o.QueuedAt, DoneAt: o.DoneAt, Class: o.Class,
	}
	if o.Status == runs.StatusRegistered {
		r.Existed = &o.Existed
	}
	if o.Error != nil {
		r.Error = &report.Failure{Code: o.Error.Code, Description: o.Error.Description}
	}
	for _, p := range o.Errors {
		r.Errors = append(r.Errors, bitrix.Problem{Field: p.Field, Code: p.Code, Problem: p.Problem})
	}
	if o.Of != nil {
		r.Of = &report.Ref{Run: o.Of.Run, Row: o.Of.Row}
	}
	if o.Retried != nil {
		r.Retried = &report.Retried{Reason: o.Retried.Reason, At: o.Retried.At, Times: o.Retried.Times}
	}
	return r
}
