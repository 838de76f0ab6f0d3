// Whether the tests run with the race detector.

//go:build race

package runs_test

// withRace: the interpreter of the in-memory Redis is an order slower then.
const withRace = true
