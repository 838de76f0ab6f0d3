// One bot without a portal: the file of --bot.

package rowfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"

	"botfleet/bitrix"
)

// LoadBot reads the one JSON object of a file: a row without portal and id.
// Its error joins an [*Error] for each thing wrong with how it is written.
func LoadBot(path string) (bitrix.Bot, error) {
	text, line, err := readObject(path)
	if err != nil {
		return bitrix.Bot{}, err
	}
	fail := func(field, problem string) error {
		return &Error{File: path, Line: line, Field: field, Problem: problem}
	}
	var row Row
	if !row.fill(text) {
		return bitrix.Bot{}, fail("", "is "+kindOf(text)+"; a bot is one object {…}")
	}
	for _, i := range []int{fieldPortal, fieldID} {
		if *fields[i].at(&row) != "" {
			row.problem(fields[i].name, "has no place here: the bot is for every portal")
		}
	}
	row.completePhoto(newPhotos(filepath.Dir(path)))
	var all []error
	for _, p := range row.Problems {
		all = append(all, fail(p.Field, p.Problem))
	}
	return row.Bot, errors.Join(all...)
}

// readObject returns the JSON value of a file, found valid, and its line.
func readObject(path string) ([]byte, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, cannotRead(path, err)
	}
	text, err := readWhole(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, cannotRead(path, err)
	}
	begin := len(text) - len(bytes.TrimLeft(text, " \t\r\n"))
	line := 1 + bytes.Count(text[:begin], []byte("\n"))
	text = bytes.TrimSpace(text[begin:])
	switch {
	case len(text) == 0:
		return nil, 0, &Error{File: path, Problem: "is empty; it should hold one object {…}"}
	case len(text) > maxRow:
		return nil, 0, &Error{File: path, Problem: tooLong}
	case !utf8.Valid(text):
		return nil, 0, &Error{File: path, Problem: notUTF8}
	}
	if offset, err := syntaxError(text); err != nil {
		return nil, 0, &Error{File: path, Line: line + bytes.Count(text[:offset], []byte("\n")), Problem: err.Error(), Err: err}
	}
	return text, line, nil
}

func readWhole(r io.Reader) ([]byte, error) {
	text, err := textOf(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(text, maxRow+1))
}
