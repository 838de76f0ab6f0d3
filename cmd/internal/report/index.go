// Where the registered rows of an earlier run stand in the output file.

package report

import (
	"bytes"
	"hash/maphash"
	"io"
	"strings"
)

// index keeps a hash and an offset a row, not the row: about 30 bytes, so that
// a million rows fit where a laptop has room. The row is read back when asked for.
type index struct {
	seed maphash.Seed
	at   map[uint64]int64
	rows int
}

func newIndex() index {
	return index{seed: maphash.MakeSeed(), at: make(map[uint64]int64)}
}

// botKey is what makes a bot the same to a portal: the portal, and the CODE
// without regard to case.
func botKey(portal, code string) string {
	return strings.ToLower(portal) + "\x00" + strings.ToLower(code)
}

func (x *index) add(r Result, offset int64) {
	x.at[maphash.String(x.seed, botKey(r.Portal, r.Code))] = offset
	x.rows++
}

func (x *index) find(portal, code string) (int64, bool) {
	if x.rows == 0 {
		return 0, false
	}
	at, ok := x.at[maphash.String(x.seed, botKey(portal, code))]
	return at, ok
}

// resultAt reads the result that begins at an offset.
func resultAt(f io.ReaderAt, offset int64, format string) (Result, error) {
	if format == CSV {
		return readCSVResult(io.NewSectionReader(f, offset, maxResult))
	}
	// Of JSON every result is one line, most of them short.
	for size := 1 << 10; size <= maxResult; size <<= 5 {
		text := make([]byte, size)
		n, err := f.ReadAt(text, offset)
		if err != nil && err != io.EOF {
			return Result{}, err
		}
		line, _, ended := bytes.Cut(text[:n], []byte("\n"))
		if ended || err == io.EOF {
			return parseJSONResult(bytes.TrimSuffix(line, []byte(",")))
		}
	}
	return Result{}, errNoResult
}
