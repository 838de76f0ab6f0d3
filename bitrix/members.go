// Looking into a JSON text that is known to be valid.

package bitrix

import "encoding/json"

// eachMember calls f with every member of a JSON object, in their order, and
// reports whether raw is an object. The text must have been found valid as a
// whole: decoding an answer part by part checks every byte again in each part,
// and that was most of what a call cost. A broken text gives false.
func eachMember(raw json.RawMessage, f func(key string, value json.RawMessage)) bool {
	at := skipSpace(raw, 0)
	if at >= len(raw) || raw[at] != '{' {
		return false
	}
	for at = skipSpace(raw, at+1); at < len(raw); {
		if raw[at] == '}' {
			return true
		}
		end := skipValue(raw, at)
		key := raw[at:end]
		at = skipSpace(raw, end)
		if at >= len(raw) || raw[at] != ':' {
			return false
		}
		at = skipSpace(raw, at+1)
		end = skipValue(raw, at)
		f(scalar(key), raw[at:end:end])
		if at = skipSpace(raw, end); at < len(raw) && raw[at] == ',' {
			at = skipSpace(raw, at+1)
		}
	}
	return false
}

func skipSpace(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\r' || raw[at] == '\t') {
		at++
	}
	return at
}

// skipValue returns where the value ends that begins at a place.
func skipValue(raw []byte, at int) int {
	depth := 0
	for at < len(raw) {
		switch raw[at] {
		case '"':
			at = skipString(raw, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		default:
			at++
			for depth == 0 && at < len(raw) && !endsWord(raw[at]) {
				at++
			}
		}
		if depth <= 0 {
			return at
		}
	}
	return at
}

// endsWord reports whether a number or a word ends before c.
func endsWord(c byte) bool {
	switch c {
	case ',', '}', ']', ':', ' ', '\n', '\r', '\t':
		return true
	}
	return false
}

func skipString(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		switch raw[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(raw)
}
