//go:build race

package signin

// callsEach is how many calls each worker makes to each portal at once: under the
// race detector fewer, as they cost ten times as much.
const callsEach = 4
