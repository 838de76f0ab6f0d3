// How the commands of portals print what they find: JSON Lines, a JSON array,
// CSV or a table.

package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"botfleet/cmd/internal/report"
)

// record is one line of output. As JSON it is what it marshals to.
type record interface {
	csvCells() []string
	tableCells() []string
}

// layout names the columns of records.
type layout struct {
	csv, table []string
	none       string // what a table without lines says
}

// records writes records one after another. It is for one goroutine.
type records struct {
	layout

	format string
	name   string // of the destination, for errors
	w      *bufio.Writer
	table  *tabwriter.Writer
	file   *os.File // to be closed; nil for standard output
	n      int
}

// newRecords opens the destination that --output and --format ask for.
func (a *app) newRecords(l layout) (*records, error) {
	r := &records{layout: l, format: a.common.format, name: "standard output"}
	w := a.std.out
	if a.common.output == "" {
		r.format = a.stdoutFormat()
	} else if r.format == "" {
		r.format = formatOfName(a.common.output)
	}
	switch r.format {
	case report.JSONL, report.JSON, report.CSV, report.Table:
	default:
		return nil, &usageError{fmt.Sprintf("--format: unknown format %q; it is jsonl, json, csv or table", r.format)}
	}
	if a.common.output != "" {
		if err := r.create(a.common.output); err != nil {
			return nil, err
		}
		w = r.file
	}
	r.w = bufio.NewWriterSize(w, 64<<10)
	if r.format == report.Table {
		r.table = tabwriter.NewWriter(r.w, 0, 0, 2, ' ', 0)
	}
	return r, nil
}

func formatOfName(path string) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return report.CSV
	case ".json":
		return report.JSON
	}
	return report.JSONL
}

// create makes the output file. One that is there already, and may be the
// portals file itself, is left alone; a pipe or a device is written to.
func (r *records) create(path string) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		flags = os.O_WRONLY
	}
	f, err := os.OpenFile(path, flags, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("output %s: is there already; remove it, or name another file", path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("output %s: its folder does not exist", path)
	case err != nil:
		if inPath, ok := errors.AsType[*fs.PathError](err); ok {
			err = inPath.Err
		}
		return fmt.Errorf("output %s: %w", path, err)
	}
	r.file, r.name = f, path
	return nil
}

// write writes one record.
func (r *records) write(rec record) error {
	var err error
	switch r.format {
	case report.Table:
		if r.n == 0 {
			err = r.row(r.layout.table)
		}
		err = errors.Join(err, r.row(rec.tableCells()))
	case report.CSV:
		err = r.csvRow(r.n == 0, rec.csvCells())
	default:
		err = r.object(rec)
	}
	r.n++
	return r.failed(err)
}

func (r *records) row(cells []string) error {
	_, err := io.WriteString(r.table, strings.TrimRight(strings.Join(clean(cells), "\t"), "\t")+"\n")
	return err
}

func (r *records) csvRow(first bool, cells []string) error {
	w := csv.NewWriter(r.w)
	var err error
	if first {
		err = w.Write(r.layout.csv)
	}
	cells = clean(cells)
	for i, c := range cells {
		cells[i] = guarded(c)
	}
	err = errors.Join(err, w.Write(cells))
	w.Flush()
	return errors.Join(err, w.Error())
}

func (r *records) object(rec record) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(rec); err != nil {
		return err
	}
	text := line.Bytes()
	if r.format == report.JSON {
		text = bytes.TrimSuffix(text, []byte("\n"))
		lead := ",\n"
		if r.n == 0 {
			lead = "[\n"
		}
		if _, err := r.w.WriteString(lead); err != nil {
			return err
		}
	}
	_, err := r.w.Write(text)
	return err
}

// flush hands on what is held back; a table holds its lines back to the end.
func (r *records) flush() error { return r.failed(r.w.Flush()) }

// close ends the output.
func (r *records) close() error {
	var err error
	switch {
	case r.format == report.JSON && r.n == 0:
		_, err = r.w.WriteString("[]\n")
	case r.format == report.JSON:
		_, err = r.w.WriteString("\n]\n")
	case r.format == report.CSV && r.n == 0:
		_, err = r.w.WriteString(strings.Join(r.layout.csv, ",") + "\n")
	case r.format == report.Table && r.n == 0 && r.none != "":
		_, err = r.w.WriteString(r.none + "\n")
	case r.format == report.Table:
		err = r.table.Flush()
	}
	err = errors.Join(err, r.w.Flush())
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return r.failed(err)
}

func (r *records) failed(err error) error {
	if err == nil {
		return nil
	}
	return &report.WriteError{Name: r.name, Err: err}
}

func clean(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = report.Clean(c)
	}
	return out
}

// guarded keeps a spreadsheet from running a text that others wrote as a formula.
func guarded(cell string) string {
	if strings.IndexAny(cell, "=+-@") == 0 {
		return "'" + cell
	}
	return cell
}
