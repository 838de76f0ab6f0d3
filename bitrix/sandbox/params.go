// Reading parameters: JSON bodies as PHP's json_decode takes them, form bodies
// and query strings as parse_str does.

package sandbox

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxDepth is the nesting at which PHP's json_decode gives up.
const maxDepth = 512

// parseJSON decodes a body. ok is false for what PHP cannot decode and for
// scalars: a portal then goes on as if there were no parameters.
func parseJSON(body []byte) (params *array, ok bool) {
	if !json.Valid(body) || !utf8.Valid(body) || loneSurrogate(body) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, ok := decodeValue(d, maxDepth)
	if !ok {
		return nil, false
	}
	params, ok = v.(*array)
	return params, ok
}

// decodeValue reads one value of a text that is known to be valid.
func decodeValue(d *json.Decoder, depth int) (any, bool) {
	t, err := d.Token()
	if err != nil {
		return nil, false
	}
	open, isDelim := t.(json.Delim)
	if !isDelim {
		return t, true
	}
	if depth == 0 {
		return nil, false
	}
	a := &array{}
	for d.More() {
		var key string
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return nil, false
			}
			key, _ = k.(string)
		}
		v, ok := decodeValue(d, depth-1)
		if !ok {
			return nil, false
		}
		if open == '{' {
			a.set(key, v)
		} else {
			a.add(v)
		}
	}
	_, err = d.Token()
	return a, err == nil
}

// loneSurrogate reports a \uD800…\uDFFF escape without its other half, which
// PHP refuses and Go's decoder mends.
func loneSurrogate(body []byte) bool {
	for i := 0; i+1 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // at the escape's letter; a second backslash is passed over
		if body[i] != 'u' {
			continue
		}
		switch code := hex4(body[i+1:]); {
		case code >= 0xDC00 && code <= 0xDFFF:
			return true
		case code >= 0xD800 && code <= 0xDBFF:
			rest := body[min(i+5, len(body)):]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if low := hex4(rest[2:]); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 10
		}
	}
	return false
}

func hex4(b []byte) int {
	if len(b) < 4 {
		return -1
	}
	n := 0
	for _, c := range b[:4] {
		d := unhex(c)
		if d < 0 {
			return -1
		}
		n = n<<4 | d
	}
	return n
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// maxNesting is PHP's max_input_nesting_level: deeper variables are dropped.
const maxNesting = 64

// parseForm adds the variables of a form body or query string to into, with
// PHP's brackets: a[b][]=c.
func parseForm(text string, into *array) {
	for text != "" {
		var part string
		part, text, _ = strings.Cut(text, "&")
		key, value, _ := strings.Cut(part, "=")
		key = strings.TrimLeft(formDecode(key), " ")
		if key == "" {
			continue
		}
		path, ok := splitBrackets(key)
		if ok {
			assign(into, path, formDecode(value))
		}
	}
}

// splitBrackets takes a[b][] apart into a, b and "" (the next free key). As in
// PHP, a dot or space in the first part becomes an underscore, and what
// follows the last closed bracket is ignored.
func splitBrackets(key string) (path []string, ok bool) {
	name, rest := key, ""
	if i := strings.IndexByte(key, '['); i > 0 {
		if strings.IndexByte(key[i:], ']') > 0 {
			name, rest = key[:i], key[i:]
		} else {
			name = key[:i] + "_" + key[i+1:]
		}
	}
	path = append(path, strings.NewReplacer(".", "_", " ", "_").Replace(name))
	for strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			break
		}
		path = append(path, rest[1:end])
		if len(path) > maxNesting {
			return nil, false
		}
		rest = rest[end+1:]
	}
	return path, true
}

// assign sets a nested value; a scalar on the way is replaced by an array.
func assign(a *array, path []string, value string) {
	for _, key := range path[:len(path)-1] {
		next := a.child(key)
		if key == "" || next == nil {
			next = &array{}
			if key == "" {
				a.add(next)
			} else {
				a.set(key, next)
			}
		}
		a = next
	}
	if last := path[len(path)-1]; last == "" {
		a.add(value)
	} else {
		a.set(last, value)
	}
}

// formDecode is urldecode: a plus is a space, a broken escape stays as it is.
func formDecode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2]))) //nolint:gosec // two digits fit a byte
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
