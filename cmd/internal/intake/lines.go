// Which line a row began on.

package intake

import "sort"

// lines remembers on which line each row began. Rows mostly follow each other at
// a line each, so that only where they do not is kept: eight bytes for each row
// at the most.
type lines struct {
	steps  []step // by row
	last   int
	broken bool // the rows are not in order: their numbers are their own
}

// step is a row from which on a line's number is the row's and so many more.
type step struct{ row, more int32 }

func (l *lines) add(row, line int) {
	if l.broken || row <= l.last || row > 1<<31-1 || line > 1<<31-1 {
		*l = lines{broken: true}
		return
	}
	l.last = row
	more := int32(line - row) //nolint:gosec // both fit
	if n := len(l.steps); n == 0 || l.steps[n-1].more != more {
		l.steps = append(l.steps, step{int32(row), more}) //nolint:gosec // as above
	}
}

// of returns the line of a row that was added; 0 when it cannot be told.
func (l *lines) of(row int) int {
	i := sort.Search(len(l.steps), func(i int) bool { return int(l.steps[i].row) > row })
	if i == 0 {
		return 0
	}
	return row + int(l.steps[i-1].more)
}
