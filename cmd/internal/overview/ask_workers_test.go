// Which of asynq's servers are workers that take rows.

package overview

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/onboard"
)

func TestWorkersAreThoseThatTakeRows(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		s.must(rdb.SAdd(t.Context(), "botfleet:{portals}:queues", "old").Err())
		s.lives("a", 1, "active", "portals-7")
		s.lives("a", 1, "active", onboard.Queue) // the same process
		s.lives("a", 2, "active", "old")
		s.lives("b", 1, takesNothing, "portals-7", "old")
		s.lives("b", 1, "active", onboard.Queue)
		s.lives("c", 1, "active", onboard.Queue)        // has nothing to do with rows
		s.lives("d", 1, "active", "mail", "portals-x")  // another program's
		s.lives("e", 1, takesNothing, "mail", "portal") // and one more
		for _, strange := range []string{"strange", "\xff\xff"} {
			s.must(rdb.ZAdd(t.Context(), serversKey, redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: strange}).Err())
			s.must(rdb.Set(t.Context(), strange, strange, 0).Err())
		}
		if takes, idle, err := s.page.askWorkers(t.Context()); err != nil || takes != 2 || idle != 1 {
			t.Errorf("%d take rows, %d do not, %v", takes, idle, err)
		}
	})
}

// asynq's own record is read, and a worker that was told to take nothing is noticed.
func TestAPausedWorkerIsNotAtWork(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	p := s.portals("acme.bitrix24.ru")
	s.run("now", "campaign.csv", p[0])
	worker := asynq.NewServerFromRedisClient(s.rdb, asynq.Config{Concurrency: 1, Queues: map[string]int{p[0].Queue: 1}, LogLevel: asynq.FatalLevel})
	s.must(worker.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })))
	defer worker.Shutdown()
	until := func(want string) {
		t.Helper()
		end, tick := time.After(20*time.Second), time.NewTicker(50*time.Millisecond)
		defer tick.Stop()
		for got := ""; got != want; {
			takes, idle, err := s.page.askWorkers(t.Context())
			s.must(err)
			got = fmt.Sprintf("%d and %d", takes, idle)
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	until("1 and 0")
	worker.Stop()
	until("0 and 1")
	has(t, s.get("/").Body.String(), "No worker takes rows; 1 row waits.", "none at work, 1 takes nothing: it is paused, or stopping")
}

func FuzzARecordOfAServer(f *testing.F) {
	f.Add([]byte("\x0a\x01h\x10\x01\x2a\x0d\x0a\x09portals-0\x10\x01\x3a\x06active"))
	f.Add([]byte{0x42, 0xff})
	f.Fuzz(func(t *testing.T, record []byte) {
		s, ok := decodeServer(record)
		if ok && (len(s.queues) > len(record) || len(s.status) > len(record)) {
			t.Errorf("%d queues, a status of %d bytes", len(s.queues), len(s.status))
		}
	})
}
