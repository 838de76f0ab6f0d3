// Waiting rows, as those see them who look after their tasks.

package runs_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// waitingRows are the numbers of those that are told of.
func waitingRows(t *testing.T, s *runs.Store, run string) (numbers []int, all []runs.WaitingRow) {
	t.Helper()
	must(t, s.WaitingRows(t.Context(), run, func(page []runs.WaitingRow) error {
		for _, r := range page {
			numbers = append(numbers, r.Number)
		}
		all = append(all, page...)
		return nil
	}))
	slices.Sort(numbers)
	return numbers, all
}

func TestWaitingRows(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 600)))) // of two hashes
		for n := 1; n <= 600; n++ {
			if n != 7 && n != 550 && n != 9 {
				must(t, s.Record(ctx, "r", 0, outcome(n, runs.StatusRegistered)))
			}
		}
		must(t, s.Record(ctx, "r", 0, outcome(9, runs.StatusDead)))
		must(t, second(s.Add(ctx, "r", rows(9, 9)))) // its second life
		numbers, all := waitingRows(t, s, "r")
		if d := cmp.Diff([]int{7, 9, 550}, numbers); d != "" {
			t.Fatal(d)
		}
		i := slices.IndexFunc(all, func(r runs.WaitingRow) bool { return r.Number == 9 })
		want := runs.WaitingRow{Number: 9, Gen: 1, Ident: "ident-9", PortalID: "p1", QueuedAt: time.Unix(1_800_000_000, 0).UTC()}
		if d := cmp.Diff(want, all[i]); d != "" {
			t.Error(d)
		}
	})
}

func TestUnfinishedRuns(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 1))))
		for n := range 3 { // one without rows, one that waits, one that has ended
			run := fmt.Sprintf("other%d", n)
			must(t, s.Open(ctx, run, runs.Begin{}))
			if n > 0 {
				must(t, second(s.Add(ctx, run, rows(1, 1))))
			}
		}
		must(t, s.Record(ctx, "other2", 0, outcome(1, runs.StatusDead)))
		var found []string
		must(t, s.Unfinished(ctx, func(run string) error { found = append(found, run); return nil }))
		slices.Sort(found)
		if d := cmp.Diff([]string{"other1", "r"}, found); d != "" {
			t.Error(d)
		}
	})
}

func TestRecordWaiting(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		record := func(gen, row int, status runs.Status, want bool) {
			t.Helper()
			if did, err := s.RecordWaiting(ctx, "r", gen, outcome(row, status)); err != nil || did != want {
				t.Errorf("row %d of generation %d: %t, %v", row, gen, did, err)
			}
		}
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		record(1, 1, runs.StatusDead, false) // not its generation
		record(0, 1, runs.StatusRegistered, true)
		record(0, 1, runs.StatusDead, false)
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusDead)))
		record(0, 2, runs.StatusDuplicate, false) // it has died of its own
		must(t, second(s.Add(ctx, "r", rows(2, 2))))
		record(0, 2, runs.StatusDead, false) // begun anew
		record(1, 2, runs.StatusDead, true)
		record(0, 9, runs.StatusDead, false) // no such row
		must(t, s.Seal(ctx, "r"))
		record(0, 3, runs.StatusDuplicate, true)
		if d := cmp.Diff(runs.Counts{Queued: 3, Registered: 1, Dead: 1, Duplicate: 1}, counts(t, s)); d != "" {
			t.Error(d)
		}
		if info, err := s.Get(ctx, "r"); err != nil || info.Ended.IsZero() {
			t.Errorf("the last row's end has not ended the run: %+v, %v", info, err)
		}
		if n, err := rdb.HLen(ctx, "botfleet:{run:r}:portals").Result(); err != nil || n != 0 {
			t.Errorf("%d portals are still waited for, %v", n, err)
		}
	})
}
