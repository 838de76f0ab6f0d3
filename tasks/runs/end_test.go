// Waiting rows that are given up: what becomes of them, and of which not.

package runs_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

func end(r runs.Row) runs.End {
	return runs.End{Number: r.Number, Ident: r.Ident, Attempts: 2, Class: "operator", Error: runs.Failure{Code: "CANCELLED", Description: `"by" {an} operator`}}
}

func TestWaitingRowsAreEnded(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		var all []runs.Row
		var ends []runs.End
		for n := 1; n <= 1200; n++ { // three hashes, several scripts each
			all = append(all, on(row(n), fmt.Sprintf("p%d", n%2)))
			ends = append(ends, end(all[n-1]))
		}
		must(t, second(s.Add(ctx, "r", all)))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		ends[1].Ident = "another bot's"
		n, err := s.EndWaiting(ctx, "r", ends)
		if err != nil || n != 1198 {
			t.Fatal(n, err)
		}
		info, err := s.Get(ctx, "r")
		must(t, err)
		if d := cmp.Diff(runs.Counts{Queued: 1200, Waiting: 1, Registered: 1, Dead: 1198}, info.Counts); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]runs.CodeCount{{Class: "operator", Code: "CANCELLED", Rows: 1198}}, info.DeadBy); d != "" {
			t.Error(d)
		}
		if got := waiting(t, s); len(got) != 1 || got["p0"] != 1 || !info.Ended.IsZero() {
			t.Errorf("%v, ended %v", got, info.Ended)
		}
		st, err := s.Load(ctx, "r", 700)
		must(t, err)
		o, r := st.Outcome, all[699]
		if o == nil || o.ID != r.ID || o.Portal != r.Portal || o.PortalID != r.PortalID || o.Code != r.Code || string(o.Bot) != string(r.Bot) ||
			!o.QueuedAt.Equal(r.QueuedAt) || o.Attempts != 2 || o.Error.Description != ends[699].Error.Description || o.DoneAt.IsZero() || o.Status != runs.StatusDead {
			t.Errorf("%+v", o)
		}
		// The last one ends the run, whatever comes behind it.
		must(t, s.Seal(ctx, "r"))
		if n, err := s.EndWaiting(ctx, "r", []runs.End{end(all[1]), end(all[1100])}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if info, err = s.Get(ctx, "r"); err != nil || info.Ended.IsZero() {
			t.Errorf("%+v, %v", info, err)
		}
		if n, err := s.EndWaiting(ctx, "r", ends); n != 0 || err != nil {
			t.Error(n, err)
		}
	})
}

// A row that was queued again keeps that through its end, and into its next life.
func TestAnEndedRowKeepsItsRetries(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		again := s.Retrying("the {first} time")
		must(t, second(s.Add(ctx, "r", []runs.Row{row(1)})))
		for times := 1; times <= 3; times++ {
			if n, err := s.EndWaiting(ctx, "r", []runs.End{end(row(1))}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			st, err := s.Load(ctx, "r", 1)
			must(t, err)
			if times > 1 && (st.Outcome.Retried == nil || st.Outcome.Retried.Times != times-1 || st.Outcome.Retried.Reason != "the {first} time") || st.Gen != times-1 {
				t.Errorf("%+v %+v", st, st.Outcome.Retried)
			}
			must(t, second(again.Add(ctx, "r", []runs.Row{row(1)})))
		}
		info, err := s.Get(ctx, "r")
		must(t, err)
		if d := cmp.Diff(runs.Counts{Queued: 1, Waiting: 1}, info.Counts); d != "" || len(info.DeadBy) > 0 {
			t.Errorf("%s%+v", d, info.DeadBy)
		}
	})
}

// Rows of a run that is gone, and values that are no rows, are left alone.
func TestWhatIsNoWaitingRowIsNotEnded(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", []runs.Row{row(1), row(2)})))
		rows := "botfleet:{run:r}:rows:0"
		must(t, rdb.HSet(ctx, rows, "1", "w0|"+row(1).Ident+"|no JSON", "3", "nonsense").Err())
		three := end(row(3))
		if n, err := s.EndWaiting(ctx, "r", []runs.End{end(row(1)), three}); n != 0 || err != nil {
			t.Error(n, err)
		}
		if v := rdb.HGet(ctx, rows, "3").Val(); v != "nonsense" {
			t.Error(v)
		}
		must(t, rdb.Del(ctx, "botfleet:{run:r}:meta").Err())
		if n, err := s.EndWaiting(ctx, "r", []runs.End{end(row(2))}); n != 0 || err != nil {
			t.Error(n, err)
		}
		if n := rdb.Exists(ctx, "botfleet:{run:r}:meta").Val(); n != 0 {
			t.Error("the run has come back")
		}
	})
}
