// Package runs keeps what became of every row that was ever submitted.
//
// A submission is a run. Each of its rows is in exactly one state — waiting,
// registered, dead, refused or duplicate — and the run's counters move with
// the rows in the same script, so that
//
//	queued = waiting + registered + dead + refused + duplicate
//
// holds at every moment. A waiting row carries its payload, a finished one its
// [Outcome]. Rows live in hashes of [ChunkRows] rows, which keeps them small in
// memory and lets a million of them be read in pages. A capped stream repeats
// the newest outcomes for those who follow live.
//
// Nothing of a run expires while a row waits or its producer is still adding;
// afterwards everything goes together when the store's time to live is over.
package runs
