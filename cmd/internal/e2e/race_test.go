// Whether the tests run with the race detector, and how much they do then.

//go:build race

package e2e

const withRace = true

// The same as without the detector, under which a thousand portals take minutes,
// with fewer portals and rows, and fewer tests at a time.
const (
	atOnce     = 7
	bigPortals = 125
	manyRows   = 60
	// compareTimes: two seconds of minutes cannot be told, and nothing about it
	// would be a race.
	compareTimes = false
)
