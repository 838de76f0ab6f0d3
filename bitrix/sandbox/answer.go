// Writing answers as a portal's PHP does: escaped JSON and the time block.

package sandbox

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendValue writes a value as Bitrix24's JSON encoder does. Besides the
// kinds an array of parameters holds it knows int and span.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case json.Number:
		return append(b, v...)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)
	case *array:
		return appendArray(b, v)
	case span:
		return appendTime(b, v)
	}
	return append(b, "null"...)
}

// appendArray writes an empty array and a list as […], all else as {…}: PHP
// knows no difference between an empty list and an empty map.
func appendArray(b []byte, a *array) []byte {
	list := true
	for i, k := range a.keys {
		if k != strconv.Itoa(i) {
			list = false
			break
		}
	}
	if list {
		b = append(b, '[')
	} else {
		b = append(b, '{')
	}
	for i, k := range a.keys {
		if i > 0 {
			b = append(b, ',')
		}
		if !list {
			b = append(appendString(b, k), ':')
		}
		b = appendValue(b, a.values[i])
	}
	if list {
		return append(b, ']')
	}
	return append(b, '}')
}

const hexDigits = "0123456789abcdef"

// appendString escapes quotes, apostrophes, angle brackets, ampersands,
// slashes, and everything beyond ASCII.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '/' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < 0x20 || r == '"' || r == '\'' || r == '<' || r == '>' || r == '&' || r >= utf8.RuneSelf:
			b = appendRune(b, r)
		default:
			b = append(b, byte(r))
		}
	}
	return append(b, '"')
}

func appendRune(b []byte, r rune) []byte {
	if r > 0xFFFF {
		r -= 0x10000
		b = appendRune(b, 0xD800+r>>10)
		r = 0xDC00 + r&0x3FF
	}
	return append(b, '\\', 'u', hexDigits[r>>12&0xF], hexDigits[r>>8&0xF], hexDigits[r>>4&0xF], hexDigits[r&0xF])
}

// span is when a call ran, and what its method has used up by then.
type span struct {
	start, finish time.Time
	reports       bool // operating and operating_reset_at are given
	used          time.Duration
	resetAt       int64 // unix seconds
}

// portalZone is the zone portals write dates in: Moscow time.
var portalZone = time.FixedZone("MSK", 3*60*60)

// appendTime writes the time block. start and processing are cut to whole
// seconds, so duration may be a second too long, as on real portals.
func appendTime(b []byte, s span) []byte {
	start := float64(s.start.Unix())
	finish := float64(s.finish.UnixMicro()) / 1e6
	b = append(b, `{"start":`...)
	b = strconv.AppendFloat(b, start, 'f', 0, 64)
	b = append(b, `,"finish":`...)
	b = strconv.AppendFloat(b, finish, 'f', 6, 64)
	b = append(b, `,"duration":`...)
	b = appendSeconds(b, finish-start)
	b = append(b, `,"processing":`...)
	b = strconv.AppendFloat(b, math.Floor(s.finish.Sub(s.start).Seconds()), 'f', 0, 64)
	b = append(b, `,"date_start":"`...)
	b = s.start.In(portalZone).AppendFormat(b, time.RFC3339)
	b = append(b, `","date_finish":"`...)
	b = s.finish.In(portalZone).AppendFormat(b, time.RFC3339)
	b = append(b, '"')
	if s.reports {
		b = append(b, `,"operating_reset_at":`...)
		b = strconv.AppendInt(b, s.resetAt, 10)
		b = append(b, `,"operating":`...)
		b = appendSeconds(b, s.used.Seconds())
	}
	return append(b, '}')
}

// appendSeconds writes seconds as PHP prints a float: no exponent, no
// trailing zeros.
func appendSeconds(b []byte, s float64) []byte {
	return strconv.AppendFloat(b, math.Round(s*1e9)/1e9, 'f', -1, 64)
}

// appendSuccess writes a whole answer around a result.
func appendSuccess(b []byte, result any, s span) []byte {
	b = append(b, `{"result":`...)
	b = appendValue(b, result)
	b = append(b, `,"time":`...)
	b = appendTime(b, s)
	return append(b, '}')
}

// appendError writes an error, as the whole answer or inside a batch.
func appendError(b []byte, f *failure) []byte {
	b = append(b, `{"error":`...)
	b = appendString(b, f.code)
	b = append(b, `,"error_description":`...)
	b = appendString(b, f.description)
	return append(b, '}')
}
