// What a run's dead rows died of, counted by class and code.

package runs

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// CodeOther is the code, without a class, of the dead rows that have no pair of
// their own: portals make codes up, so that a run counts 32 pairs at most.
const CodeOther = "OTHER"

// CodeCount is how many rows of a run are dead of one class and code.
type CodeCount struct {
	Class, Code string
	Rows        int
}

// deadBy reads the counts from a run's meta, where bury in carry.lua puts them.
func deadBy(meta map[string]string) []CodeCount {
	var all []CodeCount
	for field, value := range meta {
		cause, ok := strings.CutPrefix(field, "dead:")
		rows, err := strconv.Atoi(value)
		if !ok || err != nil || rows <= 0 {
			continue
		}
		class, code, _ := strings.Cut(cause, "|")
		all = append(all, CodeCount{Class: class, Code: code, Rows: rows})
	}
	slices.SortFunc(all, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Code, b.Code))
	})
	return all
}
