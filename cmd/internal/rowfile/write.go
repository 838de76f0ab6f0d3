// Writing rows in the form in which they are read.

package rowfile

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"botfleet/bitrix"
)

// Note says what became of an exported row. It stands beside the row for a
// person to read; reading the file passes it over.
type Note struct {
	Class       string
	Code        string
	Description string
}

// Writer writes rows that read back the same, byte for byte: mended, they can be
// submitted again. A row's number is written when it is not 0.
type Writer struct {
	write func(Row, *Note) error
	close func() error
}

// NewWriter writes rows to w, as jsonl, json or csv. Writes to w are as large as
// the format's own pieces; give it a buffer.
func NewWriter(w io.Writer, format string) (*Writer, error) {
	switch format {
	case JSONL:
		return newJSONWriter(w, "", "", ""), nil
	case JSON:
		return newJSONWriter(w, "[\n", ",", "]\n"), nil
	case CSV:
		return newCSVWriter(w)
	}
	return nil, fmt.Errorf("rows are exported as jsonl, json or csv, not as %q", format)
}

// Write writes a row, and beside it what went wrong, unless note is nil.
func (w *Writer) Write(row Row, note *Note) error { return w.write(row, note) }

// Close writes what is still held back. It does not close what is below.
func (w *Writer) Close() error { return w.close() }

// exported is a row as JSON has it.
type exported struct {
	Number int    `json:"row,omitempty"`
	Portal string `json:"portal"`
	ID     string `json:"id,omitempty"`
	bitrix.Bot
	Class string         `json:"class,omitempty"`
	Error *exportedError `json:"error,omitempty"`
}

type exportedError struct {
	Code        string `json:"code,omitempty"`
	Description string `json:"description,omitempty"`
}

// newJSONWriter writes objects with something before, between and after them.
func newJSONWriter(w io.Writer, before, between, after string) *Writer {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // & in a URL is for people to read
	lead := before
	write := func(row Row, note *Note) error {
		if _, err := io.WriteString(w, lead); err != nil {
			return err
		}
		lead = between
		e := exported{Number: row.Number, Portal: row.Portal, ID: row.ID, Bot: row.Bot}
		if note != nil {
			e.Class, e.Error = note.Class, &exportedError{note.Code, note.Description}
		}
		return encoder.Encode(e)
	}
	finish := func() error {
		if lead == before {
			after = before + after
		}
		_, err := io.WriteString(w, after)
		return err
	}
	return &Writer{write: write, close: finish}
}

func newCSVWriter(w io.Writer) (*Writer, error) {
	out := csv.NewWriter(w)
	header := []string{keyRow}
	for _, f := range fields {
		header = append(header, f.name)
	}
	header = append(header, keyClass, keyErrorCode, keyErrorDescription)
	if err := out.Write(header); err != nil {
		return nil, err
	}
	cells := make([]string, len(header))
	write := func(row Row, note *Note) error {
		cells[0] = ""
		if row.Number != 0 {
			cells[0] = strconv.Itoa(row.Number)
		}
		for i, f := range fields {
			cells[1+i] = keptBreaks(*f.at(&row))
		}
		if note == nil {
			note = new(Note)
		}
		copy(cells[1+len(fields):], []string{harmless(note.Class), harmless(note.Code), harmless(note.Description)})
		return out.Write(cells)
	}
	finish := func() error {
		out.Flush()
		return out.Error()
	}
	return &Writer{write: write, close: finish}, nil
}

// keptBreaks keeps a line break CR LF inside a value: readers of CSV, ours too,
// take the CR before a LF for the file's own, once.
func keptBreaks(s string) string { return strings.ReplaceAll(s, "\r\n", "\r\r\n") }

// harmless keeps a portal's text from running as a formula in a spreadsheet,
// with the apostrophe that spreadsheets themselves use. The row's own values
// are the user's and must come back as they are.
func harmless(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
