// Reading a portals file: its kind, its encoding, and what its rows say together.

package portals

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"botfleet/bitrix"
)

// Format is how a portals file is written.
type Format string

const (
	CSV       Format = "csv"   // with a header; comma, semicolon or tab
	JSONLines Format = "jsonl" // one object a line
	JSON      Format = "json"  // an array of objects
)

// maxFileBytes bounds a portals file: some 300,000 portals with every field.
const maxFileBytes = 128 << 20

// ReadFile reads the portals of a .csv, .jsonl, .ndjson or .json file. It is
// all or nothing: [*FileError] names everything that is wrong. Whether a
// portal's address may be called is decided by endpoints.
func ReadFile(path string, endpoints bitrix.Endpoints) ([]Entry, error) {
	format, err := formatOf(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("portals file %s: %w", path, cause(err))
	}
	defer func() { _ = f.Close() }() // only read from
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("portals file %s: is a directory", path)
	}
	return Read(f, format, path, endpoints)
}

// cause is a file error without its operation and path.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func formatOf(path string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".csv":
		return CSV, nil
	case ".jsonl", ".ndjson":
		return JSONLines, nil
	case ".json":
		return JSON, nil
	}
	return "", fmt.Errorf("portals file %s: its name must end in .csv, .jsonl, .ndjson or .json", path)
}

// Read is [ReadFile] for what is open already; name is its name in messages.
func Read(r io.Reader, format Format, name string, endpoints bitrix.Endpoints) ([]Entry, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("portals file %s: %w", name, cause(err))
	}
	data, problem := decode(data)
	if problem != nil {
		problem.File = name
		return nil, &FileError{[]Problem{*problem}}
	}
	rows, problems := parse(data, format)
	for i := range problems {
		problems[i].File = name
	}
	entries := make([]Entry, 0, len(rows))
	for _, row := range rows {
		e, wrong := row.entry(name, endpoints)
		entries = append(entries, e)
		problems = append(problems, wrong...)
	}
	problems = append(problems, repeats(entries)...)
	if len(problems) == 0 && len(entries) == 0 {
		problems = []Problem{{File: name, Text: "holds no portal"}}
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, byLine)
		return nil, &FileError{problems}
	}
	return entries, nil
}

func parse(data []byte, format Format) ([]row, []Problem) {
	switch {
	case format == CSV:
		return parseCSV(data)
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")):
		return parseArray(data)
	case format == JSON:
		return nil, []Problem{{Line: 1, Text: "is not a JSON array of objects; one object a line goes into a .jsonl file"}}
	}
	return parseLines(data)
}

// decode checks size and encoding and drops a byte order mark.
func decode(data []byte) ([]byte, *Problem) {
	switch {
	case len(data) > maxFileBytes:
		return nil, &Problem{Text: fmt.Sprintf("is larger than %d MB; split it", maxFileBytes>>20)}
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")), len(data) > 1 && (data[0] == 0 || data[1] == 0):
		return nil, &Problem{Text: "is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &Problem{Text: "is empty"}
	}
	if !utf8.Valid(data) {
		line := 1
		for part := range bytes.Lines(data) {
			if !utf8.Valid(part) {
				break
			}
			line++
		}
		return nil, &Problem{Line: line, Text: "is not UTF-8; save the file as UTF-8"}
	}
	return data, nil
}

// repeats finds portals given twice, by name or by member_id.
func repeats(entries []Entry) (problems []Problem) {
	names, members := make(map[string]int), make(map[string]int)
	for i := range entries {
		e := &entries[i]
		check := func(seen map[string]int, field, key string) {
			if key == "" {
				return
			}
			if first, ok := seen[key]; ok {
				problems = append(problems, Problem{e.File, e.Line, field, "is the same as " + entries[first].place(first)})
				return
			}
			seen[key] = i
		}
		if nameProblem(e.Name) == "" {
			check(names, "portal", e.Name)
		}
		check(members, "member_id", strings.ToLower(e.MemberID))
	}
	return problems
}

// place names an entry for a message about another one.
func (e *Entry) place(index int) string {
	if e.Line > 0 {
		return fmt.Sprintf("in line %d", e.Line)
	}
	return fmt.Sprintf("of portal number %d", index+1)
}
