// What a failover costs: how long it lasts, and what becomes of the rows in work.

//go:build !race

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

// gap is what a failover looked like.
type gap struct {
	active int64         // tasks that workers had when the master was killed
	writes time.Duration // from the kill to the first write to its successor
	bots   time.Duration // the longest time without a new bot
}

func (g gap) String() string {
	return fmt.Sprintf("%d tasks in work; writes after %v; longest time without a new bot %v", g.active, g.writes.Round(10*time.Millisecond), g.bots.Round(10*time.Millisecond))
}

// failingOver kills the master that has a key, under load, and waits until its
// successor takes writes and bots are made again.
func failingOver(t *testing.T, f *fleet, client redis.UniversalClient, key string, kill func()) gap {
	t.Helper()
	var g gap
	for n := range 4 {
		g.active += client.LLen(t.Context(), "asynq:{"+portals.QueueName(n)+"}:active").Val()
	}
	var watching sync.WaitGroup
	again := make(chan struct{})
	watching.Go(func() { g.bots = f.longestPause(again) })
	kill()
	began := time.Now()
	await(t, 30*time.Second, "a write to the successor", func() bool { return client.Set(t.Context(), key+"probe", 1, time.Minute).Err() == nil })
	g.writes = time.Since(began)
	n := f.created()
	await(t, 30*time.Second, "bots to be made again", func() bool { return f.created() >= n+100 })
	close(again)
	watching.Wait()
	return g
}

// longestPause is the longest time without a new bot until stop is closed.
func (f *fleet) longestPause(stop <-chan struct{}) (most time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, at := f.created(), time.Now()
	for {
		select {
		case <-stop:
			return most
		case now := <-tick.C:
			if n := f.created(); n != last {
				last, at = n, now
			}
			most = max(most, now.Sub(at))
		}
	}
}

// tellOf logs how a run's rows came to their bots.
func tellOf(t *testing.T, results []result) {
	t.Helper()
	how, again, late := map[string]int{}, 0, 0
	for _, r := range results {
		how[r.How]++
		if r.Attempts > 1 {
			again++
		}
		if r.DoneAt.Sub(r.QueuedAt) > time.Minute {
			late++
		}
	}
	t.Logf("%d rows: %v; %d took a second attempt, %d more than a minute; all done after %v", len(results), how, again, late, span(results).Round(10*time.Millisecond))
}

// onceEach wants one bot for each row, and logs how often portals were asked for them.
func onceEach(t *testing.T, f *fleet, rows int) {
	t.Helper()
	if n := f.bots(); n != rows {
		t.Errorf("%d bots for %d rows", n, rows)
	}
	s := f.box.Stats()
	t.Logf("%d registrations were sent for %d rows, %d of them for bots that were there", s.Methods["imbot.register"], rows, s.BotsReturned)
}
