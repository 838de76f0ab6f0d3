// When rows ended last.

package runs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

func TestTheLastEnd(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx, before := t.Context(), time.Now().Add(-time.Second)
		last := func() time.Time {
			t.Helper()
			at, err := s.LastEnd(ctx, []string{"nobody", "r", "other"})
			must(t, err)
			return at
		}
		refuse := func(from, to int) {
			t.Helper()
			var idents []string
			var all []runs.Outcome
			for n := from; n <= to; n++ {
				idents, all = append(idents, row(n).Ident), append(all, outcome(n, runs.StatusRefused))
			}
			must(t, second(s.AddDone(ctx, "r", idents, all)))
		}
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		if at := last(); !at.IsZero() {
			t.Errorf("nothing has ended, and yet at %v", at)
		}
		refuse(10, 12)
		if at := last(); !at.IsZero() {
			t.Errorf("rows that were refused ended at %v", at)
		}
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		first := last()
		if first.Before(before) {
			t.Errorf("a dead row: %v", first)
		}
		refuse(13, 20)
		if at := last(); !at.Equal(first) {
			t.Errorf("behind rows that were refused: %v, want %v", at, first)
		}
		// A newer one in another run, whose stream goes on by its own times.
		id := first.Add(time.Hour).UnixMilli()
		must(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: "botfleet:{run:other}:out", ID: fmt.Sprintf("%d-0", id), Values: []string{"1", "r0|x|{}"}}).Err())
		if at := last(); !at.Equal(time.UnixMilli(id)) {
			t.Errorf("of two runs: %v", at)
		}
	})
}
