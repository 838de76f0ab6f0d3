// Dead rows by class and code: always as many as are dead.

package runs_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// died is a dead row's outcome. What it asked for names another cause, which is
// not to be taken for its own.
func died(n int, class, code string) runs.Outcome {
	o := outcome(n, runs.StatusDead)
	o.ID = `"class":"id","error":{"code":"ID"`
	o.Class, o.Error = class, &runs.Failure{Code: code, Description: `"class":"text","error":{"code":"TEXT"}`}
	o.Bot = json.RawMessage(`{"class":"bot","error":{"code":"BOT"}}`)
	return o
}

// causes checks that the counts by cause come to all that are dead.
func causes(t *testing.T, s *runs.Store) []runs.CodeCount {
	t.Helper()
	info, err := s.Get(t.Context(), "r")
	must(t, err)
	sum, pairs := 0, 0
	for i, c := range info.DeadBy {
		sum += c.Rows
		if c != (runs.CodeCount{Code: runs.CodeOther, Rows: c.Rows}) {
			pairs++
		}
		if c.Rows <= 0 || i > 0 && info.DeadBy[i-1].Rows < c.Rows {
			t.Fatalf("out of order: %+v", info.DeadBy)
		}
	}
	if sum != info.Counts.Dead || pairs > 32 {
		t.Fatalf("%d dead rows, by cause %d in %d pairs: %+v", info.Counts.Dead, sum, pairs, info.DeadBy)
	}
	return info.DeadBy
}

func TestDeadRowsByCause(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		check := func(what string, want ...runs.CodeCount) {
			t.Helper()
			if d := cmp.Diff(want, causes(t, s)); d != "" {
				t.Fatalf("%s (-want +got):\n%s", what, d)
			}
		}
		must(t, second(s.Add(ctx, "r", rows(1, 8))))
		check("none is dead")
		for n := 1; n <= 3; n++ {
			must(t, s.Record(ctx, "r", 0, died(n, "blocked", "PORTAL_DELETED")))
			must(t, s.Record(ctx, "r", 0, died(n, "blocked", "PORTAL_DELETED")))
		}
		must(t, s.Record(ctx, "r", 0, died(4, "validation", "CODE_ERROR")))
		must(t, second(s.RecordWaiting(ctx, "r", 0, died(5, "", "expired_token"))))
		must(t, s.Record(ctx, "r", 0, died(6, "validation", "a sentence, | \" not a code")))
		none := died(7, "", "")
		none.Error, none.Bot = nil, nil
		must(t, s.Record(ctx, "r", 0, none))
		want := []runs.CodeCount{
			{Class: "blocked", Code: "PORTAL_DELETED", Rows: 3}, {Code: runs.CodeOther, Rows: 2},
			{Code: "expired_token", Rows: 1}, {Class: "validation", Code: "CODE_ERROR", Rows: 1},
		}
		check("seven died", want...)
		must(t, second(s.Add(ctx, "r", rows(1, 2))))                              // queued anew
		must(t, s.Record(ctx, "r", 0, outcome(3, runs.StatusRegistered)))         // its task was run by hand
		must(t, s.Record(ctx, "r", 0, died(4, "blocked", "INVALID_CREDENTIALS"))) // the same, and worse
		must(t, second(s.Retrying("why").Add(ctx, "r", []runs.Row{mended(6)})))   // another bot
		must(t, s.Record(ctx, "r", 0, died(1, "blocked", "PORTAL_DELETED")))      // too late
		check("mended", runs.CodeCount{Code: runs.CodeOther, Rows: 1}, runs.CodeCount{Code: "expired_token", Rows: 1},
			runs.CodeCount{Class: "blocked", Code: "INVALID_CREDENTIALS", Rows: 1})
	})
}

func mended(n int) runs.Row {
	r := row(n)
	r.Ident = "mended"
	return r
}

func TestTheRestHaveNoCauseOfTheirOwn(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 50))))
		for n := 1; n <= 50; n++ {
			must(t, s.Record(ctx, "r", 0, died(n, "validation", fmt.Sprintf("CODE_%d", n))))
		}
		if by := causes(t, s); len(by) != 33 || by[0] != (runs.CodeCount{Code: runs.CodeOther, Rows: 18}) {
			t.Fatalf("%d: %+v", len(by), by)
		}
		must(t, second(s.Add(ctx, "r", rows(1, 50)))) // all queued anew
		if by := causes(t, s); len(by) != 0 {
			t.Fatalf("none is dead, and yet %+v", by)
		}
		must(t, s.Record(ctx, "r", 1, died(50, "validation", "CODE_50")))
		if by := causes(t, s); by[0].Code != "CODE_50" {
			t.Fatalf("there is room again, and yet %+v", by)
		}
	})
}

func TestDeadRowsOfAnEarlierVersionAreInNoCount(t *testing.T) {
	begun(t, func(t *testing.T, s *runs.Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		must(t, second(s.Add(ctx, "r", rows(1, 3))))
		for n := 1; n <= 2; n++ {
			must(t, s.Record(ctx, "r", 0, died(n, "blocked", "PORTAL_DELETED")))
		}
		must(t, rdb.HDel(ctx, "botfleet:{run:r}:meta", "dead:blocked|PORTAL_DELETED", "dead_pairs").Err())
		must(t, s.Record(ctx, "r", 0, died(3, "blocked", "PORTAL_DELETED")))
		must(t, second(s.Add(ctx, "r", rows(1, 2))))
		info, err := s.Get(ctx, "r")
		must(t, err)
		if info.Counts.Dead != 1 || len(info.DeadBy) != 0 {
			t.Errorf("%d dead, by cause %+v", info.Counts.Dead, info.DeadBy)
		}
		must(t, s.Record(ctx, "r", 1, died(1, "blocked", "PORTAL_DELETED")))
		info, err = s.Get(ctx, "r")
		must(t, err)
		if info.DeadBy[0].Rows != 1 {
			t.Errorf("counted as %+v", info.DeadBy)
		}
	})
}

// teller tells a random story of a run: rows that are added, retried, mended
// into other bots, refused, and recorded again and late.
type teller struct {
	*rand.Rand
	s     *runs.Store
	gens  map[int]int
	codes int
}

func (r *teller) step(t *testing.T) {
	ctx, n := t.Context(), 1+r.IntN(600) // of two hashes
	switch r.IntN(5) {
	case 0:
		part := rows(n, min(600, n+r.IntN(40)))
		for i := range part {
			if r.IntN(4) == 0 {
				part[i].Ident = fmt.Sprintf("mended-%d", r.IntN(3))
			}
		}
		s := r.s
		if r.IntN(2) == 0 {
			s = s.Retrying(`"class":"reason","error":{"code":"REASON"`)
		}
		added, err := s.Add(ctx, "r", part)
		must(t, err)
		for i, a := range added {
			r.gens[part[i].Number] = a.Gen
		}
	case 1:
		o := outcome(n, runs.StatusRefused)
		if r.IntN(2) == 0 {
			o = r.death(n)
		}
		added, err := r.s.AddDone(ctx, "r", []string{fmt.Sprintf("ident-%d", n)}, []runs.Outcome{o})
		must(t, err)
		r.gens[n] = added[0].Gen
	default:
		g, ok := r.gens[n]
		if !ok {
			return
		}
		o := r.death(n)
		if r.IntN(4) == 0 {
			o = outcome(n, []runs.Status{runs.StatusRegistered, runs.StatusDuplicate}[r.IntN(2)])
		}
		if g = max(0, g-r.IntN(2)); r.IntN(3) == 0 {
			must(t, second(r.s.RecordWaiting(ctx, "r", g, o)))
			return
		}
		for range 1 + r.IntN(2) {
			must(t, r.s.Record(ctx, "r", g, o))
		}
	}
}

func (r *teller) death(n int) runs.Outcome {
	class := []string{"validation", "blocked", "transient", "", "a class of a later version"}[r.IntN(5)]
	code := fmt.Sprintf("code-%d", r.IntN(r.codes))
	if r.IntN(8) == 0 {
		code = []string{"", `"`, "a b", strings.Repeat("X", 60), runs.CodeOther, "ÜBER"}[r.IntN(6)]
	}
	return died(n, class, code)
}

func TestRandomStoriesKeepTheCausesTrue(t *testing.T) {
	steps := 1200
	if testing.Short() {
		steps = 300
	}
	for _, codes := range []int{3, 12, 40} {
		t.Run(strconv.Itoa(codes), func(t *testing.T) {
			begun(t, func(t *testing.T, s *runs.Store, _ redis.UniversalClient) {
				story := &teller{Rand: rand.New(rand.NewPCG(1, uint64(codes))), s: s, gens: map[int]int{}, codes: codes}
				must(t, second(s.Add(t.Context(), "r", rows(1, 300))))
				for n := range 300 {
					story.gens[n+1] = 0
				}
				for range steps {
					story.step(t)
					counts(t, s)
					causes(t, s)
				}
			})
		})
	}
}
