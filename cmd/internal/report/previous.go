// Reading results that an earlier run wrote, perhaps up to the middle of one.

package report

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxResult bounds one result when reading. Ours have a few kilobytes at most.
const maxResult = 1 << 20

var errNoResult = errors.New("not a result")

// previousResults goes through results in a format. An interrupted last result
// is left out; anything else that is no result is an error, which ends it.
func previousResults(r io.Reader, format string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		var err error
		in := bufio.NewReaderSize(r, 64<<10)
		give := func(r Result) bool { return yield(r, nil) }
		switch format {
		case CSV:
			err = previousCSV(in, give)
		case JSON:
			err = previousArray(in, give)
		default:
			err = previousLines(in, give)
		}
		if err != nil {
			yield(Result{}, err)
		}
	}
}

func previousLines(r *bufio.Reader, give func(Result) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxResult)
	lines.Split(wholeLines)
	for n := 1; lines.Scan(); n++ {
		text, ended := bytes.CutSuffix(lines.Bytes(), []byte("\n"))
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		result, err := parseJSONResult(text)
		if err != nil && !ended && (n > 1 || beginsResult(text)) {
			return nil // the half line that the interruption left
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if !give(result) {
			return nil
		}
	}
	return lines.Err()
}

// wholeLines is bufio.ScanLines that keeps the line's end, so that a line
// without one shows.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// beginsResult tells whether a text could be the first bytes of a result of ours.
func beginsResult(text []byte) bool {
	const begin = `{"row":`
	n := min(len(text), len(begin))
	return string(text[:n]) == begin[:n]
}

func previousArray(r *bufio.Reader, give func(Result) bool) error {
	in := json.NewDecoder(r)
	first, err := in.Token()
	if err == io.EOF {
		return nil // nothing but space
	}
	if err != nil || first != json.Delim('[') {
		return errors.New("not a JSON array")
	}
	for n := 1; in.More(); n++ {
		var result Result
		err := in.Decode(&result)
		if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
			return nil // interrupted
		}
		if err != nil || result.check() != nil {
			return fmt.Errorf("element %d: %w", n, errNoResult)
		}
		if !give(result) {
			return nil
		}
	}
	if _, err = in.Token(); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // without its end
	}
	if err != nil {
		return err
	}
	if _, err = in.Token(); err != io.EOF {
		return errors.New("something follows the array")
	}
	return nil
}

func parseJSONResult(text []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return Result{}, errNoResult
	}
	return r, r.check()
}

// check tells results from other JSON objects, rows of input for example.
func (r Result) check() error {
	if r.Row < 1 || !r.Status.known() {
		return errNoResult
	}
	return nil
}

// previousCSV gives a record when the next one, or the file's end after a line
// end, shows that it is whole.
func previousCSV(r *bufio.Reader, give func(Result) bool) error {
	head, err := r.Peek(len(csvHeader))
	if err != nil && err != io.EOF {
		return err
	}
	if len(head) < len(csvHeader) && strings.HasPrefix(csvHeader, string(head)) {
		return nil // interrupted within the header
	}
	end := &lastByte{r: r}
	in := csv.NewReader(end)
	in.FieldsPerRecord = -1
	header, err := in.Read()
	if err != nil || !slices.Equal(header, csvColumns) && !slices.Equal(header, firstColumns) {
		return errors.New("its first line is not the header of results")
	}
	var held []string
	for {
		cells, err := in.Read()
		whole := err == nil || end.last == '\n'
		if held != nil && (whole || err != io.EOF) {
			result, wrong := parseCSVResult(held)
			if wrong != nil {
				return wrong
			}
			if !give(result) {
				return nil
			}
		}
		if err == nil {
			held = cells
			continue
		}
		if err == io.EOF {
			return nil
		}
		// What is broken at the end is what the interruption left.
		if _, after := in.Read(); after == io.EOF {
			return nil
		}
		return err
	}
}

// lastByte remembers the last byte that was read.
type lastByte struct {
	r    io.Reader
	last byte
}

func (l *lastByte) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.last = p[n-1]
	}
	return n, err
}

func readCSVResult(r io.Reader) (Result, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	cells, err := in.Read()
	if err != nil {
		return Result{}, err
	}
	return parseCSVResult(cells)
}

// parseCSVResult is the inverse of appendCSV for registered rows; of the others
// it takes the flat columns only.
func parseCSVResult(cells []string) (Result, error) {
	if len(cells) != len(csvColumns) && len(cells) != len(firstColumns) {
		return Result{}, errNoResult
	}
	p := cellParser{cells: cells}
	r := Result{
		Row: int(p.number(0)), ID: bare(cells[1]), Portal: bare(cells[2]), Code: bare(cells[3]), Status: Status(cells[4]),
		BotID: p.number(5), Existed: p.truth(6), How: bare(cells[7]), Attempts: int(p.number(8)),
		QueuedAt: p.stamp(9), DoneAt: p.stamp(10), Class: bare(cells[11]),
	}
	if cells[12] != "" || cells[13] != "" {
		r.Error = &Failure{Code: bare(cells[12]), Description: bare(cells[13])}
	}
	if cells[15] != "" {
		r.Of = &Ref{Run: bare(cells[15]), Row: int(p.number(16))}
	}
	if len(cells) == len(csvColumns) && cells[19] != "" {
		r.Retried = &Retried{Reason: bare(cells[17]), At: p.stamp(18), Times: int(p.number(19))}
	}
	if p.failed || r.check() != nil {
		return Result{}, fmt.Errorf("a row of %d cells: %w", len(cells), errNoResult)
	}
	return r, nil
}

// cellParser reads cells and remembers whether one was wrong.
type cellParser struct {
	cells  []string
	failed bool
}

func (p *cellParser) number(i int) int64 {
	if p.cells[i] == "" {
		return 0
	}
	n, err := strconv.ParseInt(p.cells[i], 10, 64)
	p.failed = p.failed || err != nil
	return n
}

func (p *cellParser) truth(i int) *bool {
	if p.cells[i] == "" {
		return nil
	}
	b, err := strconv.ParseBool(p.cells[i])
	p.failed = p.failed || err != nil
	return &b
}

func (p *cellParser) stamp(i int) time.Time {
	if p.cells[i] == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, p.cells[i])
	p.failed = p.failed || err != nil
	return t
}
