// One row of input.

package rowfile

import "botfleet/bitrix"

// CodeInput is the code of the problems that this package finds: those of how
// a row is written, which no portal ever sees.
const CodeInput = "INPUT"

// Row is one bot on one portal, as the input has it.
type Row struct {
	Number int // 1-based: the row's own number, if the rows have such, else counting rows of data only
	Line   int // 1-based line of the input where the row begins
	// Portal is a host or host:port in lower case. Empty when the row gives
	// none that can be used; then Problems says so.
	Portal string
	ID     string // the user's own key, echoed in results
	Bot    bitrix.Bot
	// Problems are what is wrong with how the row is written, each with code
	// [CodeInput]. The fields that could be read are set all the same.
	Problems []bitrix.Problem
}

// problem adds what is wrong with a field; an empty field means the whole row.
func (r *Row) problem(field, text string) {
	if !r.hopeless() {
		r.Problems = append(r.Problems, bitrix.Problem{Field: field, Code: CodeInput, Problem: text})
	}
}

// hopeless tells that a row has more problems than anybody reads. Rows made to
// break things could have a million.
func (r *Row) hopeless() bool { return len(r.Problems) >= 50 }
