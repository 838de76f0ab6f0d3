// One line for a seed.

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// summary says what a seed did, and what came of it.
func (w *world) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	verdict := "clean"
	if len(w.problems) > 0 {
		verdict = fmt.Sprintf("%d PROBLEMS", len(w.problems))
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(w.did)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, w.did[what]))
	}
	return fmt.Sprintf("seed %d: %s in %.0f s; BATCH=%s; %s; %d samples", w.story.seed, verdict, time.Since(w.began).Seconds(),
		w.story.batch, strings.Join(parts, ", "), w.samples)
}
