// Whether the tests run with the race detector, and how much they do then.

//go:build !race

package e2e

const withRace = false

const bigPortals = 1000
