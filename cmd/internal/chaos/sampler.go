// Looking at the runs' sums all the time.

package main

import (
	"context"
	"time"
)

// sampleEvery is how often the sums are looked at.
const sampleEvery = 100 * time.Millisecond

// sample looks at all runs until ctx ends.
func (w *world) sample(ctx context.Context) {
	for sleep(ctx, sampleEvery) == nil {
		all, err := w.store.List(ctx, 1000)
		if err != nil {
			continue // Redis is away
		}
		w.mu.Lock()
		w.samples++
		w.mu.Unlock()
		for _, info := range all {
			c := info.Counts
			if c.Queued != c.Done()+c.Waiting || min(c.Waiting, c.Registered, c.Dead, c.Refused, c.Duplicate) < 0 {
				w.problemf("the sum of run %s is wrong: %+v", info.ID, c)
			}
		}
	}
}
