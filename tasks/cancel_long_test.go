// Cancelling in queues in which so much waits that to search them takes time.

package tasks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// searches counts what is asked about the pending tasks.
type searches struct {
	redis.Hook

	pages  int
	page   func() // is called after each page; may be nil
	inside bool   // page is being called
	found  []int  // how many tasks each script deleted that searches for them
}

func (s *searches) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *searches) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *searches) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args, err := cmd.Args(), next(ctx, cmd)
		if cmd.Name() == "lrange" && !s.inside && strings.HasSuffix(fmt.Sprint(args[1]), ":pending") {
			if s.pages++; s.page != nil {
				s.inside = true
				s.page()
				s.inside = false
			}
		}
		if len(args) < 5 || !strings.HasPrefix(cmd.Name(), "eval") || !strings.HasSuffix(fmt.Sprint(args[4]), ":scheduled") {
			return err
		}
		if answers, bad := cmd.(*redis.Cmd).StringSlice(); bad == nil {
			s.found = append(s.found, strings.Count(strings.Join(answers, " "), "dropped"))
		}
		return err
	}
}

// others puts ids of other pending tasks in front: those behind are fetched before.
// An in-memory Redis takes long to push one by one there.
func others(t *testing.T, f *fleet, n int) {
	t.Helper()
	key := "asynq:{" + queue + "}:pending"
	ids := slices.Repeat([]any{"another"}, n)
	for _, id := range f.redis.LRange(t.Context(), key, 0, -1).Val() {
		ids = append(ids, id)
	}
	_, err := f.redis.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Del(t.Context(), key)
		p.RPush(t.Context(), key, ids...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func submitMany(t *testing.T, f *fleet, run string, first, rows int) {
	t.Helper()
	var more []tasks.Registration
	for i := range rows {
		more = append(more, reg(fmt.Sprint(run, "-", first+i)))
	}
	submit(t, f, run, more...)
}

func (f *fleet) pendingLeft(t *testing.T) int {
	t.Helper()
	return int(f.redis.LLen(t.Context(), "asynq:{"+queue+"}:pending").Val())
}

// Redis does nothing else while it searches for tasks, and those to be fetched next
// it finds last.
func TestNoQuestionSearchesALongQueueOverAndOver(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		const rows, before, most = 90, 20_000, 500_000 // as many ids as one question may search through
		submitMany(t, f, "r1", 1, rows)
		others(t, f, before)
		s := &searches{}
		f.redis.AddHook(s)
		did := f.cancel(t, tasks.Cancel{Run: "r1"})
		all := 0
		for _, n := range s.found {
			if all += n; n*before > most {
				t.Errorf("one question searched %d times through %d tasks", n, before)
			}
		}
		if c := f.counts(t, "r1"); did.Rows != rows || all != rows || c.Dead != rows || f.pendingLeft(t) != before {
			t.Errorf("%+v, %+v, %d found, %d left", did, c, all, f.pendingLeft(t))
		}
	})
}

// What is pushed while the pages of a queue are gone through moves no task of the
// run out of sight, and does not make more pages of it.
func TestPagesOfPendingTasksBesideAProducer(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submitMany(t, f, "r1", 1, 300)
		others(t, f, 1500)
		s := &searches{page: func() { others(t, f, 600) }}
		f.redis.AddHook(s)
		did := f.cancel(t, tasks.Cancel{Run: "r1"})
		if left := f.pendingLeft(t); did.Rows != 300 || s.pages != 4 || left != 1500+4*600 {
			t.Errorf("%+v in %d pages, %d left", did, s.pages, left)
		}
		if len(s.found) != 0 {
			t.Errorf("tasks were searched for: %d", s.found)
		}
	})
}

// Workers that fetch bring the pages nearer to the end, which leaves out none.
func TestPagesOfPendingTasksBesideFetching(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		others(t, f, 1500)
		submitMany(t, f, "r1", 1, 700)
		s := &searches{page: func() { f.redis.RPopCount(t.Context(), "asynq:{"+queue+"}:pending", 300) }}
		f.redis.AddHook(s)
		did := f.cancel(t, tasks.Cancel{Run: "r1"})
		if left := f.pendingLeft(t); did.Rows != 700 || len(s.found) != 0 || s.pages != 5 || left != 0 {
			t.Errorf("%+v in %d pages, searched for %d, %d left", did, s.pages, s.found, left)
		}
	})
}

// Few tasks on a page may be those of the portals meant.
func TestPagesOfPendingTasksOfOnePortal(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		for i := range 250 {
			own := reg(fmt.Sprint("own-", i))
			own.Portal, own.Bot.ClientID = "oauth.bitrix24.ru", ""
			submit(t, f, "r1", own)
			others(t, f, 9)
		}
		s := &searches{}
		f.redis.AddHook(s)
		did := f.cancel(t, tasks.Cancel{Run: "r1", Portals: []string{"p2"}})
		if did.Rows != 250 || len(s.found) != 0 {
			t.Errorf("%+v, searched for %d", did, s.found)
		}
	})
}

// A producer may be quicker than what ends its rows.
func TestAQuickProducerIsNotRunAfter(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		if err := f.runs.Open(t.Context(), "r1", runs.Begin{Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		submitMany(t, f, "r1", 1, 10)
		c, now, turns := f.canceller(), time.Now(), 0
		c.Now = func() time.Time {
			now = now.Add(11 * time.Second)
			return now
		}
		did, err := c.Cancel(t.Context(), tasks.Cancel{Run: "r1", Told: func(int) {
			if turns++; turns <= 3 {
				submitMany(t, f, "r1", turns*1000, runs.ChunkRows+1)
			}
		}})
		if n := f.counts(t, "r1"); err != nil || did.Rows != 10 || n.Waiting != runs.ChunkRows+1 {
			t.Errorf("%+v, %+v, %v", did, n, err)
		}
	})
}
