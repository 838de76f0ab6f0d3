// Package report is what enqueue prints: the result of each row, as JSON Lines,
// a JSON array, CSV or a table; a file of results that a later run takes up
// again; and progress for the person who waits.
//
// [NewWriter] writes results to a stream, [OpenOutput] to a file. [Progress]
// draws on standard error and lets log lines pass between.
package report
