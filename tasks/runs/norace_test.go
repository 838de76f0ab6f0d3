// Whether the tests run with the race detector.

//go:build !race

package runs_test

const withRace = false
