// Which row was the first to have a hash.

package intake

// firstRows remembers the first row of each hash, in half the memory of a map:
// a million rows take some 18 MB. It is divided, so that growing never needs
// the room of the whole once more.
type firstRows struct {
	parts [256]hashTable
}

// hashTable has open addressing; row 0 marks a free place.
type hashTable struct {
	hashes []uint64
	rows   []int32
	used   int
}

// add returns the row that was added before with this hash, or remembers row,
// which is above 0, and returns 0.
func (f *firstRows) add(hash uint64, row int32) (first int32) {
	t := &f.parts[hash>>56]
	if t.used >= len(t.rows)/5*4 {
		t.grow()
	}
	return t.put(hash, row)
}

// first returns the row that was added with this hash, or 0.
func (f *firstRows) first(hash uint64) int32 {
	t := &f.parts[hash>>56]
	if t.used == 0 {
		return 0
	}
	for i := hash % uint64(len(t.rows)); t.rows[i] != 0; i = (i + 1) % uint64(len(t.rows)) {
		if t.hashes[i] == hash {
			return t.rows[i]
		}
	}
	return 0
}

func (t *hashTable) put(hash uint64, row int32) (first int32) {
	for i := hash % uint64(len(t.rows)); ; i = (i + 1) % uint64(len(t.rows)) {
		switch {
		case t.rows[i] == 0:
			t.hashes[i], t.rows[i] = hash, row
			t.used++
			return 0
		case t.hashes[i] == hash:
			return t.rows[i]
		}
	}
}

func (t *hashTable) grow() {
	old := *t
	size := max(8, len(old.rows)*3/2)
	*t = hashTable{hashes: make([]uint64, size), rows: make([]int32, size)}
	for i, row := range old.rows {
		if row != 0 {
			t.put(old.hashes[i], row)
		}
	}
}
