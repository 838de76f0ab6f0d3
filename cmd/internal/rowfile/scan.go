// One reading of a source: what the formats share.

package rowfile

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// scan is one reading. The formats find rows and give them to emit; an error
// they return ends the reading.
type scan struct {
	name    string
	photos  *photos
	yield   func(Row, error) bool
	bare    bool // rows have no portal
	number  int  // rows so far
	stopped bool // no more rows: the reader of the rows wants none, or see wrong
	left    bool // the reader of the rows wants none
	numbers numbers
	wrong   error // what is wrong with a row's number, after which none can be trusted
}

func (s *scan) run(in io.Reader, format string) error {
	text, err := textOf(in)
	if err != nil {
		return err
	}
	switch format {
	case JSONL:
		err = s.jsonl(text)
	case JSON:
		err = s.array(text)
	default:
		err = s.csv(text)
	}
	if s.wrong != nil {
		return s.wrong
	}
	if err == nil && s.number == 0 && !s.stopped {
		err = &Error{File: s.name, Problem: "holds no rows"}
	}
	return err
}

// emit completes a row and hands it on. It reports whether to go on.
func (s *scan) emit(row *Row, readable bool) bool {
	s.number++
	if s.wrong = s.settleNumber(row, readable); s.wrong != nil {
		s.stopped = true
		return false
	}
	if readable {
		row.complete(s.photos, s.bare)
	}
	s.left = !s.yield(*row, nil)
	s.stopped = s.left
	return !s.stopped
}

// complete does what needs the row's fields all read: the portal's form, and
// the photo's file.
func (r *Row) complete(p *photos, bare bool) {
	r.completePhoto(p)
	if bare {
		r.refusePortal()
		return
	}
	given := r.Portal
	if strings.TrimSpace(given) == "" {
		r.Portal = ""
		if !r.hasProblem(fields[fieldPortal].name) {
			r.problem(fields[fieldPortal].name, "missing")
		}
		return
	}
	portal, err := normalPortal(given)
	r.Portal = portal
	if err != nil {
		r.problem(fields[fieldPortal].name, err.Error())
	}
}

// completePhoto puts a photo's content in the place of its @path.
func (r *Row) completePhoto(p *photos) {
	path, isFile := strings.CutPrefix(r.Bot.Properties.PersonalPhoto, "@")
	if !isFile {
		return
	}
	content, problem := p.load(path)
	r.Bot.Properties.PersonalPhoto = content
	if problem != "" {
		r.problem(photoField, problem)
	}
}

func (r *Row) hasProblem(field string) bool {
	for _, p := range r.Problems {
		if p.Field == field {
			return true
		}
	}
	return false
}

// set gives a field its value. seen has a bit for each field given so far.
func (r *Row) set(i int, value string, seen *uint32) {
	if !r.claim(i, seen) {
		return
	}
	if strings.IndexByte(value, 0) >= 0 {
		r.problem(fields[i].name, "holds a NUL character")
		return
	}
	*fields[i].at(r) = value
}

// claim notes that a field was given, and refuses it the second time.
func (r *Row) claim(i int, seen *uint32) bool {
	if *seen&(1<<i) != 0 {
		r.problem(fields[i].name, "given twice")
		return false
	}
	*seen |= 1 << i
	return true
}

// fail is an Error at a line of this source.
func (s *scan) fail(line int, field, problem string) error {
	return &Error{File: s.name, Line: line, Field: field, Problem: problem}
}

// asError makes the package's own error of whatever ended the reading.
func (s *scan) asError(err error) error {
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, errUTF16):
		return &Error{File: s.name, Problem: utf16, Err: err}
	default:
		return cannotRead(s.name, err)
	}
}

// skipSpace passes JSON's white space, counting lines, and returns the first
// byte after it, which stays unread.
func skipSpace(r *bufio.Reader, line *int) (byte, error) {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case '\n':
			*line++
		case ' ', '\t', '\r':
		default:
			return c, r.UnreadByte()
		}
	}
}
