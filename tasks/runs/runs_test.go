// Runs against both kinds of Redis.

package runs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

func row(n int) runs.Row {
	return runs.Row{
		Number: n, Ident: fmt.Sprintf("ident-%d", n), ID: fmt.Sprintf("own-%d", n),
		Portal: "acme.bitrix24.ru", PortalID: "p1", Code: fmt.Sprintf("bot%d", n),
		QueuedAt: time.Unix(1_800_000_000, 0).UTC(), Bot: json.RawMessage(`{"CODE":"x"}`),
	}
}

func rows(from, to int) []runs.Row {
	var all []runs.Row
	for n := from; n <= to; n++ {
		all = append(all, row(n))
	}
	return all
}

func outcome(n int, s runs.Status) runs.Outcome {
	o := runs.Outcome{Row: n, Portal: "acme.bitrix24.ru", Code: fmt.Sprintf("bot%d", n), Status: s, Attempts: 1}
	if s == runs.StatusRegistered {
		o.BotID = int64(1000 + n)
	}
	if s == runs.StatusDead {
		o.Class, o.Error, o.Bot = "validation", &runs.Failure{Code: "CODE_ERROR"}, json.RawMessage(`{"CODE":"x"}`)
	}
	return o
}

// begun returns a store with an open run, on both kinds of Redis.
func begun(t *testing.T, test func(t *testing.T, s *runs.Store, rdb redis.UniversalClient)) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := runs.New(rdb, runs.Options{TTL: time.Hour})
		if err := s.Open(t.Context(), "r", runs.Begin{Label: "rows.csv", OnExisting: "keep", Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		test(t, s, rdb)
	})
}

func counts(t *testing.T, s *runs.Store) runs.Counts {
	t.Helper()
	info, err := s.Get(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	c := info.Counts
	if c.Queued != c.Waiting+c.Done() {
		t.Fatalf("the counters do not add up: %+v", c)
	}
	return c
}

func TestRowsWaitThenEndOnce(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		n := 1200 // of three chunks
		if withRace && strings.HasSuffix(t.Name(), "in_memory") {
			n = 800
		}
		added, err := s.Add(ctx, "r", rows(1, n))
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range added {
			if a.State != runs.Queued || a.Gen != 0 {
				t.Fatalf("row %d: %+v", i+1, a)
			}
		}
		st, err := s.Load(ctx, "r", 700)
		if err != nil {
			t.Fatal(err)
		}
		want := row(700)
		if d := cmp.Diff(want, st.Row); d != "" {
			t.Fatalf("loaded row differs (-want +got):\n%s", d)
		}
		for i := 1; i <= n; i++ {
			status := runs.StatusRegistered
			if i%10 == 0 {
				status = runs.StatusDead
			}
			// Each twice: an acknowledgement may be lost after the outcome is recorded.
			for range 2 {
				if err := s.Record(ctx, "r", 0, outcome(i, status)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if d := cmp.Diff(runs.Counts{Queued: n, Registered: n - n/10, Dead: n / 10}, counts(t, s)); d != "" {
			t.Fatal(d)
		}
		if err := s.Record(ctx, "r", 0, outcome(5, runs.StatusDead)); err != nil {
			t.Fatal(err)
		}
		if c := counts(t, s); c.Dead != n/10 {
			t.Fatalf("a registered row died: %+v", c)
		}
	})
}

func TestAddingAgainChangesNothing(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 4))))
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusRegistered)))
		must(t, s.Record(ctx, "r", 0, outcome(3, runs.StatusDead)))
		other := rows(1, 5)
		other[3].Ident = "somebody else"
		added, err := s.Add(ctx, "r", other)
		must(t, err)
		want := []runs.Added{{State: runs.Waiting}, {State: runs.Registered}, {State: runs.Queued, Gen: 1}, {State: runs.Other}, {State: runs.Queued}}
		if d := cmp.Diff(want, added); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(runs.Counts{Queued: 5, Waiting: 4, Registered: 1}, counts(t, s)); d != "" {
			t.Fatal(d)
		}
		// The first generation's late outcome does not touch the second's wait.
		must(t, s.Record(ctx, "r", 0, outcome(3, runs.StatusRegistered)))
		if c := counts(t, s); c.Waiting != 4 {
			t.Fatalf("a superseded outcome counted: %+v", c)
		}
	})
}

func TestADeadRowRunAgainKeepsTheCountersTrue(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 2))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		st, err := s.Load(ctx, "r", 1)
		must(t, err)
		if st.Outcome == nil || string(st.Outcome.Bot) != `{"CODE":"x"}` {
			t.Fatalf("a dead row lost what was asked for: %+v", st)
		}
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		if d := cmp.Diff(runs.Counts{Queued: 2, Waiting: 1, Registered: 1}, counts(t, s)); d != "" {
			t.Fatal(d)
		}
	})
}

func TestARunEndsExpiresAndReopens(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 600))))
		hash, err := s.PutPhoto(ctx, "r", "aGVsbG8=")
		must(t, err)
		for n := 1; n <= 600; n++ {
			must(t, s.Record(ctx, "r", 0, outcome(n, runs.StatusRegistered)))
		}
		if left := expiring(t, rdb, "botfleet:{run:r}:*"); left != 0 {
			t.Fatalf("%d keys expire although the producer has not finished", left)
		}
		must(t, s.Seal(ctx, "r"))
		if left := expiring(t, rdb, "botfleet:{run:r}:*"); left != 5 { // meta, out, photos, two hashes
			t.Fatalf("%d keys of the ended run expire, want 5", left)
		}
		if left := expiring(t, rdb, "botfleet:{photo:"+hash+"}:data"); left != 1 {
			t.Fatal("the photo outlives its only run")
		}
		must(t, second(s.Add(ctx, "r", rows(601, 601))))
		if left := expiring(t, rdb, "botfleet:{run:r}:*"); left != 0 && left != 1 { // photos may still expire: nothing of it is left
			t.Fatalf("%d keys still expire after the run was taken up again", left)
		}
		info, err := s.Get(ctx, "r")
		must(t, err)
		if info.Finished() || !info.Ended.IsZero() {
			t.Fatalf("taken up again, and yet %+v", info)
		}
	})
}

func TestSweepEndsWhatNobodyEnded(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx, now := t.Context(), time.Now()
		s := runs.New(rdb, runs.Options{TTL: time.Hour, Now: func() time.Time { return now }})
		must(t, s.Open(ctx, "r", runs.Begin{Lease: time.Minute}))
		must(t, second(s.Add(ctx, "r", rows(1, 1))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		must(t, s.Sweep(ctx))
		if info, err := s.Get(ctx, "r"); err != nil || !info.Ended.IsZero() {
			t.Fatalf("ended under its producer's hands: %+v, %v", info, err)
		}
		now = now.Add(2 * time.Minute)
		must(t, s.Sweep(ctx))
		if info, err := s.Get(ctx, "r"); err != nil || info.Ended.IsZero() {
			t.Fatalf("not ended: %+v, %v", info, err)
		}
		must(t, rdb.Del(ctx, "botfleet:{run:r}:meta").Err())
		now = now.Add(2 * time.Hour)
		must(t, s.Sweep(ctx))
		if n := rdb.ZCard(ctx, "botfleet:runs").Val(); n != 0 {
			t.Fatalf("%d expired runs still listed", n)
		}
	})
}

func TestAFollowerGivesEachOutcomeOnce(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		n := 5000 // more than the live stream keeps
		if withRace && strings.HasSuffix(t.Name(), "in_memory") {
			n = 600
		}
		ctx := t.Context()
		f := s.Follow("r")
		must(t, second(s.Add(ctx, "r", rows(1, n))))
		var workers errgroup.Group // side by side they share round trips, as a worker's calls do
		for w := range 50 {
			workers.Go(func() error {
				for i := w + 1; i <= n; i += 50 {
					if err := s.Record(ctx, "r", 0, outcome(i, runs.StatusRegistered)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(t, workers.Wait())
		must(t, s.Seal(ctx, "r"))
		seen := make([]int, n+1)
		err := f.Wait(ctx, func(o runs.Outcome) error { seen[o.Row]++; return nil }, nil)
		must(t, err)
		for i := 1; i <= n; i++ {
			if seen[i] != 1 {
				t.Fatalf("row %d was given %d times", i, seen[i])
			}
		}
	})
}

func TestAFollowerStopsWhenTold(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		must(t, second(s.Add(t.Context(), "r", rows(1, 1))))
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := s.Follow("r").Wait(ctx, func(runs.Outcome) error { return nil }, func(runs.Info) { cancel(why) })
		if !errors.Is(err, why) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestRefusedRowsAreDoneFromTheStart(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		o := outcome(1, runs.StatusRefused)
		o.Errors = []runs.Problem{{Field: "CODE", Code: "CODE_ERROR", Problem: "missing"}}
		must(t, second(s.AddDone(ctx, "r", []string{"a"}, []runs.Outcome{o})))
		must(t, second(s.AddDone(ctx, "r", []string{"a"}, []runs.Outcome{o})))
		if d := cmp.Diff(runs.Counts{Queued: 1, Refused: 1}, counts(t, s)); d != "" {
			t.Fatal(d)
		}
		// Mended into another bot, it waits.
		must(t, second(s.Add(ctx, "r", rows(1, 1))))
		if d := cmp.Diff(runs.Counts{Queued: 1, Waiting: 1}, counts(t, s)); d != "" {
			t.Fatal(d)
		}
	})
}

func TestRandomStoriesKeepTheCountersTrue(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		r := rand.New(rand.NewPCG(1, 2))
		gens := map[int]int{}
		for range 400 {
			n := 1 + r.IntN(20)
			if r.IntN(3) == 0 {
				added, err := s.Add(ctx, "r", rows(n, n))
				must(t, err)
				gens[n] = added[0].Gen
			} else if g, ok := gens[n]; ok {
				status := []runs.Status{runs.StatusRegistered, runs.StatusDead, runs.StatusDuplicate}[r.IntN(3)]
				must(t, s.Record(ctx, "r", max(g-r.IntN(2), 0), outcome(n, status)))
			}
			counts(t, s)
		}
	})
}

func TestUnknownRunsAndRows(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		for what, err := range map[string]error{
			"get":    second(s.Get(ctx, "nobody")),
			"load":   second(s.Load(ctx, "nobody", 1)),
			"record": s.Record(ctx, "nobody", 0, outcome(1, runs.StatusDead)),
		} {
			if !errors.Is(err, runs.ErrUnknownRun) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, id := range []string{"", "a b", "{x}", strings.Repeat("x", 65)} {
			if err := s.Open(ctx, id, runs.Begin{}); err == nil {
				t.Errorf("run id %q was taken", id)
			}
		}
	})
}

func TestNumbersAreGivenOnce(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 7))))
		for _, want := range []int{8, 11, 14} {
			if got, err := s.Number(ctx, "r", 3); err != nil || got != want {
				t.Fatalf("got %d, %v; want %d", got, err, want)
			}
		}
	})
}

func expiring(t *testing.T, rdb redis.UniversalClient, pattern string) int {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), pattern).Result()
	must(t, err)
	n := 0
	for _, k := range keys {
		if rdb.PTTL(t.Context(), k).Val() > 0 {
			n++
		}
	}
	return n
}

func second[T any](_ T, err error) error { return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
