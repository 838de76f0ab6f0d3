// Rows of a CSV file, also as spreadsheets write them.

package portals

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// parseCSV reads a header and rows.
func parseCSV(data []byte) (rows []row, problems []Problem) {
	if first := bytes.TrimSpace(data)[0]; first == '{' || first == '[' {
		return nil, []Problem{{Line: 1, Text: "is not CSV but JSON; its name must end in .jsonl or .json"}}
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma = separator(data)
	r.FieldsPerRecord = -1 // counted below, where the reading can go on
	r.TrimLeadingSpace = r.Comma != '\t'
	header, err := r.Read()
	if err != nil {
		return nil, []Problem{csvProblem(err)}
	}
	line, _ := r.FieldPos(0)
	columns, problems := readHeader(header, line)
	if len(problems) > 0 {
		return nil, problems // what the rows hold is not known
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, problems
		}
		if err != nil {
			return rows, append(problems, csvProblem(err)) // where the next row begins is not known
		}
		line, _ := r.FieldPos(0)
		if strings.TrimSpace(strings.Join(record, "")) == "" {
			continue // spreadsheets leave empty rows
		}
		if len(record) != len(columns) {
			problems = append(problems, Problem{Line: line, Text: fmt.Sprintf("has %d values, the header %d", len(record), len(columns))})
			continue
		}
		values := make(map[string]string, len(columns))
		for i, c := range columns {
			values[c] = record[i]
		}
		rows = append(rows, row{line, values})
	}
}

// separator is the one of comma, semicolon and tab that the first line has most of.
func separator(data []byte) rune {
	first, _, _ := bytes.Cut(bytes.TrimLeft(data, "\r\n"), []byte("\n"))
	best := ','
	for _, c := range ";\t" {
		if bytes.Count(first, []byte(string(c))) > bytes.Count(first, []byte(string(best))) {
			best = c
		}
	}
	return best
}

// readHeader finds the field of each column.
func readHeader(header []string, line int) (columns []string, problems []Problem) {
	add := func(i int, text string) {
		problems = append(problems, Problem{Line: line, Field: fmt.Sprintf("column %d", i+1), Text: text})
	}
	for i, name := range header {
		field, problem := knownField(name)
		if problem != "" {
			add(i, problem)
		}
		for j, c := range columns {
			if field != "" && c == field {
				add(i, fmt.Sprintf("%s is column %d already", field, j+1))
			}
		}
		columns = append(columns, field)
	}
	if len(problems) == len(header) {
		return nil, []Problem{{Line: line, Text: "is not a header; the first line names the columns: " + strings.Join(fieldNames[:3], ",") + "…"}}
	}
	if slices.Contains(columns, "portal") {
		return columns, problems
	}
	return columns, append(problems, Problem{Line: line, Text: "has no column portal"})
}

// csvProblem says in words where the reader stopped.
func csvProblem(err error) Problem {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		return Problem{Text: err.Error()}
	}
	text := "cannot be read as CSV"
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		text = `has a stray quote; a value with " in it is written "like ""this"""`
	case errors.Is(err, csv.ErrQuote):
		text = `has a quote that is not closed, or text after it; a value with " in it is written "like ""this"""`
	}
	if p.StartLine != p.Line {
		text += fmt.Sprintf(" (noticed in line %d)", p.Line)
	}
	return Problem{Line: p.StartLine, Text: text + "; nothing after it was read"}
}
