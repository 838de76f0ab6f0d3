// Sources that fail, hang and come back, and who waits for them.

package metrics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

// gateFunc is a gate that is a function.
type gateFunc func(ctx context.Context) ([]ratelimit.Snapshot, error)

func (f gateFunc) Recent(ctx context.Context) ([]ratelimit.Snapshot, error) { return f(ctx) }

// runsFunc are runs that are a function.
type runsFunc func(ctx context.Context, limit int) (runs.Backlog, error)

func (f runsFunc) Backlog(ctx context.Context, limit int) (runs.Backlog, error) { return f(ctx, limit) }

// someQueues answer for each queue by name.
type someQueues struct {
	names []string
	err   error
	info  func(name string) (*asynq.QueueInfo, error)
}

func (q someQueues) Queues() ([]string, error) { return q.names, q.err }

func (q someQueues) GetQueueInfo(name string) (*asynq.QueueInfo, error) { return q.info(name) }

func TestAFailingSourceHidesNoOther(t *testing.T) {
	var log bytes.Buffer
	m := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer m.Close()
	failure := errors.New("nothing there")
	err := m.Watch(Sources{
		Gate: gateFunc(func(context.Context) ([]ratelimit.Snapshot, error) { return nil, failure }),
		Runs: runsFunc(func(context.Context, int) (runs.Backlog, error) { return runs.Backlog{}, nil }),
		Queues: someQueues{names: []string{"bad", "good", "\xff"}, info: func(name string) (*asynq.QueueInfo, error) {
			if name == "bad" {
				return nil, failure
			}
			return &asynq.QueueInfo{Queue: name, Pending: 5, Size: 5, Latency: 2 * time.Second, Paused: true}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	says(t, scrape(t, m), `botfleet_runs_unfinished 0`, `asynq_queue_size{queue="good"} 5`,
		`asynq_tasks_enqueued_total{queue="good",state="pending"} 5`, `asynq_queue_latency_seconds{queue="good"} 2`,
		`asynq_queue_paused_total{queue="good"} 1`)
	scrape(t, m)
	says(t, family(scrape(t, m), "botfleet_scrape_errors_total"), // counted while it is written: of the scrapes before, at least
		`botfleet_scrape_errors_total{collector="runs"} 0`)
	for _, name := range []string{"gate", "queues"} {
		if n := errorsOf(t, m, name); n != 3 {
			t.Errorf("%d errors of the %s after 3 scrapes", n, name)
		}
		if n := strings.Count(log.String(), "collector="+name); n != 1 {
			t.Errorf("%s: logged %d times, want once", name, n)
		}
	}
}

// errorsOf is how many scrapes got less than everything from a collector.
func errorsOf(t *testing.T, m *Metrics, name string) int {
	t.Helper()
	return int(valueOf(t, m.errors.WithLabelValues(name)))
}

// What was counted before an error is told; of the oldest row only what is known.
func TestRunsThatAreCountedAreTold(t *testing.T) {
	failure := errors.New("OOM command not allowed")
	b := runs.Backlog{Runs: 2, Waiting: 3, Begun: time.Now().Add(-2 * time.Hour)}
	m := made(t, Sources{Runs: runsFunc(func(context.Context, int) (runs.Backlog, error) { return b, failure })})
	text := scrape(t, m)
	says(t, text, `botfleet_runs_unfinished 2`, `botfleet_runs_rows_waiting 3`)
	if s := family(text, "botfleet_runs_oldest_unfinished_seconds"); !strings.HasPrefix(s, "botfleet_runs_oldest_unfinished_seconds 720") {
		t.Errorf("the oldest run: %s", s)
	}
	if s := family(text, "botfleet_oldest_waiting_row_seconds"); s != "" {
		t.Errorf("the oldest row, which is not known: %s", s)
	}
	b.Queued = time.Now().Add(-time.Hour)
	if s := family(scrape(t, m), "botfleet_oldest_waiting_row_seconds"); !strings.HasPrefix(s, "botfleet_oldest_waiting_row_seconds 360") {
		t.Errorf("the oldest row: %s", s)
	}
	if n := errorsOf(t, m, "runs"); n != 2 {
		t.Errorf("%d errors", n)
	}
	b = runs.Backlog{}
	if s := family(scrape(t, m), "botfleet_runs_unfinished"); s != "" {
		t.Errorf("nothing was counted, and yet %s", s)
	}
}

// TestAHangingSourceIsNotWaitedFor has a source that listens to no context.
func TestAHangingSourceIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := atomic.Int32{}
		m := New(Config{})
		err := m.Watch(Sources{
			Runs: runsFunc(func(context.Context, int) (runs.Backlog, error) { return runs.Backlog{}, nil }),
			Queues: someQueues{names: []string{"q"}, info: func(name string) (*asynq.QueueInfo, error) {
				asked.Add(1)
				<-time.After(time.Minute)
				return &asynq.QueueInfo{Queue: name, Size: 7}, nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		says(t, scrape(t, m), `botfleet_runs_unfinished 0`)
		if took := time.Since(began); took != askTimeout {
			t.Errorf("the first scrape took %s, want %s", took, askTimeout)
		}
		for range 3 { // it is still being asked: nobody asks again, or waits
			if text := scrape(t, m); strings.Contains(text, "asynq_queue_size") {
				t.Error("there is an answer")
			}
		}
		if took := time.Since(began); took != askTimeout {
			t.Errorf("four scrapes took %s, want %s", took, askTimeout)
		}
		if asked.Load() != 1 || errorsOf(t, m, "queues") != 4 {
			t.Errorf("asked %d times with %d errors", asked.Load(), errorsOf(t, m, "queues"))
		}
		m.Close() // waits
		if took := time.Since(began); took != time.Minute {
			t.Errorf("closed after %s, when the question had not ended", took)
		}
		if strings.Contains(scrape(t, m), "botfleet_runs_unfinished") {
			t.Error("sources are asked after Close")
		}
	})
}

// TestScrapesShareTheirQuestions has as many scrape at once as may, and one more.
func TestScrapesShareTheirQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := atomic.Int32{}
		m := made(t, Sources{Gate: gateFunc(func(ctx context.Context) ([]ratelimit.Snapshot, error) {
			asked.Add(1)
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
			return []ratelimit.Snapshot{{Portal: "p"}}, nil
		})})
		handler := m.Handler()
		began := time.Now()
		var all sync.WaitGroup
		answers := make([]*httptest.ResponseRecorder, mostScrapes+1)
		for i := range answers {
			answers[i] = httptest.NewRecorder()
			all.Go(func() { handler.ServeHTTP(answers[i], httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
		}
		all.Wait()
		if took := time.Since(began); took != 2*time.Second || asked.Load() != 1 {
			t.Errorf("%s and %d questions, want one of 2s", took, asked.Load())
		}
		told := 0
		for _, a := range answers {
			if a.Code == http.StatusOK && strings.Contains(a.Body.String(), `botfleet_gate_portals{state="open"} 1`) {
				told++
			} else if a.Code != http.StatusServiceUnavailable {
				t.Errorf("HTTP %d: %s", a.Code, a.Body)
			}
		}
		if told != mostScrapes {
			t.Errorf("%d scrapes got the answer, want %d", told, mostScrapes)
		}
		scrape(t, m)
		if asked.Load() != 2 || errorsOf(t, m, "gate") != 0 {
			t.Errorf("%d questions, %d errors", asked.Load(), errorsOf(t, m, "gate"))
		}
	})
}

// TestCloseEndsTheQuestions closes while a scrape waits.
func TestCloseEndsTheQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := made(t, Sources{Gate: gateFunc(func(ctx context.Context) ([]ratelimit.Snapshot, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() { scrape(t, m) })
		synctest.Wait()
		m.Close()
		m.Close()
		all.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %s", took)
		}
	})
}
