// CSV with a header, as spreadsheets write it.

package rowfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is the reading of one CSV source.
type table struct {
	*scan
	csv     *csv.Reader
	guard   *guard
	header  []string
	columns []int // the field of each column, or passed, or numbered
	next    int   // the line after the last record
}

func (s *scan) csv(r *bufio.Reader) error {
	head, _ := r.Peek(r.Size()) // what is there; an error comes again at reading
	head = bytes.TrimLeft(head, "\r\n")
	if json := bytes.TrimSpace(head); len(json) > 0 && (json[0] == '{' || json[0] == '[') {
		return s.fail(1, "", "is JSON, not CSV; name it .jsonl or .json, or give --input-format")
	}
	g := &guard{r: r}
	c := csv.NewReader(g)
	var declared bool
	if c.Comma, declared = declaredSeparator(head); !declared {
		c.Comma = separator(head)
	}
	c.FieldsPerRecord = -1 // told with words of our own, row by row
	c.ReuseRecord = true
	t := &table{scan: s, csv: c, guard: g, next: 1}
	if declared {
		if _, err := c.Read(); err != nil {
			return t.broken(err)
		}
	}
	if err := t.readHeader(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	return t.rows()
}

// declaredSeparator is what a first line such as "sep=;" says, which
// spreadsheets read, and some write.
func declaredSeparator(head []byte) (r rune, ok bool) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.Trim(bytes.TrimRight(line, "\r"), `"`)
	const say = "sep="
	if len(line) != len(say)+1 || !bytes.EqualFold(line[:len(say)], []byte(say)) || !bytes.ContainsAny(line[len(say):], ";,\t|:") {
		return 0, false
	}
	return rune(line[len(say)]), true
}

// separator is whichever of ; tab and comma the header has most of, outside quotes.
func separator(head []byte) rune {
	count := map[byte]int{}
	quoted := false
	for _, c := range head {
		if c == '\n' && !quoted {
			break
		}
		if c == '"' {
			quoted = !quoted
		} else if !quoted {
			count[c]++
		}
	}
	best := byte(',')
	for _, c := range []byte(";\t") {
		if count[c] > count[best] {
			best = c
		}
	}
	return rune(best)
}

func (t *table) readHeader() error {
	cells, err := t.csv.Read()
	if err != nil {
		return t.broken(err)
	}
	t.header = append([]string(nil), cells...)
	line, _ := t.csv.FieldPos(0)
	var seen uint32
	for i, cell := range t.header {
		name := strings.TrimSpace(cell)
		t.header[i] = name
		if !utf8.ValidString(name) {
			return t.fail(line, "", notUTF8)
		}
		column, err := columnOf(name, i, &seen)
		if err != nil {
			return t.fail(line, named(name), err.Error())
		}
		t.columns = append(t.columns, column)
	}
	for _, needed := range []int{fieldPortal, fieldCode} {
		if seen&(1<<needed) == 0 && !(t.bare && needed == fieldPortal) {
			return t.fail(line, fields[needed].name, "column missing")
		}
	}
	t.advance(cells)
	return nil
}

// columnOf finds the field of a column.
func columnOf(name string, i int, seen *uint32) (int, error) {
	if name == "" {
		return 0, fmt.Errorf("column %d has no name", i+1)
	}
	column := lookup([]byte(name))
	switch {
	case column == unknown:
		return 0, errors.New(unknownKey(name, ""))
	case column == nested:
		return 0, errors.New("give its fields as columns of their own, such as PROPERTIES.NAME")
	case column == passed:
		return passed, nil
	case column == numbered && *seen&numberSeen != 0:
		return 0, errors.New("column given twice")
	case column == numbered:
		*seen |= numberSeen
		return numbered, nil
	case *seen&(1<<column) != 0:
		return 0, errors.New("column given twice")
	}
	*seen |= 1 << column
	return column, nil
}

func (t *table) rows() error {
	for {
		t.guard.used = 0
		cells, err := t.csv.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return t.broken(err)
		}
		if !isBlank(cells) {
			if err := t.row(cells); err != nil || t.stopped {
				return err
			}
		}
		t.advance(cells)
	}
}

func (t *table) row(cells []string) error {
	line, _ := t.csv.FieldPos(0)
	row := Row{Line: line}
	var seen uint32
	for i, cell := range cells {
		if i >= len(t.columns) {
			t.surplus(&row, cells)
			break
		}
		if cell == "" || t.columns[i] == passed {
			continue
		}
		if !utf8.ValidString(cell) {
			at, _ := t.csv.FieldPos(i)
			return t.fail(at, t.header[i], notUTF8)
		}
		if t.columns[i] == numbered {
			row.number(cell)
			continue
		}
		// A copy: the cells of a row share their memory, and a kept portal must
		// not keep a photo alive.
		row.set(t.columns[i], strings.Clone(cell), &seen)
	}
	t.emit(&row, true)
	return nil
}

// surplus tells of cells beyond the header. Spreadsheets add empty ones.
func (t *table) surplus(row *Row, cells []string) {
	if !isBlank(cells[len(t.columns):]) {
		row.problem("", fmt.Sprintf("has %d cells, but the header has %d; is a separator inside a cell without quotes?", len(cells), len(t.columns)))
	}
}

func isBlank(cells []string) bool {
	for _, c := range cells {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// advance notes where the record ends, for an error that has no line of its own.
func (t *table) advance(cells []string) {
	last := len(cells) - 1
	line, _ := t.csv.FieldPos(last)
	t.next = line + strings.Count(cells[last], "\n") + 1
}

// broken says why the text stops being CSV, and where.
func (t *table) broken(err error) error {
	var parse *csv.ParseError
	switch {
	case errors.Is(err, errTooLong):
		return t.fail(t.next, "", "is longer than 16 MB; is a quote left open? (Give photos as @file)")
	case !errors.As(err, &parse): // io.EOF too
		return err
	case errors.Is(err, csv.ErrBareQuote):
		return t.fail(parse.Line, "", `stray quote in a cell; put the whole cell in quotes and double each quote inside it`)
	case parse.Line != parse.StartLine:
		return t.fail(parse.StartLine, "", fmt.Sprintf("a quoted cell that begins in this row is not closed rightly (read up to line %d)", parse.Line))
	default:
		return t.fail(parse.Line, "", `stray or missing quote at a quoted cell; double each quote inside it`)
	}
}

// guard bounds what csv.Reader reads for one record: an open quote would
// otherwise take in the rest of the file.
type guard struct {
	r    io.Reader
	used int // since the last record
}

func (g *guard) Read(p []byte) (int, error) {
	if g.used > maxRow {
		return 0, errTooLong
	}
	n, err := g.r.Read(p)
	g.used += n
	return n, err
}
