// Whether the tests run with the race detector, and how much they do then.

//go:build race

package e2e

const withRace = true

// bigPortals is a quarter of what it is without the detector, under which a
// thousand portals take minutes, so that two seconds of them cannot be told.
const bigPortals = 250
