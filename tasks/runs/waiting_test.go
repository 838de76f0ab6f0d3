// Waiting rows by portal.

package runs_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// waiting is what Waiting tells of run r.
func waiting(t *testing.T, s *runs.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	must(t, s.Waiting(t.Context(), "r", func(portal string, rows int) error { all[portal] = rows; return nil }))
	return all
}

// on puts a row on a portal. The user's own key looks like one, to be mistaken for it.
func on(r runs.Row, portal string) runs.Row {
	r.PortalID, r.ID = portal, `"pid":"other"`
	return r
}

func TestWaitingRowsArePortalByPortal(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		var all []runs.Row
		for n := 1; n <= 3000; n++ { // more portals than a page, in several hashes
			all = append(all, on(row(n), fmt.Sprintf("p%d", n%1500)))
		}
		must(t, second(s.Add(ctx, "r", all)))
		must(t, second(s.Add(ctx, "r", all))) // again: nothing is counted twice
		got := waiting(t, s)
		if len(got) != 1500 || got["p7"] != 2 {
			t.Fatalf("%d portals, p7 %d", len(got), got["p7"])
		}
		enough := errors.New("enough")
		if err := s.Waiting(ctx, "r", func(string, int) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("yield's error: %v", err)
		}
		for n := 1; n <= 3000; n++ {
			must(t, s.Record(ctx, "r", 0, outcome(n, runs.StatusRegistered)))
		}
		if got := waiting(t, s); len(got) != 0 {
			t.Fatalf("nothing waits, and yet %v", got)
		}
		if n := rdb.Exists(ctx, "botfleet:{run:r}:portals").Val(); n != 0 {
			t.Error("an empty count is kept")
		}
	})
}

// Every way in which a row begins or ceases to wait, in random order and
// repeated, against a model.
func TestRandomStoriesKeepTheWaitingTrue(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		r := rand.New(rand.NewPCG(3, 4))
		portal := func(n int) string { return fmt.Sprintf("p%d", n%4) }
		gens := map[int]int{}
		for range 250 {
			n := 1 + r.IntN(20)
			switch g, there := gens[n]; {
			case r.IntN(3) == 0:
				added, err := s.Add(ctx, "r", []runs.Row{on(row(n), portal(n))})
				must(t, err)
				gens[n] = added[0].Gen
			case r.IntN(5) == 0:
				o := outcome(n, runs.StatusRefused)
				added, err := s.AddDone(ctx, "r", []string{row(n).Ident}, []runs.Outcome{o})
				must(t, err)
				gens[n] = added[0].Gen
			case there:
				status := []runs.Status{runs.StatusRegistered, runs.StatusDead, runs.StatusDuplicate}[r.IntN(3)]
				for range 1 + r.IntN(2) {
					must(t, s.Record(ctx, "r", max(g-r.IntN(2), 0), outcome(n, status)))
				}
			}
			want := map[string]int{}
			for n := range gens {
				if st, err := s.Load(ctx, "r", n); err == nil && st.Outcome == nil {
					want[portal(n)]++
				}
			}
			if d := cmp.Diff(want, waiting(t, s)); d != "" {
				t.Fatal(d)
			}
			counts(t, s)
		}
	})
}

// The counts live and end with their run, even ones that should not be there.
func TestWaitingExpiresWithTheRun(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx, counted := t.Context(), "botfleet:{run:r}:portals"
		must(t, second(s.Add(ctx, "r", rows(1, 1))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		must(t, rdb.HSet(ctx, counted, "p1", 1, "p2", "many", "p3", -1).Err())
		if d := cmp.Diff(map[string]int{"p1": 1}, waiting(t, s)); d != "" {
			t.Error(d)
		}
		must(t, s.Seal(ctx, "r"))
		if rdb.PTTL(ctx, counted).Val() <= 0 {
			t.Error("it outlives its run")
		}
		must(t, second(s.Add(ctx, "r", rows(1, 1))))
		if rdb.PTTL(ctx, counted).Val() > 0 {
			t.Error("it ends although the run was taken up again")
		}
	})
}

// The rate is of the last minute, and of what was done since a long pause.
func TestTheRateIsThatOfLate(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx, now := t.Context(), time.Unix(1_800_000_000, 0)
		s := runs.New(rdb, runs.Options{Now: func() time.Time { return now }})
		out := 0
		ended := func(ago time.Duration) {
			t.Helper()
			out++ // ids rise also within a millisecond
			id := fmt.Sprintf("%d-%d", now.Add(-ago).UnixMilli(), out)
			must(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: "botfleet:{run:r}:out", ID: id, Values: []any{"1", "x"}}).Err())
		}
		check := func(what string, want float64) {
			t.Helper()
			if got, err := s.Rate(ctx, "r"); err != nil || math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: %v, %v, want %v", what, got, err, want)
			}
		}
		check("nothing ended", 0)
		ended(10 * time.Minute)
		check("one row tells nothing", 0)
		ended(5 * time.Minute)
		check("long ago", 2.0/600)
		for range 10 {
			ended(50 * time.Second)
		}
		check("in the last minute", 10.0/50)
		for range 10 {
			ended(5 * time.Second)
		}
		check("since a pause", 10.0/5)
	})
}
