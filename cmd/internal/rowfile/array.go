// A JSON array of objects, element by element. Where the text stops being JSON
// nothing after it can be trusted, so that ends the reading.

package rowfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// array reads [ element, element … ].
func (s *scan) array(r *bufio.Reader) error {
	line := 1
	first, err := skipSpace(r, &line)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if first == '{' {
		return s.fail(line, "", "begins with {, not with [: for one object a line give --input-format jsonl, else put the rows in [ ]")
	}
	if first != '[' {
		return s.fail(line, "", "is not a JSON array: it does not begin with [")
	}
	if _, err := r.Discard(1); err != nil {
		return err
	}
	a := arrayReader{scan: s, r: r, line: line}
	return a.elements()
}

type arrayReader struct {
	*scan
	r    *bufio.Reader
	line int
	buf  []byte
}

func (a *arrayReader) elements() error {
	for {
		c, err := a.next()
		if err != nil {
			return err
		}
		if c == ']' && a.number == 0 {
			return a.end()
		}
		if err := a.element(); err != nil || a.stopped {
			return err
		}
		if c, err = a.next(); err != nil {
			return err
		}
		if c == ']' {
			return a.end()
		}
		if c != ',' {
			return a.fail(a.line, "", "not valid JSON: between two rows stands something other than a comma")
		}
		if _, err := a.r.Discard(1); err != nil {
			return err
		}
	}
}

// next returns the first byte that is not space; there must be one.
func (a *arrayReader) next() (byte, error) {
	c, err := skipSpace(a.r, &a.line)
	if errors.Is(err, io.EOF) {
		return 0, a.fail(a.line, "", "ends before the array's closing ]")
	}
	return c, err
}

// end allows nothing but space after the array.
func (a *arrayReader) end() error {
	if _, err := a.r.Discard(1); err != nil {
		return err
	}
	_, err := skipSpace(a.r, &a.line)
	if err == nil {
		return a.fail(a.line, "", "something follows the array's closing ]")
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// element reads one element and hands on its row.
func (a *arrayReader) element() error {
	const keep = 1 << 20 // as in lineReader
	if cap(a.buf) > keep {
		a.buf = nil
	}
	a.buf = a.buf[:0]
	begin := a.line
	complete, err := a.collect()
	if err != nil {
		return err
	}
	if len(a.buf) == 0 {
		return a.fail(begin, "", "not valid JSON: a comma without a row after it, or a stray bracket")
	}
	if !utf8.Valid(a.buf) {
		return a.fail(begin, "", notUTF8)
	}
	if offset, err := syntaxError(a.buf); err != nil {
		at := begin + bytes.Count(a.buf[:offset], []byte("\n"))
		if !complete && offset == len(a.buf) {
			return a.fail(begin, "", tooLong)
		}
		return a.fail(at, "", err.Error())
	}
	row := Row{Line: begin}
	a.emit(&row, row.fill(a.buf))
	return nil
}

// collect appends the bytes of one element to buf, by its brackets and quotes
// alone. It reports false when it stopped at maxRow.
func (a *arrayReader) collect() (complete bool, err error) {
	depth, quoted, escaped := 0, false, false
	for len(a.buf) < maxRow {
		c, err := a.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped = c == '\\'
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == ']' || c == '}'):
			return true, a.r.UnreadByte()
		case c == '}' || c == ']':
			depth--
		}
		if c == '\n' {
			a.line++
		}
		a.buf = append(a.buf, c)
		if depth == 0 && (c == '}' || c == ']') && !quoted {
			return true, nil
		}
	}
	return false, nil
}
