// What is wrong with a portals file, all of it at once.

package portals

import (
	"cmp"
	"fmt"
	"strings"
)

// shownProblems is how many problems an error text names.
const shownProblems = 20

// Problem is one thing wrong with one portal. It never holds a credential.
type Problem struct {
	File  string
	Line  int    // 0 when it concerns no single line
	Field string // empty when it concerns no single field
	Text  string
}

// String is file:line: field: text.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	for _, part := range []string{p.Field, p.Text} {
		if part != "" && s != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// FileError is returned by [ReadFile], [Read] and [Registry.Import] when
// portals are refused. Nothing was stored.
type FileError struct {
	Problems []Problem // in the order of their lines, at least one
}

// Error names the first 20 problems, a line each, and counts the rest.
func (e *FileError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == shownProblems {
			fmt.Fprintf(&b, "\n… and %d more", len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func byLine(a, b Problem) int { return cmp.Compare(a.Line, b.Line) }

// show quotes a value that may be a credential in the wrong place: only what is
// too short for one, and plain, is shown.
func show(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._,+-", r)
	}
	if len(value) > 12 || strings.IndexFunc(value, func(r rune) bool { return !plain(r) }) >= 0 {
		return "the value given"
	}
	return fmt.Sprintf("%q", value)
}
