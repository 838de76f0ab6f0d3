// The table: one line a figure.

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	what  string
	value string
	must  string // empty: it is only told
	ok    bool
}

// missed reports whether the figure has a target that it does not reach.
func (f figure) missed() bool { return f.must != "" && !f.ok }

func (f figure) verdict() string {
	switch {
	case f.must == "":
		return ""
	case f.ok:
		return "PASS"
	}
	return "FAIL"
}

func printTable(out io.Writer, figures []figure) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "CASE\tFIGURE\tMUST BE\t")
	for _, f := range figures {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.what, f.value, f.must, f.verdict())
	}
	_ = w.Flush() // what cannot be shown cannot be complained about either
}

// megabytes are what targets are given in: 2^20 bytes.
const megabytes = 1 << 20

// memoryFigure is a peak of resident memory against its target, in megabytes; 0: none.
func memoryFigure(what, more string, peak, most int64) figure {
	f := figure{what: what, value: fmt.Sprintf("%d MB%s", (peak+megabytes-1)/megabytes, more)}
	if most > 0 {
		f.must, f.ok = fmt.Sprintf("at most %d MB", most), peak <= most*megabytes
	}
	return f
}
