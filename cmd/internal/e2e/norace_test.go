// Whether the tests run with the race detector.

//go:build !race

package e2e

const withRace = false
