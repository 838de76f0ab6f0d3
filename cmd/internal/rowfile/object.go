// From one JSON object to the fields of a row. encoding/json has checked the
// text before, so that what follows may take its form for granted; it would
// itself keep silent about keys given twice.

package rowfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// fill sets the row's fields from a valid JSON value. It reports whether the
// value was an object at all.
func (r *Row) fill(text []byte) bool {
	if text[0] != '{' {
		r.problem("", "is "+kindOf(text)+"; a row is an object {…}")
		return false
	}
	var seen uint32
	var nestedSeen bool
	eachMember(text, func(key, value []byte) {
		i := lookup(key)
		switch {
		case i == unknown && r.hopeless():
		case i == unknown:
			r.problem(named(string(key)), unknownKey(string(key), ""))
		case i == passed:
		case i == numbered:
			r.numberJSON(value)
		case i == nested && nestedSeen:
			r.problem(properties, "given twice")
		case i == nested:
			nestedSeen = true
			r.fillProperties(value, &seen)
		default:
			r.setJSON(i, value, &seen)
		}
	})
	return true
}

func (r *Row) fillProperties(text []byte, seen *uint32) {
	if isNull(text) {
		return
	}
	if text[0] != '{' {
		r.problem(properties, "is "+kindOf(text)+`; write an object, such as {"NAME":"Helper"}`)
		return
	}
	eachMember(text, func(key, value []byte) {
		if i := lookupNested(key); i >= 0 {
			r.setJSON(i, value, seen)
		} else if !r.hopeless() {
			r.problem(propertiesDot+named(string(key)), unknownKey(string(key), properties))
		}
	})
}

// setJSON sets a field from its JSON value: a string, or null for none. A
// number serves as id too, since the user's own keys often are numbers; the
// method's parameters are texts, and 007 or 1e3 would not survive as numbers.
func (r *Row) setJSON(i int, value []byte, seen *uint32) {
	switch {
	case isNull(value):
		r.claim(i, seen)
	case value[0] == '"':
		r.set(i, unquote(value), seen)
	case i == fieldID && isNumber(value):
		r.set(i, string(value), seen)
	case isNumber(value) && len(value) <= 32:
		r.problem(fields[i].name, fmt.Sprintf(`is a number; write it in quotes: "%s"`, value))
	default:
		r.problem(fields[i].name, "is "+kindOf(value)+"; write a text in quotes")
	}
}

func isNull(value []byte) bool { return value[0] == 'n' }

func isNumber(value []byte) bool { return value[0] == '-' || value[0] >= '0' && value[0] <= '9' }

// kindOf names the kind of a JSON value.
func kindOf(value []byte) string {
	switch {
	case value[0] == '{':
		return "an object"
	case value[0] == '[':
		return "a list"
	case value[0] == '"':
		return "a text"
	case value[0] == 't' || value[0] == 'f':
		return "true or false"
	case isNull(value):
		return "null"
	default:
		return "a number"
	}
}

// unquote returns the text of a valid JSON string.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner) // cannot be: the text was found valid
	}
	return s
}

// eachMember calls f for each member of a valid JSON object. The key comes
// without quotes, the value as it stands.
func eachMember(object []byte, f func(key, value []byte)) {
	i := skip(object, 1)
	for object[i] == '"' {
		end := valueEnd(object, i)
		quoted := object[i:end]
		key := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = []byte(unquote(quoted))
		}
		i = skip(object, skip(object, end)+1) // past the colon
		end = valueEnd(object, i)
		f(key, object[i:end])
		if i = skip(object, end); object[i] == ',' {
			i = skip(object, i+1)
		}
	}
}

// skip returns the index of the first byte at or after i that is no space.
func skip(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r' {
		i++
	}
	return i
}

// valueEnd returns the index after the valid JSON value that begins at i.
func valueEnd(text []byte, i int) int {
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch text[i] {
			case '"':
				i = stringEnd(text, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(text) && strings.IndexByte(",]} \t\r\n", text[i]) < 0 {
		i++
	}
	return i
}

// stringEnd returns the index after the valid JSON string that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}
