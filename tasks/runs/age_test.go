// The oldest waiting row, and all that waits.

package runs_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

var dawn = time.Unix(1_800_000_000, 0).UTC()

func since(n, seconds int) runs.Row {
	r := row(n)
	r.QueuedAt = dawn.Add(time.Duration(seconds) * time.Second)
	return r
}

func isOldest(t *testing.T, s *runs.Store, run string, want time.Time) {
	t.Helper()
	if got, err := s.OldestWaiting(t.Context(), run); err != nil || !got.Equal(want) {
		t.Fatalf("%s: got %v, %v; want %v", run, got, err, want)
	}
}

func TestTheOldestWaitingRow(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		isOldest(t, s, "r", time.Time{})
		isOldest(t, s, "nobody", time.Time{})
		must(t, second(s.Add(ctx, "r", []runs.Row{since(1, 60), since(2, 30), since(600, 40), since(2000, 20)})))
		isOldest(t, s, "r", dawn.Add(20*time.Second))
		must(t, s.Record(ctx, "r", 0, outcome(2000, runs.StatusRegistered)))
		isOldest(t, s, "r", dawn.Add(30*time.Second))
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusDead)))
		isOldest(t, s, "r", dawn.Add(40*time.Second))
		must(t, s.Record(ctx, "r", 0, outcome(600, runs.StatusDead)))
		isOldest(t, s, "r", dawn.Add(60*time.Second))
		must(t, second(s.Add(ctx, "r", []runs.Row{since(2, 50)}))) // its second life
		isOldest(t, s, "r", dawn.Add(50*time.Second))
		must(t, s.Record(ctx, "r", 1, outcome(2, runs.StatusDead)))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		isOldest(t, s, "r", time.Time{})
		must(t, s.Seal(ctx, "r"))
		if n := rdb.Exists(ctx, "botfleet:{run:r}:ages").Val(); n != 0 {
			t.Error("the ended run keeps its ages")
		}
	})
}

// A run that an earlier version began has noted nothing.
func TestTheOldestRowOfAnEarlierVersionsRun(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, rdb.HSet(ctx, "botfleet:{run:r}:meta", "created", dawn.UnixMilli()).Err())
		must(t, second(s.Add(ctx, "r", []runs.Row{since(1, 60), since(600, 40)})))
		must(t, rdb.HDel(ctx, "botfleet:{run:r}:meta", "ages").Err())
		must(t, rdb.Del(ctx, "botfleet:{run:r}:ages").Err())
		must(t, second(s.Add(ctx, "r", []runs.Row{since(2, 90)})))
		isOldest(t, s, "r", dawn.Add(40*time.Second))
		must(t, s.Record(ctx, "r", 0, outcome(600, runs.StatusDead)))
		isOldest(t, s, "r", dawn.Add(60*time.Second))
	})
}

func TestRandomStoriesKeepTheOldestTrue(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx, r := t.Context(), rand.New(rand.NewPCG(3, 4))
		waits := map[int]time.Time{}
		gens := map[int]int{}
		for range 500 {
			n := 1 + r.IntN(6)*300
			if _, ok := waits[n]; ok && r.IntN(2) == 0 {
				must(t, s.Record(ctx, "r", gens[n], outcome(n, runs.StatusDead)))
				delete(waits, n)
			} else {
				row := since(n, r.IntN(1000))
				added, err := s.Add(ctx, "r", []runs.Row{row})
				must(t, err)
				if gens[n] = added[0].Gen; added[0].State == runs.Queued {
					waits[n] = row.QueuedAt
				}
			}
			var want time.Time
			for _, at := range waits {
				if want.IsZero() || at.Before(want) {
					want = at
				}
			}
			if r.IntN(3) > 0 {
				isOldest(t, s, "r", want)
			}
		}
	})
}

func TestTheBacklogIsThatOfAllRuns(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx, now := t.Context(), dawn.Add(time.Hour)
		s := runs.New(rdb, runs.Options{TTL: time.Hour, Now: func() time.Time { return now }})
		check := func(want runs.Backlog) {
			t.Helper()
			if got, err := s.Backlog(ctx, 1000); err != nil || got.Runs != want.Runs || got.Waiting != want.Waiting ||
				!got.Begun.Equal(want.Begun) || !got.Queued.Equal(want.Queued) {
				t.Fatalf("got %+v, %v; want %+v", got, err, want)
			}
		}
		check(runs.Backlog{})
		for i := range 150 { // the oldest ones wait the shortest
			run := fmt.Sprintf("run%d", i)
			must(t, s.Open(ctx, run, runs.Begin{}))
			must(t, second(s.Add(ctx, run, []runs.Row{since(1, 500-i), since(2, 800)})))
			now = now.Add(time.Second)
		}
		begun := dawn.Add(time.Hour)
		check(runs.Backlog{Runs: 150, Waiting: 300, Begun: begun, Queued: dawn.Add(351 * time.Second)})
		for i := 1; i < 150; i++ {
			must(t, s.Record(ctx, fmt.Sprintf("run%d", i), 0, outcome(1, runs.StatusRegistered)))
		}
		must(t, second(s.Backlog(ctx, 1000))) // looks into a hundred of those that have ended much
		check(runs.Backlog{Runs: 150, Waiting: 151, Begun: begun, Queued: dawn.Add(500 * time.Second)})
		must(t, s.Record(ctx, "run0", 0, outcome(1, runs.StatusDead)))
		for i := range 149 {
			must(t, s.Record(ctx, fmt.Sprintf("run%d", i), 0, outcome(2, runs.StatusRegistered)))
		}
		last := runs.Backlog{Runs: 1, Waiting: 1, Begun: begun.Add(149 * time.Second), Queued: dawn.Add(800 * time.Second)}
		check(last)
		// A sweep finds what an earlier version, or nobody, has noted.
		must(t, rdb.Del(ctx, "botfleet:runs:open").Err())
		check(runs.Backlog{})
		must(t, s.Sweep(ctx))
		check(last)
		must(t, rdb.SAdd(ctx, "botfleet:runs:open", "run3", "run4").Err())
		must(t, s.Sweep(ctx))
		if n := rdb.SCard(ctx, "botfleet:runs:open").Val(); n != 1 {
			t.Errorf("%d runs are noted as unfinished", n)
		}
		must(t, s.Record(ctx, "run149", 0, outcome(2, runs.StatusRegistered)))
		check(runs.Backlog{})
		if n := rdb.SCard(ctx, "botfleet:runs:open").Val(); n != 0 {
			t.Errorf("%d runs are noted as unfinished", n)
		}
	})
}
