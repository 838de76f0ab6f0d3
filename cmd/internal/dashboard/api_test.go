// What goes in and comes out of the API.

package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

func TestPagesAreShort(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, url string) {
		client := asynq.NewClientFromRedisClient(rdb)
		for n := range 150 {
			task := asynq.NewTask("other", fmt.Appendf(nil, `{"n":%d,"access_token":"s3cr3t"}`, n))
			if _, err := client.Enqueue(task, asynq.Queue("q")); err != nil {
				t.Fatal(err)
			}
		}
		s := served(t, url)
		for query, want := range map[string]int{
			"": 20, "?size=30": 30, "?size=20000": 100, "?size=-1": 20, "?size=0&page=0": 20, "?size=x": 20, "?page=2&size=100": 50,
			"?page=-7": 20, "?size=100&page=99999999999999999999": 100, "?size=100&page=922337203685477580": 0, "?size=9&size=20000": 9,
		} {
			var got struct{ Tasks []shown }
			s.read("/api/queues/q/pending_tasks"+query, &got)
			if len(got.Tasks) != want {
				t.Errorf("%q: %d tasks, want %d", query, len(got.Tasks), want)
			}
		}
		if text := s.must(http.StatusOK, "GET", "/api/queues/q/pending_tasks", ""); strings.Contains(text, "s3cr3t") || !strings.Contains(text, "[hidden]") {
			t.Error(text)
		}
		_, _, h := s.do("GET", "/api/queues", "")
		if h.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Error(h)
		}
		for _, path := range []string{"/api/queue_stats", "/api/servers", "/api/scheduler_entries", "/api/redis_info", "/api/queues/q"} {
			var content map[string]any
			s.read(path, &content)
			if raw, ok := content["raw_info"].(string); ok && (content["info"] != nil) != strings.Contains(raw, "redis_version") {
				t.Errorf("%v figures with %q", content["info"], raw)
			}
		}
	})
}

// Only POST and DELETE act. A page of another site may send HEAD as it likes, and
// its DELETE sends OPTIONS first.
func TestOtherMethodsChangeNothing(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, url string) {
		client, inspector := asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)
		var ids []string
		for range 3 {
			info, err := client.Enqueue(asynq.NewTask("other", nil), asynq.Queue("q"))
			if err != nil {
				t.Fatal(err)
			}
			if err := inspector.ArchiveTask("q", info.ID); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, info.ID)
		}
		s := served(t, url)
		some, err := json.Marshal(map[string][]string{"task_ids": ids})
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "GET"} {
			for _, path := range []string{"archived_tasks:run_all", "archived_tasks:delete_all", "archived_tasks:batch_delete", "archived_tasks:batch_run",
				"archived_tasks/" + ids[0], "archived_tasks/" + ids[0] + ":run"} {
				if status, text, _ := s.do(method, "/api/queues/q/"+path, string(some)); status == http.StatusOK && method != "GET" {
					t.Errorf("%s %s: HTTP %d %s", method, path, status, text)
				}
			}
			if left := len(s.tasks("archived")); left != len(ids) {
				t.Fatalf("after %s %d of %d tasks are archived", method, left, len(ids))
			}
		}
	})
}

// 600 dead letters go page by page.
func TestManyAtOnce(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, url string) {
		client, inspector := asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)
		const many = pageOf + 100
		for n := range many {
			id := fmt.Sprint("t", n)
			if _, err := client.Enqueue(asynq.NewTask("other", nil), asynq.Queue("q"), asynq.TaskID(id)); err != nil {
				t.Fatal(err)
			}
			if err := inspector.ArchiveTask("q", id); err != nil {
				t.Fatal(err)
			}
		}
		s := served(t, url)
		for clicks := 1; ; clicks++ { // one, but on a machine that is very busy
			code, text, _ := s.do("POST", "/api/queues/q/archived_tasks:run_all", "")
			if code == http.StatusOK {
				break
			}
			if code != http.StatusServiceUnavailable || !strings.Contains(text, "click again") || strings.HasPrefix(text, "0 ") || clicks > many {
				t.Fatalf("HTTP %d %s", code, text)
			}
		}
		info, err := inspector.GetQueueInfo("q")
		if err != nil || info.Pending != many || info.Archived != 0 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// stuck is a queue of endless dead letters, each of which takes 100 ms.
type stuck struct {
	queue

	gone bool
	runs chan string // the ids that were run
}

func (s stuck) ListArchivedTasks(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
	return []*asynq.TaskInfo{{ID: "a"}, {ID: "b"}, {ID: "c"}}, nil
}

func (s stuck) DeleteTask(string, string) error {
	time.Sleep(100 * time.Millisecond) //nolint:forbidigo // synctest's own clock
	if s.gone {
		return fmt.Errorf("asynq: %w", asynq.ErrTaskNotFound)
	}
	return nil
}

// RunTask runs a letter that is dead again before the next look.
func (s stuck) RunTask(_, id string) error {
	time.Sleep(100 * time.Millisecond) //nolint:forbidigo // synctest's own clock
	s.runs <- id
	return nil
}

// What dies again at once is not run for as long as a click may last: each time would
// be another call to its portal.
func TestRunAllRunsEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := stuck{runs: make(chan string, 1000)}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		var got answer
		n, known := actions{q}.serve(&got, r, "queues/q/archived_tasks:run_all")
		if !known || n != (tally{done: 3}) || got.code() != http.StatusOK || got.body.String() != "{\"scheduled\":3}\n" {
			t.Errorf("%v, %+v: HTTP %d %s", known, n, got.code(), got.body.String())
		}
		close(q.runs)
		var ids []string
		for id := range q.runs {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, []string{"a", "b", "c"}) {
			t.Errorf("run: %v", ids)
		}
	})
}

// An answer that takes too long is told so in time, whoever is to give it.
func TestASlowAnswerIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stock := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		api := newAPI(stock, Config{Root: "/dashboard", Log: slog.New(slog.DiscardHandler)}, nil)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/dashboard/api/queues", nil)
		w := httptest.NewRecorder()
		began := time.Now()
		api.ServeHTTP(w, r)
		if took := time.Since(began); took != AnswerWithin || took <= actWithin {
			t.Errorf("it took %v", took)
		}
		if w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(w.Body.String(), "Redis is slow to answer.") ||
			!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("HTTP %d %v: %s", w.Code, w.Header(), w.Body)
		}
	})
}

func TestAClickEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			queue stuck
			want  string
			took  time.Duration
		}{
			{stuck{}, "150 tasks were deleted, and there are more: click again to go on.", actWithin},
			{stuck{gone: true}, "0 tasks were deleted, and there are more: click again to go on.", 100 * time.Millisecond},
		} {
			a := actions{c.queue}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			var got answer
			began := time.Now()
			if _, known := a.serve(&got, r, "queues/q/archived_tasks:delete_all"); !known {
				t.Fatal("not known")
			}
			if took := time.Since(began); took != c.took || got.code() != http.StatusServiceUnavailable || strings.TrimSpace(got.body.String()) != c.want {
				t.Errorf("after %v: HTTP %d %s", took, got.code(), got.body.String())
			}
		}
	})
}

// Redis is away, or answers nothing: that is said within seconds.
func TestRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	s := served(t, server.URL)
	s.must(http.StatusOK, "GET", "/api/queues", "")
	for _, c := range []struct {
		what       string
		away, back func()
		clicks     [][3]string
	}{
		{"frozen", server.Freeze, server.Thaw, [][3]string{
			{"GET", "/api/queues", ""}, {"POST", "/api/queues/q/archived_tasks:batch_run", `{"task_ids":["a"]}`},
		}},
		{"gone", server.Kill, server.Restart, [][3]string{
			{"GET", "/api/queues", ""}, {"GET", "/api/redis_info", ""}, {"DELETE", "/api/queues/q/archived_tasks:delete_all", ""},
		}},
	} {
		c.away()
		for _, click := range c.clicks {
			began := time.Now()
			text := s.must(http.StatusServiceUnavailable, click[0], click[1], click[2])
			if took := time.Since(began); took > 6*time.Second || !strings.HasPrefix(text, "Redis does not answer: ") {
				t.Errorf("%s, %s: after %v: %s", c.what, click[1], took, text)
			}
		}
		s.must(http.StatusOK, "GET", "/", "")
		c.back()
		s.back()
	}
}

// back waits until Redis can be asked again: a pool that cannot connect tries
// once a second.
func (s *site) back() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		code, text, _ := s.do("GET", "/api/queues", "")
		if code == http.StatusOK {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("HTTP %d %s", code, text)
		case <-tick.C:
		}
	}
}

// The client is its owner's: asynqmon does not close it, and signs in as it does.
func TestTheClientStaysOpen(t *testing.T) {
	server := redistest.Start(t, redistest.Password("s3cr3t"))
	conn, err := redisconn.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := conn.Client(redisconn.Question)
	defer func() { _ = rdb.Close() }()
	for range 2 {
		d, err := New(Config{Redis: rdb})
		if err != nil {
			t.Fatal(err)
		}
		var got answer
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/dashboard/api/redis_info", nil)
		if err != nil {
			t.Fatal(err)
		}
		d.ServeHTTP(&got, r)
		var info struct {
			Raw string `json:"raw_info"`
		}
		if err := json.Unmarshal(got.body.Bytes(), &info); err != nil || !strings.Contains(info.Raw, "redis_version") || strings.Contains(got.body.String(), "s3cr3t") {
			t.Errorf("%v: %s", err, got.body.String())
		}
	}
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}
