// How long rows wait whose portal's credentials do not open.

package tasks

import (
	"container/heap"
	"context"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

func TestSealedRowsWait(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		before int // handed back
		ago    time.Duration
		draw   float64
		want   time.Duration
	}{
		"the first, at best":       {want: 2515 * time.Millisecond},
		"the first, at worst":      {draw: 1, want: 7545 * time.Millisecond},
		"behind a few":             {before: 99, draw: .5, want: 8 * time.Second},
		"behind many":              {before: 9999, draw: .5, want: 305 * time.Second},
		"never longer at best":     {before: 1e6, want: 5 * time.Minute},
		"never longer at worst":    {before: 1e6, draw: 1, want: 15 * time.Minute},
		"behind a few of long ago": {before: 99, ago: time.Hour, draw: .5, want: 5030 * time.Millisecond},
		"as the clock goes back":   {before: 99, ago: -time.Hour, draw: .5, want: 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var s sealedRows
			for range c.before {
				s.wait(start, 0)
			}
			if got := s.wait(start.Add(c.ago), c.draw); (got - c.want).Abs() > time.Millisecond {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// returns are when rows come back, the first to come on top.
type returns []time.Time

func (r returns) Len() int           { return len(r) }
func (r returns) Less(i, j int) bool { return r[i].Before(r[j]) }
func (r returns) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *returns) Push(x any)        { *r = append(*r, x.(time.Time)) }
func (r *returns) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// Rows that nobody can open cost a worker little, however many they are, and do
// not come back together although they were taken together.
func TestManySealedRowsCostLittle(t *testing.T) {
	for _, c := range []struct {
		rows         int
		perSecond    float64 // at most, over the second hour
		mostInSecond int
	}{{300, 12.5, 60}, {30_000, 140, 250}} {
		var s sealedRows
		start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var all returns
		for range c.rows {
			heap.Push(&all, start.Add(s.wait(start, draw())))
		}
		perSecond, n := map[int]int{}, 0
		for all[0].Before(start.Add(2 * time.Hour)) {
			now := all[0]
			if since := now.Sub(start); since >= time.Hour {
				n++
				perSecond[int(since.Seconds())]++
			}
			all[0] = now.Add(s.wait(now, draw()))
			heap.Fix(&all, 0)
		}
		if got := float64(n) / 3600; got > c.perSecond || got < c.perSecond/2 {
			t.Errorf("%d rows: %.1f a second come back, at most %.1f are wanted", c.rows, got, c.perSecond)
		}
		for second, n := range perSecond {
			if n > c.mostInSecond {
				t.Errorf("%d rows: %d come back in second %d", c.rows, n, second)
			}
		}
	}
}

type unopened struct{}

func (unopened) Get(context.Context, string) (portals.Portal, error) {
	return portals.Portal{}, portals.ErrSealed
}

func TestASealedRowIsPutOffWithoutAnAttempt(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := &Handler{Portals: unopened{}, Now: func() time.Time { return now }, Policy: Policy{MaxAttempts: 3}}
	waits := map[time.Duration]bool{}
	for range 100 {
		v, err := h.work(t.Context(), "r1", runs.Row{PortalID: "p1"}, 3)
		if err != nil || v.Later == nil || v.Later.Attempt || v.Later.Reason != portals.ErrSealed.Error() {
			t.Fatalf("%+v, %v", v, err)
		}
		wait := v.Later.Until.Sub(now)
		if wait < sealedLeast/2 || wait > 12*time.Second {
			t.Errorf("waits %v", wait)
		}
		waits[wait] = true
	}
	if len(waits) < 90 {
		t.Errorf("%d waits of 100 rows", len(waits))
	}
}
