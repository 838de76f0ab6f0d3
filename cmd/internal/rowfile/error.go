// The error of a source that cannot be read, or not any further.

package rowfile

import (
	"strconv"
	"strings"
)

// Error is the one error type of this package for input that cannot be read.
// It is one line: "rows.csv:17: CODE: given twice".
type Error struct {
	File    string // as the user gave it, or "standard input"
	Line    int    // 1-based; 0 when the trouble is with the whole file
	Field   string // column or key; empty when it is none in particular
	Problem string // one line for a person
	Err     error  // the cause, if there is one
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(e.Line))
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field)
		b.WriteString(": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Unwrap returns the cause, so that errors.Is(err, fs.ErrNotExist) works.
func (e *Error) Unwrap() error { return e.Err }
