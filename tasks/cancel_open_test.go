// Cancelling a run that a producer is still adding to.

package tasks_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// producing opens a run with rows, and returns what its producer does next: it
// submits rows of a second portal too, and is done after the last of its turns.
func producing(t *testing.T, f *fleet, lease time.Duration) (add func(rows int), seal func()) {
	t.Helper()
	if err := f.runs.Open(t.Context(), "r1", runs.Begin{Lease: lease}); err != nil {
		t.Fatal(err)
	}
	n := 0
	add = func(rows int) {
		var more []tasks.Registration
		for range rows {
			n++
			r := reg(fmt.Sprint("a", n))
			if n%2 == 0 {
				r.Portal, r.Bot.ClientID = "oauth.bitrix24.ru", ""
			}
			more = append(more, r)
		}
		submit(t, f, "r1", more...)
	}
	add(10)
	return add, func() {
		if err := f.runs.Seal(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
	}
}

// The producer's last rows come behind where the walk is, and it is done before
// anybody looks whether it is.
func TestWhatAProducerAddsMeanwhileIsCancelled(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		add, seal := producing(t, f, time.Hour)
		turn := 0
		did := f.cancel(t, tasks.Cancel{Run: "r1", Told: func(int) {
			switch turn++; turn {
			case 1:
				add(300) // as many as are searched for among the pending
			case 2, 3:
				add(10)
			case 4:
				add(10)
				seal()
			}
		}})
		if c := f.counts(t, "r1"); did != (tasks.Cancelled{Rows: 340}) || c != (runs.Counts{Queued: 340, Dead: 340}) || f.living(t) != 0 {
			t.Errorf("%+v, %+v, %d tasks", did, c, f.living(t))
		}
	})
}

// A producer that only says that it is done, after the walk, is waited for, and so
// are its rows: it may have added some of them just before.
func TestAProducerThatIsDoneAfterTheWalk(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		add, seal := producing(t, f, time.Hour)
		c, looks := f.canceller(), 0
		c.Now = func() time.Time { // asked after each walk, and at each look
			if looks++; looks == 3 {
				add(10)
				seal()
			}
			return time.Now()
		}
		did, err := c.Cancel(t.Context(), tasks.Cancel{Run: "r1"})
		if n := f.counts(t, "r1"); err != nil || did.Rows != 20 || n.Waiting != 0 {
			t.Errorf("%+v, %+v, %v", did, n, err)
		}
	})
}

// The producer that a library's user writes may have no lease: its run never says
// that it is open.
func TestRowsAddedWithoutALeaseAreCancelled(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		add, _ := producing(t, f, 0)
		added := false
		did := f.cancel(t, tasks.Cancel{Run: "r1", Told: func(int) {
			if !added {
				added = true
				add(10)
			}
		}})
		if n := f.counts(t, "r1"); did.Rows != 20 || n.Waiting != 0 {
			t.Errorf("%+v, %+v", did, n)
		}
	})
}

// One that never ends is not waited for longer than 10 s, and one that ends just
// then is still followed.
func TestAProducerIsNotWaitedForForever(t *testing.T) {
	for name, ends := range map[string]bool{"goes on": false, "ends at last": true} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, f *fleet) {
				add, seal := producing(t, f, time.Hour)
				c, now, looks := f.canceller(), time.Now(), 0
				c.Now = func() time.Time {
					if looks++; looks > 1 {
						now = now.Add(11 * time.Second)
					}
					return now
				}
				rounds := 0
				ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
				defer stop()
				did, err := c.Cancel(ctx, tasks.Cancel{Run: "r1", Told: func(int) {
					if rounds++; !ends || rounds == 1 {
						add(5)
					}
					if ends && rounds == 1 {
						seal()
					}
				}})
				n := f.counts(t, "r1")
				if err != nil || did.Rows == 0 || (n.Waiting == 0) != ends || n.Dead != did.Rows {
					t.Errorf("%+v, %+v, %v", did, n, err)
				}
			})
		})
	}
}
