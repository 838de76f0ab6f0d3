// Rows of JSON Lines and of a JSON array.

package portals

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// parseLines reads one object a line; a bad line does not keep the others from
// being read.
func parseLines(data []byte) (rows []row, problems []Problem) {
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		d := newDecoder(text)
		values, wrong, err := readObject(d)
		if err == nil && d.InputOffset() != int64(len(text)) {
			err = errors.New("has something after the object; one object a line")
		}
		if err != nil {
			problems = append(problems, Problem{Line: line, Text: err.Error()})
			continue
		}
		for _, f := range wrong {
			problems = append(problems, Problem{Line: line, Field: f.field, Text: f.text})
		}
		rows = append(rows, row{line, values})
	}
	return rows, problems
}

// parseArray reads an array of objects.
func parseArray(data []byte) (rows []row, problems []Problem) {
	d := newDecoder(data)
	_, _ = d.Token() // the bracket that brought us here
	at, line := 0, 1
	lineOf := func(offset int) int { // offsets only grow
		line += bytes.Count(data[at:offset], []byte("\n"))
		at = offset
		return line
	}
	for d.More() {
		next := int(d.InputOffset())
		next += len(data[next:]) - len(bytes.TrimLeft(data[next:], ", \t\r\n"))
		start := lineOf(next)
		values, wrong, err := readObject(d)
		if err != nil { // where the next object begins is not known
			return rows, append(problems, Problem{Line: start, Text: err.Error() + "; nothing after it was read"})
		}
		for _, f := range wrong {
			problems = append(problems, Problem{Line: start, Field: f.field, Text: f.text})
		}
		rows = append(rows, row{start, values})
	}
	if _, err := d.Token(); err != nil {
		return rows, append(problems, Problem{Line: lineOf(len(data)), Text: "ends inside the array: its ] is missing"})
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		problems = append(problems, Problem{Line: lineOf(int(d.InputOffset())), Text: "has something after the array"})
	}
	return rows, problems
}

func newDecoder(data []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d
}

// readObject reads an object of plain values. err says that it is not one;
// wrong, what is the matter with single keys.
func readObject(d *json.Decoder) (values map[string]string, wrong []fieldProblem, err error) {
	if token, err := d.Token(); err != nil {
		return nil, nil, jsonError(err)
	} else if token != json.Delim('{') {
		return nil, nil, errors.New(`is not a JSON object; a portal looks like {"portal":"acme.bitrix24.ru","webhook":"https://…"}`)
	}
	values = make(map[string]string)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, jsonError(err)
		}
		var raw any
		if err := d.Decode(&raw); err != nil {
			return nil, nil, jsonError(err)
		}
		field, problem := knownField(name.(string)) //nolint:forcetypeassert // More and Token see to it that a key is a string
		if problem != "" {
			wrong = append(wrong, fieldProblem{"", "the key " + problem})
			continue
		}
		if _, ok := values[field]; ok {
			wrong = append(wrong, fieldProblem{field, "is given twice"})
			continue
		}
		text, ok := scalar(raw)
		if !ok {
			wrong = append(wrong, fieldProblem{field, "must be a string or a number"})
		}
		values[field] = text
	}
	if _, err = d.Token(); err != nil {
		return nil, nil, jsonError(err)
	}
	return values, wrong, nil
}

// scalar is the text of a string or number; null counts as not given.
func scalar(v any) (text string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// jsonError says in words why something is not JSON. The decoder's own text
// shows at most one character of the input.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is not JSON: it ends in the middle")
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: %w", err)
	}
	return errors.New("is not JSON")
}
