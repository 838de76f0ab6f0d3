// Dead rows that come to wait again: as they are, with a reason, or mended.

package runs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

func load(t *testing.T, s *runs.Store, n int) runs.State {
	t.Helper()
	st, err := s.Load(t.Context(), "r", n)
	must(t, err)
	return st
}

// waitingAt is for how many rows of the run each portal is waited.
func waitingAt(t *testing.T, s *runs.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	must(t, s.Waiting(t.Context(), "r", func(p string, n int) error { all[p] = n; return nil }))
	return all
}

// A reason is a person's text: nothing in it may be taken for a part of the row.
const evilReason = `}{"pid":"px"},"times":7,"retried":{"times":99} %1 \ | "` + "\u2028\n"

func TestARetryKeepsItsReason(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx, now := t.Context(), time.Unix(1_800_000_000, 0).UTC()
		s := runs.New(rdb, runs.Options{Now: func() time.Time { return now }})
		must(t, s.Open(ctx, "r", runs.Begin{}))
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusDuplicate)))

		again := s.Retrying(evilReason)
		must(t, second(again.Add(ctx, "r", rows(1, 4))))
		want := &runs.Retried{At: now, Times: 1, Reason: evilReason}
		if d := cmp.Diff(want, load(t, s, 1).Row.Retried); d != "" {
			t.Fatalf("the waiting row (-want +got):\n%s", d)
		}
		for n := 2; n <= 4; n++ {
			if r := load(t, s, n).Row.Retried; r != nil {
				t.Errorf("row %d was not dead, and yet %+v", n, r)
			}
		}
		if d := cmp.Diff(map[string]int{"p1": 4}, waitingAt(t, s)); d != "" {
			t.Error(d)
		}

		must(t, s.Record(ctx, "r", 1, outcome(1, runs.StatusDead)))
		if d := cmp.Diff(want, load(t, s, 1).Outcome.Retried); d != "" {
			t.Fatalf("the outcome (-want +got):\n%s", d)
		}
		now = now.Add(time.Hour)
		must(t, second(s.Retrying("").Add(ctx, "r", rows(1, 1))))
		want = &runs.Retried{At: now, Times: 2}
		// An operator's click runs the dead row's task: recorded without a look at what was before.
		must(t, s.Record(ctx, "r", 2, outcome(1, runs.StatusDead)))
		must(t, s.Record(ctx, "r", 2, outcome(1, runs.StatusRegistered)))
		if d := cmp.Diff(want, load(t, s, 1).Outcome.Retried); d != "" {
			t.Fatalf("after the second retry (-want +got):\n%s", d)
		}
		if d := cmp.Diff(map[string]int{"p1": 3}, waitingAt(t, s)); d != "" {
			t.Error(d)
		}
		counts(t, s)
	})
}

func TestADeadRowMayBecomeAnotherBot(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusDead)))
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusRegistered)))
		mended := rows(1, 3)
		for i := range mended {
			mended[i].Ident, mended[i].PortalID, mended[i].Code = "mended", "p2", "mended"
		}
		added, err := s.Add(ctx, "r", mended)
		must(t, err)
		want := []runs.Added{{State: runs.Queued, Gen: 1}, {State: runs.Other}, {State: runs.Other}}
		if d := cmp.Diff(want, added); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(map[string]int{"p1": 1, "p2": 1}, waitingAt(t, s)); d != "" {
			t.Error(d)
		}
		if row := load(t, s, 1).Row; row.Ident != "mended" || row.Code != "mended" {
			t.Errorf("%+v", row)
		}
		// What the old bot's task comes to is nothing to the new one.
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		if d := cmp.Diff(runs.Counts{Queued: 3, Waiting: 2, Registered: 1}, counts(t, s)); d != "" {
			t.Error(d)
		}
		if load(t, s, 1).Outcome != nil {
			t.Error("the mended row took the old bot's outcome")
		}
		must(t, s.Record(ctx, "r", 1, outcome(1, runs.StatusDead)))
		o := outcome(1, runs.StatusRefused)
		must(t, second(s.AddDone(ctx, "r", []string{"third"}, []runs.Outcome{o})))
		if st := load(t, s, 1); st.Outcome.Status != runs.StatusRefused || st.Outcome.Ident != "third" || st.Gen != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// A retry of an ended run makes all of it last again, its photos too, until it
// has ended anew.
func TestARetriedRunLastsAndEndsAgain(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx := t.Context()
		begin := func() *runs.Store { return runs.New(rdb, runs.Options{TTL: time.Hour}) } // each command's own
		s := begin()
		must(t, s.Open(ctx, "r", runs.Begin{}))
		hash, err := s.PutPhoto(ctx, "r", "aGVsbG8=")
		must(t, err)
		two := rows(1, 600)
		two[599].Photo = hash
		must(t, second(s.Add(ctx, "r", two)))
		for n := 1; n <= 600; n++ {
			o := outcome(n, runs.StatusDead)
			o.Photo = two[n-1].Photo
			must(t, s.Record(ctx, "r", 0, o))
		}
		for round := 1; round <= 2; round++ {
			if info, err := s.Get(ctx, "r"); err != nil || info.Ended.IsZero() {
				t.Fatalf("round %d: not ended: %+v, %v", round, info, err)
			}
			if n := expiring(t, rdb, "botfleet:{run:r}:*"); n != len(rdb.Keys(ctx, "botfleet:{run:r}:*").Val()) {
				t.Fatalf("round %d: %d keys expire", round, n)
			}
			if n := expiring(t, rdb, "botfleet:{photo:*"); n != 1 {
				t.Fatalf("round %d: the photo does not expire", round)
			}
			again := begin()
			text, err := again.Photo(ctx, hash)
			must(t, err)
			must(t, second(again.PutPhoto(ctx, "r", text)))
			must(t, second(again.Retrying("again").Add(ctx, "r", two[599:])))
			if n := expiring(t, rdb, "botfleet:*"); n != 0 {
				t.Fatalf("round %d: %d keys expire although a row waits", round, n)
			}
			o := outcome(600, runs.StatusDead)
			o.Photo = hash
			must(t, s.Record(ctx, "r", round, o))
		}
		if r := load(t, s, 600).Outcome.Retried; r == nil || r.Times != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// A worker that dies between a run's end and the release of its photos leaves
// them to the next sweep.
func TestSweepReleasesPhotosThatAnEndLeft(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.PutPhoto(ctx, "r", "aGVsbG8=")))
		must(t, rdb.HSet(ctx, "botfleet:{run:r}:meta", "ended", "1").Err())
		if n := expiring(t, rdb, "botfleet:{photo:*"); n != 0 {
			t.Fatal("the photo expires already")
		}
		must(t, s.Sweep(ctx))
		if n := expiring(t, rdb, "botfleet:{photo:*"); n != 1 {
			t.Error("the photo stays for ever")
		}
		keys := rdb.Keys(ctx, "botfleet:{photo:*").Val()
		must(t, rdb.Persist(ctx, keys[0]).Err())
		must(t, s.Sweep(ctx)) // once is enough
		if n := expiring(t, rdb, "botfleet:{photo:*"); n != 0 {
			t.Error("released again")
		}
	})
}

// 10,000 rows share one photo: it is stored once, and looked at once.
func TestAPhotoOfManyRowsIsStoredOnce(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		photo := string(make([]byte, 1<<20))
		var first string
		for range 10_000 {
			hash, err := s.PutPhoto(ctx, "r", photo)
			must(t, err)
			if first == "" {
				first = hash
			} else if hash != first {
				t.Fatal("another hash for the same photo")
			}
		}
		if hash, err := s.PutPhoto(ctx, "r", photo[1:]); err != nil || hash == first {
			t.Errorf("another photo has the same hash, %v", err)
		}
		must(t, second(s.PutPhoto(ctx, "r", photo)))
		if n := len(rdb.Keys(ctx, "botfleet:{photo:*:data").Val()); n != 2 {
			t.Errorf("%d photos are stored", n)
		}
		must(t, s.Seal(ctx, "r"))
		if n := expiring(t, rdb, "botfleet:{photo:*:data"); n != 2 {
			t.Errorf("%d photos expire with their run", n)
		}
	})
}

func TestRetriedComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := runs.Retried{
			At: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0).UTC(), Times: rapid.IntRange(0, 1<<20).Draw(t, "times"),
			Reason: rapid.String().Draw(t, "reason"),
		}
		text, err := want.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if inner := string(text[1 : len(text)-1]); strings.ContainsAny(inner, "{}") {
			t.Fatalf("a brace inside: %s", text)
		}
		var got runs.Retried
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}
