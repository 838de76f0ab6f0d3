// Whether the tests run with the race detector, and how much they do then.

//go:build !race

package e2e

const withRace = false

const (
	// atOnce is how many tests run side by side, besides those that do little but
	// wait. The others, too, wait for other processes most of the time, however few cores
	// there are.
	atOnce = 8
	// bigPortals is how many portals the main job is for.
	bigPortals = 1000
	// manyRows is how many rows each of 50 portals gets, so that a submission
	// lasts long enough to be interrupted.
	manyRows = 200
	// compareTimes says whether to run the main job without ill portals too, and
	// to compare how long it takes.
	compareTimes = true
)
