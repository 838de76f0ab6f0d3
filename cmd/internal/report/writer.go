// Writing results to a stream.

package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// ResultWriter writes results one after another. Write and Flush return a
// [*WriteError] when what is below takes no more; every call after that
// returns it again. It is for one goroutine.
type ResultWriter interface {
	Write(Result) error
	// Flush hands on what is held back. Call it each second, or each 1,000
	// results: what is not flushed is lost with the process.
	Flush() error
	// Close ends the output and flushes it. It does not close what is below.
	Close() error
}

// Options of [NewWriter].
type Options struct {
	Color bool   // colour statuses in a table; leave off for NO_COLOR and for anything but a terminal
	Width int    // characters in a line of a table; 0: lines are not cut
	Name  string // of the destination, for errors; defaults to "standard output"
	Dead  bool   // all results are dead rows: a table tells of their errors
}

// NewWriter writes results to w as jsonl, json, csv or table.
func NewWriter(w io.Writer, format string, o Options) (ResultWriter, error) {
	if o.Name == "" {
		o.Name = "standard output"
	}
	if format == Table {
		return newTableWriter(w, o), nil
	}
	e, err := encodingOf(format)
	if err != nil {
		return nil, err
	}
	return newStream(w, e, o.Name, 0), nil
}

// WriteError says that results can no longer be written.
type WriteError struct {
	Name string // of the destination
	Err  error
}

func (e *WriteError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EPIPE), errors.Is(e.Err, io.ErrClosedPipe):
		return fmt.Sprintf("write results to %s: whoever read them has gone (broken pipe)", e.Name)
	case errors.Is(e.Err, syscall.ENOSPC):
		return fmt.Sprintf("write results to %s: the disk is full", e.Name)
	}
	return fmt.Sprintf("write results to %s: %s", e.Name, e.Err)
}

// Unwrap returns the cause: errors.Is(err, syscall.EPIPE) tells a closed pipe.
func (e *WriteError) Unwrap() error { return e.Err }

// stream writes one of the encodings. bufio.Writer keeps its first error.
type stream struct {
	w    *bufio.Writer
	e    encoding
	name string
	rows int  // results in the output, those of an earlier run too
	open bool // the head is written
	row  []byte
	done bool
}

// newStream goes on with an output that holds rows results already; with none,
// it begins one.
func newStream(w io.Writer, e encoding, name string, rows int) *stream {
	return &stream{w: bufio.NewWriterSize(w, 64<<10), e: e, name: name, rows: rows, open: rows > 0}
}

func (s *stream) Write(r Result) error {
	lead := s.e.later
	if s.rows == 0 {
		lead = s.e.first
	}
	row, err := s.e.add(append(s.row[:0], lead...), r)
	if err != nil {
		return err
	}
	// One result with a huge description must not hold its memory for ever.
	if s.row = row; cap(row) > 1<<20 {
		s.row = nil
	}
	s.begin()
	s.rows++
	_, err = s.w.Write(row)
	return s.failed(err)
}

// begin writes the head. An error stays with the buffer and shows at its next use.
func (s *stream) begin() {
	if !s.open {
		s.open = true
		_, _ = s.w.WriteString(s.e.head)
	}
}

func (s *stream) Flush() error {
	s.begin()
	return s.failed(s.w.Flush())
}

func (s *stream) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.begin()
	_, err := s.w.WriteString(s.e.tail)
	return s.failed(errors.Join(err, s.w.Flush()))
}

func (s *stream) failed(err error) error {
	if err == nil {
		return nil
	}
	return &WriteError{Name: s.name, Err: err}
}
