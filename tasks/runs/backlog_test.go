// What is left to happen, as a full Redis tells it.

package runs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// fillUp leaves a Redis without room: it can be read, and takes nothing.
func fillUp(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
}

// The notes that Redis does not take cost nothing of what is counted.
func TestAFullRedisTellsItsBacklog(t *testing.T) {
	ctx := t.Context()
	rdb := redistest.Client(t, redistest.Start(t).URL)
	s := runs.New(rdb, runs.Options{})
	for _, id := range []string{"r1", "r2"} {
		must(t, s.Open(ctx, id, runs.Begin{}))
		must(t, second(s.Add(ctx, id, []runs.Row{since(1, 10), since(2, 50)})))
		must(t, s.Record(ctx, id, 0, outcome(1, runs.StatusRegistered))) // what is noted is no longer so
	}
	fillUp(t, rdb)
	b, err := s.Backlog(ctx, 1000)
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("the notes were taken: %v", err)
	}
	if b.Runs != 2 || b.Waiting != 2 || b.Begun.IsZero() || !b.Queued.Equal(dawn.Add(50*time.Second)) {
		t.Errorf("%+v", b)
	}
	all, err := s.UnfinishedRuns(ctx, 1000)
	if err != nil || len(all) != 2 {
		t.Errorf("%d runs, %v", len(all), err)
	}
}
