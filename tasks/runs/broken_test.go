// Values that are no rows: another program's, a later version's, an accident's.

package runs_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// broken are values that may stand in a row's place. Those marked still tell that
// the row waits.
var broken = []struct {
	value string
	waits bool
}{
	{"", false},
	{"w", false},
	{"w0", false},
	{"w0|ident", false},
	{`{"v":2}`, false},
	{`x0|ident|{}`, false},
	{`w-1|ident|{}`, false},
	{`w99999999999999999999|ident|{}`, false},
	{`d1e3|ident|{"status":"dead"}`, false},
	{"w0|ident|", true},
	{"w0|ident|{", true},
	{`w0|ident|[1]`, true},
	{`w0|ident|{"portal":7}`, true},
	{`w0|ident|{"queued_at":"yesterday"}`, true},
	{"w0|ident|" + strings.Repeat("[", 100_000), true},
	{`d0|ident|{"row":"x"}`, false},
	{`d0|ident|{"status":"registered"}`, false},
	{`d0|ident|null`, false},
	{"r0|ident|\xff\xfe", false},
}

func TestWhatIsNoRowHurtsNoOther(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		n := len(broken)
		must(t, second(s.Add(ctx, "r", rows(1, n+2))))
		hash := "botfleet:{run:r}:rows:0"
		for i, b := range broken {
			must(t, rdb.HSet(ctx, hash, strconv.Itoa(i+1), b.value).Err())
		}
		for _, field := range []string{"", "x", "-1", "0", "99999999999999999999", "700"} {
			must(t, rdb.HSet(ctx, hash, field, "w0|i|{}").Err())
		}
		must(t, s.Record(ctx, "r", 0, outcome(n+1, runs.StatusRegistered)))

		for i, b := range broken {
			st, err := s.Load(ctx, "r", i+1)
			if !errors.Is(err, runs.ErrBroken) || (st.Outcome == nil) != b.waits || b.waits && st.Row.Ident != "ident" {
				t.Errorf("%.40q: %+v, %v", b.value, st, err)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("%.40q: an error of %d characters", b.value, len(err.Error()))
			}
		}
		seen := map[int]runs.Outcome{}
		must(t, s.Outcomes(ctx, "r", func(o runs.Outcome) error { seen[o.Row] = o; return nil }))
		for i, b := range broken {
			o, ok := seen[i+1]
			if ok == b.waits || ok && (o.Status != runs.StatusDead || o.Error.Code != runs.CodeUnreadable) {
				t.Errorf("%.40q is given as %+v", b.value, o)
			}
		}
		if seen[n+1].BotID == 0 || len(seen) > n+1 {
			t.Errorf("the good row is given as %+v, among %d", seen[n+1], len(seen))
		}

		// Adding over them hurts none of the others either.
		added, err := s.Add(ctx, "r", rows(1, n+3))
		must(t, err)
		if added[n+1].State != runs.Waiting || added[n+2].State != runs.Queued {
			t.Errorf("the good rows: %+v", added[n:])
		}
		for i, b := range broken {
			if !b.waits && strings.HasPrefix(b.value, "w") && added[i].State != runs.Other {
				t.Errorf("%.40q was taken for a row: %+v", b.value, added[i])
			}
		}
	})
}

// A waiting row that cannot be read can be ended.
func TestAWaitingRowThatCannotBeReadCanEnd(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 2))))
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		must(t, rdb.HSet(ctx, "botfleet:{run:r}:rows:0", "2", `w3|ident-2|{"retried":{"broken`).Err())
		must(t, s.Record(ctx, "r", 3, outcome(2, runs.StatusDead)))
		must(t, s.Seal(ctx, "r"))
		if info, err := s.Get(ctx, "r"); err != nil || info.Ended.IsZero() || info.Counts.Dead != 1 {
			t.Errorf("%+v, %v", info, err)
		}
		must(t, rdb.HSet(ctx, "botfleet:{run:r}:rows:0", "2", `what?`).Err())
		if err := s.Record(ctx, "r", 3, outcome(2, runs.StatusDead)); !errors.Is(err, runs.ErrBroken) {
			t.Errorf("recorded over what is no row: %v", err)
		}
	})
}

// Strange entries in the live stream are passed over; the rows tell the rest.
func TestAFollowerPassesOverWhatIsNoOutcome(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 2))))
		for _, e := range [][]any{{"x", "y"}, {"1", "w0|i|{}"}, {"1", ""}, {"-3", `d0|i|{"status":"dead"}`}, {"99999999999", `d0|i|{"status":"dead"}`}} {
			must(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: "botfleet:{run:r}:out", Values: e}).Err())
		}
		must(t, s.Record(ctx, "r", 0, outcome(1, runs.StatusRegistered)))
		must(t, s.Record(ctx, "r", 0, outcome(2, runs.StatusDead)))
		must(t, s.Seal(ctx, "r"))
		var got []int
		must(t, s.Follow("r").Wait(ctx, func(o runs.Outcome) error { got = append(got, o.Row); return nil }, nil))
		if fmt.Sprint(got) != "[1 2]" {
			t.Errorf("got the rows %v", got)
		}
	})
}
