// JSON Lines: one object a line. A line that is broken costs only its own row.

package rowfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

func (s *scan) jsonl(r *bufio.Reader) error {
	lines := lineReader{r: r}
	for line := 1; ; line++ {
		text, err := lines.next()
		if errors.Is(err, errTooLong) {
			row := Row{Line: line}
			row.problem("", tooLong)
			if !s.emit(&row, false) {
				return nil
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		last := errors.Is(err, io.EOF)
		text = bytes.Trim(text, " \t\r\n")
		if len(text) > 0 {
			if err := s.jsonlRow(text, line); err != nil || s.stopped {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func (s *scan) jsonlRow(text []byte, line int) error {
	if !utf8.Valid(text) {
		return s.fail(line, "", notUTF8)
	}
	// Said once: a whole file in another format would be a problem per line.
	if s.number == 0 && text[0] == '[' {
		return s.fail(line, "", "begins with [: it is a JSON array; name it .json or give --input-format json")
	}
	if s.number == 0 && text[0] != '{' {
		return s.fail(line, "", "is not JSON Lines: a line is one object {…}")
	}
	row := Row{Line: line}
	if offset, err := syntaxError(text); err != nil {
		row.problem("", fmt.Sprintf("%s (at character %d)", err, utf8.RuneCount(text[:offset])+1))
		s.emit(&row, false)
		return nil
	}
	s.emit(&row, row.fill(text))
	return nil
}

// syntaxError returns where and why a text is not one JSON value. The offset
// is that of the first byte that does not fit.
func syntaxError(text []byte) (offset int, err error) {
	if json.Valid(text) {
		return 0, nil
	}
	var raw json.RawMessage
	err = json.Unmarshal(text, &raw)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return 0, errors.New("not valid JSON")
	}
	if int(syntax.Offset) >= len(text) && syntax.Error() == "unexpected end of JSON input" {
		return len(text), errors.New("not valid JSON: it ends before its last bracket or quote")
	}
	return min(max(int(syntax.Offset)-1, 0), len(text)), fmt.Errorf("not valid JSON: %w", syntax)
}

var errTooLong = errors.New(tooLong)

// lineReader reads lines of any length up to maxRow.
type lineReader struct {
	r   *bufio.Reader
	buf []byte
}

// next returns a line, valid until the next call. With io.EOF it may return
// the last line. Of a line over maxRow nothing is kept: errTooLong.
func (l *lineReader) next() ([]byte, error) {
	text, err := l.r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, err
	}
	// One huge line must not hold its memory for the rest of the file.
	const keep = 1 << 20
	if cap(l.buf) > keep {
		l.buf = nil
	}
	l.buf = append(l.buf[:0], text...)
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		text, err = l.r.ReadSlice('\n')
		if long = long || len(l.buf)+len(text) > maxRow; !long {
			l.buf = append(l.buf, text...)
		}
	}
	if long && (err == nil || errors.Is(err, io.EOF)) {
		return nil, errTooLong
	}
	return l.buf, err
}
