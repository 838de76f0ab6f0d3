package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// fetching is a fetcher on a queue with tasks named 000, 001 and so on.
type fetching struct {
	*fetcher
	t         *testing.T
	rdb       redis.UniversalClient
	inspector *asynq.Inspector
	lease     int64
}

var fetchKeys = []string{"asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease"}

func eachFetching(t *testing.T, tasks int, test func(t *testing.T, f *fetching)) {
	t.Helper()
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		client := asynq.NewClientFromRedisClient(rdb)
		for i := range tasks {
			id := fmt.Sprintf("%03d", i)
			if _, err := client.Enqueue(asynq.NewTask("x", []byte("payload-"+id)), asynq.TaskID(id), asynq.Queue("q")); err != nil {
				t.Fatal(err)
			}
		}
		f := &fetching{fetcher: newFetcher(rdb), t: t, rdb: rdb, inspector: asynq.NewInspectorFromRedisClient(rdb), lease: time.Now().Add(30 * time.Second).Unix()}
		test(t, f)
	})
}

// ask asks for the next task as a server does; "" when there is none.
func (f *fetching) ask() string {
	f.t.Helper()
	got, err := f.EvalSha(f.t.Context(), fetchScript, fetchKeys, f.lease, "asynq:{q}:t:").Text()
	if errors.Is(err, redis.Nil) {
		return ""
	}
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(got, "payload-")
	if !ok {
		f.t.Fatalf("no message: %q", got)
	}
	return rest[:3]
}

// busy makes the queue look like one that is asked all the time.
func (f *fetching) busy() {
	a := f.queue(fetchKeys)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = time.Now().Add(busyFetch)
}

func (f *fetching) states() (pending, active int) {
	f.t.Helper()
	info, err := f.inspector.GetQueueInfo("q")
	if err != nil {
		f.t.Fatal(err)
	}
	return info.Pending, info.Active
}

func (f *fetching) expect(pending, active int) {
	f.t.Helper()
	if p, a := f.states(); p != pending || a != active {
		f.t.Fatalf("%d tasks pending and %d active, want %d and %d", p, a, pending, active)
	}
}

func TestTasksAreFetchedInTheirOrder(t *testing.T) {
	eachFetching(t, 30, func(t *testing.T, f *fetching) {
		if got := f.ask(); got != "000" {
			t.Fatal(got)
		}
		f.expect(29, 1) // the queue is not known to be busy
		var got []string
		for range 29 {
			f.busy()
			got = append(got, f.ask())
		}
		if !slices.IsSorted(got) || got[28] != "029" {
			t.Fatal(got)
		}
		f.busy()
		if more := f.ask(); more != "" {
			t.Fatal(more)
		}
		f.expect(0, 30)
		if n := f.rdb.ZCard(t.Context(), fetchKeys[3]).Val(); n != 30 {
			t.Fatalf("%d leases", n)
		}
	})
}

func TestWhatNobodyAsksForGoesBack(t *testing.T) {
	eachFetching(t, 20, func(t *testing.T, f *fetching) {
		f.busy()
		if got := f.ask(); got != "000" {
			t.Fatal(got)
		}
		f.expect(20-fetchedAhead, fetchedAhead)
		deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for pending, active := f.states(); pending != 19 || active != 1; pending, active = f.states() {
			select {
			case <-deadline:
				t.Fatalf("%d tasks pending and %d active", pending, active)
			case <-tick.C:
			}
		}
		if got := f.ask(); got != "001" {
			t.Fatalf("the next one is %s", got)
		}
	})
}

func TestStoppedFetcherGivesBack(t *testing.T) {
	eachFetching(t, 20, func(t *testing.T, f *fetching) {
		f.busy()
		f.ask()
		// Another worker has had the third one since, as its lease had ended.
		other := redis.Z{Score: float64(f.lease + 60), Member: "002"}
		if err := f.rdb.ZAdd(t.Context(), fetchKeys[3], other).Err(); err != nil {
			t.Fatal(err)
		}
		f.stop()
		f.expect(18, 2)
		f.busy()
		if got := f.ask(); got != "001" {
			t.Fatalf("the next one is %s", got)
		}
		f.expect(17, 3) // nothing is fetched ahead any more
		if got := f.ask(); got != "003" {
			t.Fatalf("the next one is %s", got)
		}
	})
}

func TestAPausedQueueIsLeftAlone(t *testing.T) {
	eachFetching(t, 3, func(t *testing.T, f *fetching) {
		if err := f.inspector.PauseQueue("q"); err != nil {
			t.Fatal(err)
		}
		f.busy()
		if got := f.ask(); got != "" {
			t.Fatal(got)
		}
		f.expect(3, 0)
	})
}

func TestATaskWithoutAMessageIsNoTask(t *testing.T) {
	eachFetching(t, 2, func(t *testing.T, f *fetching) {
		if err := f.rdb.Del(t.Context(), "asynq:{q}:t:000").Err(); err != nil {
			t.Fatal(err)
		}
		f.busy()
		if got := f.ask(); got != "001" {
			t.Fatal(got)
		}
	})
}

// asynq must really ask in the way that the fetcher knows; otherwise it is not
// in use, and a new version of asynq has to be looked at.
func TestAsynqAsksTheFetcher(t *testing.T) {
	eachFetching(t, 200, func(t *testing.T, f *fetching) {
		var done atomic.Int64
		all := make(chan struct{})
		server := asynq.NewServerFromRedisClient(f.fetcher, asynq.Config{
			Queues: map[string]int{"q": 1}, Concurrency: 10, TaskCheckInterval: 20 * time.Millisecond, LogLevel: asynq.FatalLevel,
		})
		err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			if done.Add(1) == 200 {
				close(all)
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-all:
		case <-time.After(20 * time.Second):
			t.Errorf("%d of 200 tasks were done", done.Load())
		}
		server.Shutdown()
		f.stop()
		if len(f.queues) != 1 {
			t.Fatal("asynq did not ask the fetcher")
		}
		f.expect(0, 0)
	})
}

// failingRedis fails every script.
type failingRedis struct {
	redis.UniversalClient
	asked int
}

func (f *failingRedis) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	f.asked++
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(errors.New("OOM command not allowed when used memory > 'maxmemory'"))
	return cmd
}

// asynq's servers ask again at once after an error: with a full Redis they would
// do nothing else.
func TestAFullRedisIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := &failingRedis{}
		f := newFetcher(rdb)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			if err := f.EvalSha(ctx, fetchScript, fetchKeys, 1, "asynq:{q}:t:").Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
				t.Fatal(err)
			}
		}
		if rdb.asked < 9 || rdb.asked > 11 {
			t.Errorf("asked %d times in 10 s", rdb.asked)
		}
	})
}
