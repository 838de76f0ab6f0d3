package intake

import (
	"testing"

	"pgregory.net/rapid"
)

func TestFirstRowsAreThoseOfAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f firstRows
		model := map[uint64]int32{}
		// Few different hashes, so that they repeat, and the parts' neighbours.
		hashes := rapid.SliceOfN(rapid.OneOf(
			rapid.Uint64Range(0, 300), rapid.Uint64Range(1<<56-5, 1<<56+5), rapid.Uint64()), 0, 2000).Draw(t, "hashes")
		for i, h := range hashes {
			row := int32(i + 1)
			if got := f.add(h, row); got != model[h] {
				t.Fatalf("row %d, hash %x: first row %d, want %d", row, h, got, model[h])
			}
			if model[h] == 0 {
				model[h] = row
			}
		}
	})
}
