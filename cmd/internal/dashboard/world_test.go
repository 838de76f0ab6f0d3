// A worker on a Redis, portals in a box, and the dashboard over HTTP.

package dashboard

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The portals: one works, one is held.
const (
	acme = "acme.bitrix24.ru"
	held = "held.bitrix24.ru"
)

// site is a dashboard on an HTTP server.
type site struct {
	t      *testing.T
	url    string
	client *http.Client
	log    *lines
}

// lines is a log that others write while it is read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// taken is what was written since it was last asked for.
func (l *lines) taken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// served serves a dashboard of a Redis.
func served(t *testing.T, redisURL string) *site {
	t.Helper()
	conn, err := redisconn.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := conn.Client(redisconn.Question)
	t.Cleanup(func() { _ = rdb.Close() })
	log := &lines{}
	d, err := New(Config{Redis: rdb, Home: "/", MaxAttempts: 8, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return &site{t: t, url: server.URL + "/dashboard", client: server.Client(), log: log}
}

// do sends a request, and returns status, body and headers of its answer.
func (s *site) do(method, path, body string) (int, string, http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("ops", "open sesame 77")
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// must is a request that is answered with a status; it returns the body.
func (s *site) must(status int, method, path, body string) string {
	s.t.Helper()
	got, text, _ := s.do(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s: HTTP %d, want %d: %s", method, path, got, status, text)
	}
	return text
}

// shown is a task as the API tells it.
type shown struct {
	ID, Payload, Result, State string
	Error                      string `json:"error_message"`
	MaxRetry                   int    `json:"max_retry"`
	queue                      string
}

// tasks are all tasks of a state, in all queues.
func (s *site) tasks(state string) []shown {
	s.t.Helper()
	var queues struct{ Queues []struct{ Queue string } }
	s.read("/api/queues", &queues)
	var all []shown
	for _, q := range queues.Queues {
		var page struct{ Tasks []shown }
		s.read("/api/queues/"+q.Queue+"/"+state+"_tasks?size=100&page=1", &page)
		for i := range page.Tasks {
			page.Tasks[i].queue = q.Queue
		}
		all = append(all, page.Tasks...)
	}
	slices.SortFunc(all, func(a, b shown) int { return strings.Compare(a.Payload, b.Payload) })
	return all
}

func (s *site) read(path string, into any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must(http.StatusOK, http.MethodGet, path, "")), into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

// world is a worker at work, with its dashboard.
type world struct {
	*site

	base   *engine.Base
	worker *engine.Worker
	cfg    config.Config
	box    *sandbox.Sandbox
}

func newWorld(t *testing.T, redisURL string) *world {
	t.Helper()
	cfg, err := config.Load([]string{"REDIS_URL=" + redisURL, "SECRETS_KEY=" + portals.NewKey(), "SHUTDOWN_TIMEOUT=5s", "SHARDS=2"}, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{cfg: cfg, box: sandbox.Start(t, sandbox.WithPortals(sandbox.Unlimited(acme), sandbox.Unlimited(held)))}
	if w.base, err = engine.Open(t.Context(), cfg, redisURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.base.Close() })
	csv := "portal,webhook,client_id\n"
	for _, name := range []string{acme, held} {
		csv += name + ",https://" + name + "/rest/1/anything/,app\n"
	}
	entries, err := portals.Read(strings.NewReader(csv), portals.CSV, "portals", bitrix.Endpoints{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.base.Registry.Import(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	p := w.portal(t, held)
	if err := w.base.Registry.Hold(t.Context(), p.ID, "a person has said so", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.worker, err = w.base.StartWorker(t.Context(), cfg, engine.WorkerOptions{
		Transport: w.box.Transport(), Private: true, Log: slog.New(slog.DiscardHandler), Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.worker.Stop)
	w.site = served(t, redisURL)
	return w
}

func (w *world) portal(t *testing.T, name string) portals.Portal {
	t.Helper()
	p, err := w.base.Registry.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// submit queues a bot for each CODE.
func (w *world) submit(portal string, codes ...string) {
	w.t.Helper()
	var all []tasks.Registration
	for _, code := range codes {
		all = append(all, tasks.Registration{Portal: portal, Bot: bitrix.Bot{
			Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Bot " + code},
		}})
	}
	client := w.base.Client(w.cfg, time.Hour, w.worker.Gate())
	if _, err := client.Submit(w.t.Context(), "r1", all...); err != nil {
		w.t.Fatal(err)
	}
}

// refuse makes the portal refuse bots, until the function that it returns is called.
func (w *world) refuse() (stop func()) {
	w.t.Helper()
	p := w.box.Portal(acme)
	if err := p.Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "NAME_ERROR", Methods: []string{"imbot.register"}}); err != nil {
		w.t.Fatal(err)
	}
	return p.ClearFaults
}

// counts are the run's, which have to add up.
func (w *world) counts() runs.Counts {
	w.t.Helper()
	info, err := w.base.Runs.Get(w.t.Context(), "r1")
	if err != nil {
		w.t.Fatal(err)
	}
	c := info.Counts
	if c.Queued != c.Registered+c.Dead+c.Refused+c.Duplicate+c.Waiting {
		w.t.Fatalf("the run is untrue: %+v", c)
	}
	return c
}

// await waits until the run counts as many registered, dead and waiting rows.
func (w *world) await(registered, dead, waiting int) {
	w.t.Helper()
	w.until(func() bool {
		c := w.counts()
		return c.Registered == registered && c.Dead == dead && c.Waiting == waiting
	}, func() any { return w.counts() })
}

// until waits for something, for 20 s at most.
func (w *world) until(ok func() bool, seen func() any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("it does not come to that: %+v", seen())
		case <-tick.C:
		}
	}
}

// idle waits until no task is to be done, nor being done. What is being done was to
// be done before, so it is looked for in that order.
func (w *world) idle() {
	w.t.Helper()
	busy := func() int { return len(w.tasks("pending")) + len(w.tasks("active")) }
	w.until(func() bool { return busy() == 0 }, func() any { return busy() })
}

// list waits until there are so many tasks of a state, and returns them: a row's end
// is told before its task's.
func (w *world) list(state string, n int) []shown {
	w.t.Helper()
	w.until(func() bool { return len(w.tasks(state)) == n }, func() any { return w.tasks(state) })
	return w.tasks(state)
}

// swept lets the sweeper look at everything.
func (w *world) swept() {
	w.t.Helper()
	s := sweep.New(sweep.Config{
		Redis: w.base.Redis, Queues: w.base.Registry.Queues, Runs: w.base.Runs, Portals: w.base.Registry,
		Requeue: w.base.Client(w.cfg, time.Hour, w.worker.Gate()), Settle: time.Millisecond, Age: time.Millisecond,
	})
	if _, err := s.Pass(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// both runs a test on both kinds of Redis.
func both(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	redistest.Both(t, func(t *testing.T, _ redis.UniversalClient, url string) { test(t, newWorld(t, url)) })
}
