// Whole scrapes, of a real Redis and of an in-memory one.

package metrics

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// sources are those of a worker.
func sources(client redis.UniversalClient) Sources {
	return Sources{
		Gate: ratelimit.NewLocal(ratelimit.Config{}), Queues: asynq.NewInspectorFromRedisClient(client),
		Runs: runs.New(client, runs.Options{}), Redis: client, Portals: portals.New(client, portals.Keyring{}, portals.Options{}),
	}
}

func TestAScrape(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		from := sources(client)
		ask(t, from.Gate.(*ratelimit.Local), "p1")
		queue := asynq.NewClientFromRedisClient(client)
		for _, o := range [][]asynq.Option{{}, {}, {asynq.ProcessIn(time.Hour)}} {
			if _, err := queue.Enqueue(asynq.NewTask("x", []byte("y")), append(o, asynq.Queue("portals-0"))...); err != nil {
				t.Fatal(err)
			}
		}
		openRun(t, client)
		m := made(t, from)
		text := scrape(t, m)
		says(t, text,
			`asynq_tasks_enqueued_total{queue="portals-0",state="pending"} 2`,
			`asynq_tasks_enqueued_total{queue="portals-0",state="scheduled"} 1`,
			`asynq_tasks_enqueued_total{queue="portals-0",state="archived"} 0`,
			`asynq_queue_size{queue="portals-0"} 3`,
			`botfleet_runs_unfinished 1`, `botfleet_runs_rows_waiting 1`,
			`botfleet_portals{state="open"} 0`, `botfleet_portals{state="held"} 0`,
			`botfleet_gate_portals{state="open"} 1`, `botfleet_gate_requests_in_flight 1`,
		)
		for _, name := range []string{"gate", "portals", "queues", "redis", "runs"} {
			if n := errorsOf(t, m, name); n != 0 {
				t.Errorf("%d errors of the collector %s", n, name)
			}
		}
		if s := family(text, "botfleet_oldest_waiting_row_seconds"); !strings.HasPrefix(s, "botfleet_oldest_waiting_row_seconds 360") {
			t.Errorf("the oldest row: %s", s)
		}
		for _, name := range []string{"go_goroutines", "process_cpu_seconds_total"} {
			if family(text, name) == "" {
				t.Errorf("no %s", name)
			}
		}
	})
}

// ask has a gate let one request go.
func ask(t *testing.T, gate *ratelimit.Local, portal string) {
	t.Helper()
	d, err := gate.Acquire(t.Context(), ratelimit.Request{Portal: portal, Method: "imbot.register", Rows: 1})
	if err != nil || len(d.Go) != 1 {
		t.Fatal(d, err)
	}
}

// openRun begins a run with one row that waits.
func openRun(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	store := runs.New(client, runs.Options{})
	if err := store.Open(t.Context(), "r1", runs.Begin{Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	row := runs.Row{Number: 1, Gen: 1, Ident: "i", Portal: "p", PortalID: "p1", Code: "c", QueuedAt: time.Now().Add(-time.Hour), Bot: []byte("{}")}
	if _, err := store.Add(t.Context(), "r1", []runs.Row{row}); err != nil {
		t.Fatal(err)
	}
}

func TestRedisTellsItsMemory(t *testing.T) {
	m := made(t, Sources{Redis: redistest.Client(t, redistest.Start(t, redistest.MaxMemory("64mb")).URL)})
	text := scrape(t, m)
	says(t, text, "botfleet_redis_memory_max_bytes 6.7108864e+07")
	if family(text, "botfleet_redis_memory_used_bytes") == "" {
		t.Error("it does not say how much is used")
	}
}

// TestACluster scrapes a cluster of one master.
func TestACluster(t *testing.T) {
	server := redistest.Start(t, redistest.Set("cluster-enabled", "yes"), redistest.MaxMemory("64mb"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	node := redistest.Client(t, server.URL)
	if err := node.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(node.ClusterInfo(ctx).Val(), "cluster_state:ok") {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the cluster does not form")
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr}, ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	openRun(t, client)
	m := made(t, sources(client))
	says(t, scrape(t, m), "botfleet_redis_memory_max_bytes 6.7108864e+07", "botfleet_runs_rows_waiting 1")
	for _, name := range []string{"portals", "queues", "redis", "runs"} {
		if n := errorsOf(t, m, name); n != 0 {
			t.Errorf("%d errors of the collector %s", n, name)
		}
	}
}

// TestARedisThatIsGone stops the server, and later starts it again.
func TestARedisThatIsGone(t *testing.T) {
	server := redistest.Start(t)
	o, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	m := made(t, sources(client))
	scrape(t, m)
	server.Stop()
	text := scrape(t, m)
	says(t, text, `botfleet_gate_portals{state="open"} 0`)
	for _, name := range []string{"asynq_", "botfleet_runs_", "botfleet_redis_"} {
		if family(text, name) != "" {
			t.Errorf("it tells of %s without a Redis", name)
		}
	}
	for _, name := range []string{"portals", "queues", "redis", "runs"} {
		if n := errorsOf(t, m, name); n != 1 {
			t.Errorf("%d errors of the collector %s", n, name)
		}
	}
	server.Restart()
	says(t, scrape(t, m), `botfleet_runs_unfinished 0`)
}

// TestAFrozenRedis answers nothing while scrapes go on.
func TestAFrozenRedis(t *testing.T) {
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	m := made(t, sources(client))
	web := httptest.NewServer(m.Handler())
	defer web.Close()
	server.Freeze()
	defer server.Thaw()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if took := time.Since(began); res.StatusCode != http.StatusOK || took > askTimeout+2*time.Second {
		t.Errorf("HTTP %d after %s", res.StatusCode, took)
	}
}

// TestConventions lints names, types and help texts as Prometheus would have
// them. The two exceptions are asynq's own names.
func TestConventions(t *testing.T) {
	m := made(t, sources(redistest.Client(t, redistest.Start(t).URL)))
	m.Request("batch", 3, ratelimit.Answered, time.Second)
	m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "transient"})
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Metric == queueTasks.name || p.Metric == queuePaused.name || strings.HasPrefix(p.Metric, "go_") {
			continue
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
