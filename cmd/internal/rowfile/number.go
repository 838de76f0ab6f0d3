// Numbers that rows bring along: a mended row, exported from a run, is to be the
// same row of that run again.

package rowfile

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxNumber is the largest number that a row may bring along. A run is kept in
// parts of neighbouring rows, and all up to the largest are gone through.
const MaxNumber = 10_000_000

// noNumber stands in Row.Number, while the row is read, for a number that is none.
const noNumber = -1

// numberSeen marks a column of numbers among the fields' own bits.
const numberSeen = 1 << 31

// number sets the row's number from text as it stands in the input.
func (r *Row) number(text string) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > MaxNumber || r.Number != 0 {
		r.Number = noNumber
		return
	}
	r.Number = int(n)
}

// numberJSON is number for a JSON value; null is none.
func (r *Row) numberJSON(value []byte) {
	switch {
	case isNull(value):
	case value[0] == '"':
		r.number(unquote(value))
	default:
		r.number(string(value))
	}
}

// numbers remembers, in a bit for each, which numbers rows have brought along.
type numbers struct{ seen []uint64 }

// add reports whether a number is new.
func (n *numbers) add(number int) bool {
	for number/64 >= len(n.seen) {
		n.seen = append(n.seen, 0)
	}
	bit := uint64(1) << (number % 64)
	if n.seen[number/64]&bit != 0 {
		return false
	}
	n.seen[number/64] |= bit
	return true
}

// settleNumber gives the row its number. Either all rows bring one along, or
// none does: anything else would let rows of one input take each other's place.
func (s *scan) settleNumber(row *Row, readable bool) error {
	wrong := func(problem string) error { return s.fail(row.Line, keyRow, problem) }
	given := row.Number
	own := len(s.numbers.seen) > 0
	switch {
	case given == noNumber:
		return wrong(fmt.Sprintf("is not one whole number from 1 to %d", MaxNumber))
	case given == 0 && own && !readable && len(row.Problems) > 0:
		return s.fail(row.Line, row.Problems[0].Field, row.Problems[0].Problem)
	case given == 0 && own:
		return wrong("missing, and the rows before have theirs; give it in all rows or in none")
	case given == 0:
		row.Number = s.number
		return nil
	case !own && s.number > 1:
		return wrong("given, and the rows before have none; give it in all rows or in none")
	case !s.numbers.add(given):
		return wrong(fmt.Sprintf("%d was given to a row before", given))
	}
	return nil
}
