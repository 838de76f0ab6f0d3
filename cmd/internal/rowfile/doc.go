// Package rowfile reads and writes rows of bots: JSON Lines, JSON arrays and
// CSV, from files or standard input.
//
// [Open] checks that a source can be read at all; [File.Rows] then goes through
// it as often as wanted, one row at a time, in memory that does not grow with
// the number of rows. What is wrong with one row is told in [Row.Problems], so
// that everything wrong with it can be said at once; what makes the rest
// unreadable ends the reading with one [*Error] that names file, line and field.
//
//	f, err := rowfile.Open(ctx, "bots.csv", rowfile.Options{})
//	…
//	defer f.Close()
//	for row, err := range f.Rows() {
//		…
//	}
//
// Keys are the parameter names of imbot.register in any case, plus portal and
// id, and those with which [Writer] exports rows: row, the number that the row
// has in its run, which all rows bring along or none does, and class, error,
// error.code and error.description, which are passed over. The fields of PROPERTIES may stand nested (JSON), as PROPERTIES.NAME, or
// plainly as NAME. In PERSONAL_PHOTO, @img/helper.png is a file in the folder
// of the input or below it, and nowhere else: rows may come from other people,
// and must not pick files from the whole disk.
package rowfile
