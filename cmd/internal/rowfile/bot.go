// One bot without a portal: the file of --bot.

package rowfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	row.refusePortal()
	if row.Number != 0 {
		row.problem(keyRow, "has no place here: the bot is for every portal")
	}
	row.completePhoto(newPhotos(filepath.Dir(path)))
	var all []error
	for _, p := range row.Problems {
		all = append(all, fail(p.Field, p.Problem))
	}
	return row.Bot, errors.Join(all...)
}

// refusePortal finds what a row without portal must not have.
func (r *Row) refusePortal() {
	for _, i := range []int{fieldPortal, fieldID} {
		if *fields[i].at(r) != "" {
			r.problem(fields[i].name, "has no place here: the bot is for every portal")
			*fields[i].at(r) = ""
		}
	}
}

// LoadBots reads a file of rows without portal and id: .jsonl, .ndjson, .json or
// .csv. Its error names the first 20 things wrong with it, a line each, also
// what a portal would refuse of any of the bots: a CLIENT_ID is not needed, as an
// application's own token comes with it.
func LoadBots(ctx context.Context, path string) ([]bitrix.Bot, error) {
	f, err := Open(ctx, path, Options{Bare: true})
	if err != nil {
		return nil, err
	}
	var bots []bitrix.Bot
	var bad []error
	codes := map[string]int{}
	for row, err := range f.Rows() {
		if err != nil {
			bad = append(bad, err)
			break
		}
		problems := slices.Concat(row.Problems, row.Bot.Validate(bitrix.Rules{}))
		if code := strings.ToLower(row.Bot.Code); code != "" {
			if first := codes[code]; first != 0 {
				problems = append(problems, bitrix.Problem{Field: "CODE", Problem: fmt.Sprintf("is that of line %d already", first)})
			} else {
				codes[code] = row.Line
			}
		}
		for _, p := range problems {
			bad = append(bad, &Error{File: path, Line: row.Line, Field: p.Field, Problem: p.Problem})
		}
		if len(bots) >= mostBots {
			bad = append(bad, &Error{File: path, Line: row.Line, Problem: fmt.Sprintf("is one bot too many: %d are possible", mostBots)})
		}
		if len(bad) >= shownProblems {
			break
		}
		bots = append(bots, row.Bot)
	}
	return bots, errors.Join(append(bad, f.Close())...)
}

const (
	// mostBots bounds the bots of LoadBots, which are kept in memory. An
	// application has some five on a portal: public page of imbot.register.
	mostBots = 100
	// shownProblems is how many things wrong with them are named.
	shownProblems = 20
)

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
