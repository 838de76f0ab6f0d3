// Followers of runs whose rows were queued anew.

package runs_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// followed returns what a follower gives in one look.
func followed(t *testing.T, f *runs.Follower) []runs.Outcome {
	t.Helper()
	var got []runs.Outcome
	if _, err := f.Next(t.Context(), func(o runs.Outcome) error { got = append(got, o); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// An outcome that no longer holds must not be given as the row's one outcome.
func TestAFollowerPassesOverOutcomesThatNoLongerHold(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		for n := 1; n <= 3; n++ {
			must(t, s.Record(ctx, "r", 0, outcome(n, runs.StatusDead)))
		}
		must(t, second(s.Add(ctx, "r", rows(1, 1))))                      // queued anew
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusRegistered))) // run again by hand
		f := s.Follow("r")
		got := followed(t, f)
		if len(got) != 2 || got[0].Row != 3 || got[0].Status != runs.StatusDead || got[1].Row != 2 || got[1].Status != runs.StatusRegistered {
			t.Fatalf("%+v", got)
		}
		must(t, s.Record(ctx, "r", 1, outcome(1, runs.StatusRegistered)))
		if got := followed(t, f); len(got) != 1 || got[0].Row != 1 || got[0].Status != runs.StatusRegistered {
			t.Errorf("%+v", got)
		}
	})
}

// A run that is taken up again needs its photos as long as the new rows do.
func TestAReopenedRunKeepsAndReleasesItsPhotos(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		end := func(rows []runs.Row) {
			must(t, second(s.Add(ctx, "r", rows)))
			for _, r := range rows {
				must(t, s.Record(ctx, "r", 0, outcome(r.Number, runs.StatusRegistered)))
			}
			must(t, s.Seal(ctx, "r"))
		}
		must(t, second(s.PutPhoto(ctx, "r", "photo")))
		end(rows(1, 1))
		if n := expiring(t, rdb, "botfleet:{photo:*:data"); n != 1 {
			t.Fatalf("%d photos will go", n)
		}
		must(t, second(s.PutPhoto(ctx, "r", "photo")))
		must(t, second(s.Add(ctx, "r", rows(2, 2))))
		if n := expiring(t, rdb, "botfleet:{*"); n != 0 {
			t.Errorf("%d keys of a run that goes on will go", n)
		}
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusRegistered)))
		must(t, s.Seal(ctx, "r"))
		if n := expiring(t, rdb, "botfleet:{*"); n != 5 {
			t.Errorf("%d of meta, rows, out, list of photos and the photo will go", n)
		}
	})
}
