// The forms of results that programs read: JSON Lines, a JSON array, CSV. Each
// is one way to append a result to bytes, so that streams and files share it.

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"botfleet/bitrix"
)

// The formats, as --format names them.
const (
	JSONL = "jsonl"
	JSON  = "json"
	CSV   = "csv"
	Table = "table"
)

// encoding is how results follow each other in one format.
type encoding struct {
	head  string // before everything
	first string // before the first result
	later string // before each further result
	tail  string // after everything
	add   func(dst []byte, r Result) ([]byte, error)
}

func encodingOf(format string) (encoding, error) {
	switch format {
	case JSONL:
		return encoding{add: func(dst []byte, r Result) ([]byte, error) {
			dst, err := appendJSON(dst, r)
			return append(dst, '\n'), err
		}}, nil
	case JSON:
		return encoding{head: "[", first: "\n", later: ",\n", tail: "\n]\n", add: appendJSON}, nil
	case CSV:
		return encoding{head: csvHeader, add: appendCSV}, nil
	}
	return encoding{}, fmt.Errorf("unknown format %q; it is jsonl, json, csv or table", format)
}

// appendJSON appends a result as one line of JSON. Characters that steer
// terminals are escaped, which encoding/json does for the ASCII ones only.
func appendJSON(dst []byte, r Result) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	begin := len(dst)
	if err := encoder.Encode(r.settled()); err != nil {
		return dst, fmt.Errorf("write the result of row %d: %w", r.Row, err)
	}
	out := buf.Bytes()
	out = out[:len(out)-1] // Encode's own line end
	if isPlain(out[begin:]) {
		return out, nil
	}
	return append(out[:begin], escapeSteering(string(out[begin:]))...), nil
}

// isPlain tells that a text is printable ASCII, the usual case.
func isPlain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

func escapeSteering(text string) string {
	var b strings.Builder
	for _, r := range text {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// csvColumns are the columns of a CSV of results, in order.
var csvColumns = []string{"row", "id", "portal", "code", "status", "bot_id", "existed", "how", "attempts",
	"queued_at", "done_at", "class", "error_code", "error_description", "errors", "of_run", "of_row",
	"retried_reason", "retried_at", "retried_times"}

// firstColumns are those that files of before retries have.
var firstColumns = csvColumns[:17]

var csvHeader = strings.Join(csvColumns, ",") + "\n"

// appendCSV appends a result as one CSV record. Texts that a spreadsheet would
// run as a formula (first character = + - @, tab or CR) get an apostrophe in
// front; so does one that already looks like that, to be undone by bare.
func appendCSV(dst []byte, r Result) ([]byte, error) {
	r = r.settled()
	cells := []string{
		strconv.Itoa(r.Row), guarded(r.ID), guarded(r.Portal), guarded(r.Code), guarded(string(r.Status)),
		number(r.BotID), truth(r.Existed), guarded(r.How), number(int64(r.Attempts)), stamp(r.QueuedAt), stamp(r.DoneAt),
		guarded(Clean(r.Class)), "", "", guarded(Clean(joinProblems(r.Errors))), "", "", "", "", "",
	}
	if r.Error != nil {
		cells[12], cells[13] = guarded(Clean(r.Error.Code)), guarded(Clean(r.Error.Description))
	}
	if r.Of != nil {
		cells[15], cells[16] = guarded(r.Of.Run), strconv.Itoa(r.Of.Row)
	}
	if r.Retried != nil {
		cells[17], cells[18], cells[19] = guarded(Clean(r.Retried.Reason)), stamp(r.Retried.At), strconv.Itoa(r.Retried.Times)
	}
	for i, cell := range cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCell(dst, cell)
	}
	return append(dst, '\n'), nil
}

func appendCell(dst []byte, cell string) []byte {
	if !utf8.ValidString(cell) {
		cell = strings.ToValidUTF8(cell, "�")
	}
	if !strings.ContainsAny(cell, ",;\"\n\r\t") && (cell == "" || cell[0] != ' ') {
		return append(dst, cell...)
	}
	dst = append(dst, '"')
	for i := range len(cell) {
		if cell[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, cell[i])
	}
	return append(dst, '"')
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func truth(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// joinProblems makes one text of a refused row's problems.
func joinProblems(problems []bitrix.Problem) string {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = fmt.Sprintf("%s: %s (%s)", p.Field, p.Problem, p.Code)
		if p.Field == "" {
			texts[i] = fmt.Sprintf("%s (%s)", p.Problem, p.Code)
		}
	}
	return strings.Join(texts, "; ")
}

// isFormula tells whether a spreadsheet would run a cell, were the apostrophes
// at its front taken away.
func isFormula(s string) bool {
	s = strings.TrimLeft(s, "'")
	return s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0
}

func guarded(s string) string {
	if isFormula(s) {
		return "'" + s
	}
	return s
}

// bare undoes guarded.
func bare(s string) string {
	if isFormula(s) {
		return strings.TrimPrefix(s, "'")
	}
	return s
}
