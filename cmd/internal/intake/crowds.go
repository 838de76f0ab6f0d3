// Crowds: applications with more bots on a portal than Bitrix24 allows.

package intake

import (
	"fmt"

	"botfleet/cmd/internal/rowfile"
)

// crowd is one application that has too many bots on one portal or more.
type crowd struct {
	number, line int // of the first row that is one too many
	portal       string
	others       int // further portals on which it has too many
}

// crowds are told of at the end, once for each application: the same rows on
// many portals would fill the screen with one warning.
type crowds struct {
	byApplication map[string]*crowd
	order         []*crowd
}

// add notes a row that makes an application's bots on a portal one too many.
// The row's own strings are not kept.
func (c *crowds) add(row *rowfile.Row, application, portal string) {
	if known := c.byApplication[application]; known != nil {
		known.others++
		return
	}
	if c.byApplication == nil {
		c.byApplication = map[string]*crowd{}
	}
	one := &crowd{number: row.Number, line: row.Line, portal: portal}
	c.byApplication[application] = one
	c.order = append(c.order, one)
}

// warnOfCrowds says what the pass has found of them.
func (s *inspection) warnOfCrowds() {
	for _, c := range s.crowds.order {
		also := ""
		switch {
		case c.others == 1:
			also = ", and so it goes on 1 other portal"
		case c.others > 1:
			also = fmt.Sprintf(", and so it goes on %d other portals", c.others)
		}
		s.warn(&rowfile.Row{Number: c.number, Line: c.line, Portal: c.portal}, "CODE", fmt.Sprintf(
			"this is bot number %d of one application on %s%s; Bitrix24 allows %d, and a portal may refuse it (MAX_COUNT_ERROR)",
			MaxBots+1, c.portal, also, MaxBots))
	}
}
