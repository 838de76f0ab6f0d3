// Writing rows in the form in which they are read.

package rowfile

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"botfleet/bitrix"
)

// Note says what became of an exported row. It stands beside the row for a
// person to read; reading the file passes it over.
type Note struct {
	Class       string `json:"class,omitempty"`
	Code        string `json:"code,omitempty"`
	Description string `json:"description,omitempty"`
}

// Writer writes rows that read back the same: mended, they can be submitted
// again. In CSV alone, a line break CR LF inside a value comes back as LF.
type Writer struct {
	write func(Row, *Note) error
	close func() error
}

// NewWriter writes rows to w, as jsonl or csv. Writes to w are as large as the
// format's own pieces; give it a buffer.
func NewWriter(w io.Writer, format string) (*Writer, error) {
	switch format {
	case JSONL:
		return newJSONLWriter(w), nil
	case CSV:
		return newCSVWriter(w)
	}
	return nil, fmt.Errorf("rows are exported as jsonl or csv, not as %q", format)
}

// Write writes a row, and beside it what went wrong, unless note is nil.
func (w *Writer) Write(row Row, note *Note) error { return w.write(row, note) }

// Close writes what is still held back. It does not close what is below.
func (w *Writer) Close() error { return w.close() }

func newJSONLWriter(w io.Writer) *Writer {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // & in a URL is for people to read
	write := func(row Row, note *Note) error {
		return encoder.Encode(struct {
			Portal string `json:"portal"`
			ID     string `json:"id,omitempty"`
			bitrix.Bot
			Error *Note `json:"error,omitempty"`
		}{row.Portal, row.ID, row.Bot, note})
	}
	return &Writer{write: write, close: func() error { return nil }}
}

func newCSVWriter(w io.Writer) (*Writer, error) {
	out := csv.NewWriter(w)
	header := make([]string, 0, len(fields)+3)
	for _, f := range fields {
		header = append(header, f.name)
	}
	header = append(header, keyErrorClass, keyErrorCode, keyErrorDescription)
	if err := out.Write(header); err != nil {
		return nil, err
	}
	cells := make([]string, len(header))
	write := func(row Row, note *Note) error {
		for i, f := range fields {
			cells[i] = *f.at(&row)
		}
		if note == nil {
			note = new(Note)
		}
		copy(cells[len(fields):], []string{harmless(note.Class), harmless(note.Code), harmless(note.Description)})
		return out.Write(cells)
	}
	finish := func() error {
		out.Flush()
		return out.Error()
	}
	return &Writer{write: write, close: finish}, nil
}

// harmless keeps a portal's text from running as a formula in a spreadsheet,
// with the apostrophe that spreadsheets themselves use. The row's own values
// are the user's and must come back as they are.
func harmless(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
