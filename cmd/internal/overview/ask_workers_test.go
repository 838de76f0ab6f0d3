// Workers as the page tells of them.

package overview

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/ratelimit/redistest"
)

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
			look, err := s.page.askServer(t.Context())
			s.must(err)
			got = fmt.Sprintf("%d and %d", look.workers, look.idle)
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
