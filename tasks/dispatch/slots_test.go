// How many of its queue's slots a portal may have.

package dispatch

import (
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// A portal leaves a quarter of its queue's slots to others, of as many as there are
// now, also when queues come while the worker works.
func TestAPortalsBoundIsThatOfItsQueueNow(t *testing.T) {
	d := New(Config{Slots: 1024, BatchSize: 50, Parallel: 4})
	p := &portals.Portal{ID: "p", Queue: "portals-0", Limits: ratelimit.Limits{Rate: 1000, Burst: 1000}}
	l := newLane(d, p.ID)
	bound := func() int {
		for l.jobs = 0; d.hasRoom(l, p, time.Millisecond); l.jobs++ {
			d.queues[p.Queue] = l.jobs + 1
		}
		return l.jobs
	}
	if got := bound(); got != 768 {
		t.Errorf("%d, of a queue that nobody has told of", got)
	}
	d.queues[p.Queue] = 0
	d.Serves(p.Queue, 512)
	if got := bound(); got != 384 {
		t.Errorf("%d of 512", got)
	}
	d.queues[p.Queue] = 0
	d.Serves("portals-1", 8)
	if got := bound(); got != 384 {
		t.Errorf("%d, with another queue of fewer", got)
	}
}
