package onboard

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
)

// logbook gathers log lines, while others write them.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// counts is a Meter.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) Event(event, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[event+" "+outcome]++
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// queueFunc is an Enqueuer.
type queueFunc func(context.Context, *asynq.Task) error

func (f queueFunc) EnqueueContext(ctx context.Context, task *asynq.Task, _ ...asynq.Option) (*asynq.TaskInfo, error) {
	return nil, f(ctx, task)
}

// door is a service whose handler alone is used.
type door struct {
	*Service
	log   *logbook
	meter *counts
}

func newDoor(t *testing.T, queue Enqueuer) *door {
	t.Helper()
	d := &door{log: &logbook{}, meter: &counts{}}
	s, err := New(Config{
		Keys: testKeys, Queue: queue, Registry: portals.New(nil, testKeys, portals.Options{}),
		Prover: noProver{}, Gate: ratelimit.NewLocal(ratelimit.Config{}),
		Log: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Meter: d.meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Service = s
	t.Cleanup(func() {
		s.Stop()
		noSecret(t, "the log", d.log.String())
	})
	return d
}

// send answers one request without a socket.
func (d *door) send(method, kind, body string) *http.Response {
	r := httptest.NewRequest(method, "/install?auth[member_id]=query", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, r)
	return w.Result()
}

const formKind = "application/x-www-form-urlencoded"

func (d *door) post(body string) *http.Response { return d.send(http.MethodPost, formKind, body) }

// whole is all that a sender learns: status, headers, body.
func whole(t *testing.T, r *http.Response) string {
	t.Helper()
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(r.Status + "\n")
	h := r.Header.Clone()
	h.Del("Date")
	if err := h.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n" + string(body)
}

const (
	answerOK        = "200 OK\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\nok\n"
	answerMalformed = "400 Bad Request\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\nthis is not an event of a portal\n"
	answerLater     = "503 Service Unavailable\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 30\r\nX-Content-Type-Options: nosniff\r\n\nnot now; try again later\n"
)

// accepts queues everything, and counts.
func accepts(n *int) queueFunc {
	var mu sync.Mutex
	return func(context.Context, *asynq.Task) error {
		mu.Lock()
		defer mu.Unlock()
		*n++
		return nil
	}
}

// Whatever is in a well-formed event, its answer is the same.
func TestSameAnswerToEveryEvent(t *testing.T) {
	kept := 0
	d := newDoor(t, accepts(&kept))
	for name, body := range map[string]string{
		"install":          installForm().Encode(),
		"uninstall":        uninstallForm().Encode(),
		"forbidden host":   with(installForm(), "auth[domain]", "169.254.169.254").Encode(),
		"another endpoint": with(installForm(), "auth[client_endpoint]", "https://evil.example/rest/").Encode(),
		"no endpoint":      with(installForm(), "auth[client_endpoint]", "file:///etc/passwd").Encode(),
		"other event":      with(uninstallForm(), "event", "ONIMBOTMESSAGEADD").Encode(),
		"unknown event":    with(uninstallForm(), "event", "X").Encode(),
	} {
		if got := whole(t, d.post(body)); got != answerOK {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := whole(t, d.send(http.MethodPost, formKind+"; charset=UTF-8", installForm().Encode())); got != answerOK {
		t.Errorf("with a charset: %s", got)
	}
	if kept != 6 {
		t.Errorf("%d events were kept, not 6", kept)
	}
	want := map[string]int{"install kept": 5, "uninstall kept": 1, "other ignored": 2}
	if got := d.meter.all(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestRepeatedEventIsKept(t *testing.T) {
	d := newDoor(t, queueFunc(func(context.Context, *asynq.Task) error { return asynq.ErrTaskIDConflict }))
	if got := whole(t, d.post(installForm().Encode())); got != answerOK {
		t.Error(got)
	}
}

func TestMalformedRequests(t *testing.T) {
	kept := 0
	d := newDoor(t, accepts(&kept))
	for name, body := range hostileBodies() {
		if got := whole(t, d.post(body)); got != answerMalformed {
			t.Errorf("%s: %s", name, got)
		}
	}
	good := installForm().Encode()
	for name, r := range map[string]*http.Response{
		"multipart":  d.send(http.MethodPost, "multipart/form-data; boundary=x", good),
		"JSON":       d.send(http.MethodPost, "application/json", good),
		"no type":    d.send(http.MethodPost, "", good),
		"odd type":   d.send(http.MethodPost, ";;;", good),
		"64 KB more": d.post(good + "&x=" + strings.Repeat("a", maxBody)),
	} {
		if got := whole(t, r); got != answerMalformed {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The same without a length beforehand.
	r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(good), strings.NewReader("&x="+strings.Repeat("a", maxBody))))
	r.Header.Set("Content-Type", formKind)
	r.ContentLength = -1
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, r)
	if got := whole(t, w.Result()); !strings.HasPrefix(got, "400 ") || !strings.HasSuffix(got, textMalformed) {
		t.Errorf("endless: %s", got)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions, "BREW"} {
		r := d.send(method, formKind, good)
		if got := whole(t, r); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" || !strings.Contains(got, "POST only") {
			t.Errorf("%s: %s", method, got)
		}
	}
	if kept != 0 {
		t.Errorf("%d were kept", kept)
	}
}

// A Redis client that hangs, whatever its context says: the answer comes all the
// same, and Stop waits for what hangs.
func TestHangingQueueIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := newDoor(t, queueFunc(func(context.Context, *asynq.Task) error { <-release; return nil }))
		begin := time.Now()
		if got := whole(t, d.post(installForm().Encode())); got != answerLater {
			t.Error(got)
		}
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		stopped := make(chan struct{})
		go func() { d.Stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("Stop did not wait")
		default:
		}
		close(release)
		<-stopped
		if got := whole(t, d.post(installForm().Encode())); got != answerLater {
			t.Errorf("after Stop: %s", got)
		}
	})
}

// While 64 events hang the next one is not even tried, and a request whose client
// has left goes on being kept.
func TestHangingQueueTakes64(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		tried := 0
		var mu sync.Mutex
		d := newDoor(t, queueFunc(func(context.Context, *asynq.Task) error {
			mu.Lock()
			tried++
			mu.Unlock()
			<-release
			return nil
		}))
		var all sync.WaitGroup
		for range mostKeeping {
			all.Go(func() { _ = d.post(installForm().Encode()).Body.Close() })
		}
		synctest.Wait()
		begin := time.Now()
		if got := whole(t, d.post(installForm().Encode())); got != answerLater || time.Since(begin) != 0 {
			t.Errorf("after %v: %s", time.Since(begin), got)
		}
		all.Wait() // answered, but still hanging
		if got := whole(t, d.post(installForm().Encode())); got != answerLater {
			t.Error(got)
		}
		if tried != mostKeeping {
			t.Errorf("%d were tried", tried)
		}
		close(release)
		synctest.Wait()
		if got := whole(t, d.post(installForm().Encode())); got != answerOK {
			t.Errorf("when nothing hangs any more: %s", got)
		}
	})
}

func TestRateOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := 0
		d := newDoor(t, accepts(&kept))
		for range doorBurst {
			if got := whole(t, d.post(installForm().Encode())); got != answerOK {
				t.Fatal(got)
			}
		}
		if got := whole(t, d.post(installForm().Encode())); got != answerLater {
			t.Error(got)
		}
		// What is no event costs no event its place.
		if got := whole(t, d.post("nonsense")); got != answerMalformed {
			t.Error(got)
		}
		<-time.After(time.Second / doorRate)
		if got := whole(t, d.post(installForm().Encode())); got != answerOK {
			t.Error(got)
		}
		if got := d.meter.all(); got["install busy"] != 1 || got["install kept"] != doorBurst+1 {
			t.Errorf("counted %v", got)
		}
	})
}

func TestFullQueueTakesNothing(t *testing.T) {
	kept := 0
	d := newDoor(t, accepts(&kept))
	d.full.Store(true)
	if got := whole(t, d.post(installForm().Encode())); got != answerLater || kept != 0 {
		t.Errorf("%d kept: %s", kept, got)
	}
}

// A body that does not come must not hold a place for long.
func TestSlowBodyIsNotWaitedFor(t *testing.T) {
	kept := 0
	d := newDoor(t, accepts(&kept))
	d.readWithin = 50 * time.Millisecond
	server := httptest.NewServer(d.Handler())
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: " + formKind + "\r\nContent-Length: 500\r\n\r\nevent=ONAPP"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the connection stays open: %v", err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answered %q", answer)
	}
	if len(d.reading) != 0 {
		t.Error("its place is not free again")
	}
}

// await waits until cond holds, for a minute at the most.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited a minute for %s", what)
		case <-tick.C:
		}
	}
}

// shortClient is a Redis client as the worker gives it to Queue.
func shortClient(t *testing.T, url string) *asynq.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled = -1, 1, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return asynq.NewClientFromRedisClient(client)
}

// A Redis that is frozen, or away: 503 in time, and the repeat afterwards goes through once.
func TestAnswerInTimeWhateverRedisDoes(t *testing.T) {
	for name, c := range map[string]struct{ away, back func(*redistest.Server) }{
		"frozen":  {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
		"stopped": {(*redistest.Server).Stop, (*redistest.Server).Restart},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, redistest.AOF())
			d := newDoor(t, shortClient(t, server.URL))
			if got := whole(t, d.post(uninstallForm().Encode())); got != answerOK {
				t.Fatalf("beforehand: %s", got)
			}
			c.away(server)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					begin := time.Now()
					got := whole(t, d.post(installForm().Encode()))
					if took := time.Since(begin); got != answerLater || took > 2*time.Second {
						t.Errorf("after %v: %s", took, got)
					}
				})
			}
			all.Wait()
			c.back(server)
			// The client looks once a second whether Redis is back.
			await(t, "an event to be kept again", func() bool { return whole(t, d.post(installForm().Encode())) == answerOK })
			for range 3 {
				if got := whole(t, d.post(installForm().Encode())); got != answerOK {
					t.Errorf("afterwards: %s", got)
				}
			}
			inspector := asynq.NewInspectorFromRedisClient(redistest.Client(t, server.URL))
			tasks, err := inspector.ListPendingTasks(Queue)
			if err != nil {
				t.Fatal(err)
			}
			if len(tasks) != 2 {
				t.Errorf("%d events are kept, not 2", len(tasks))
			}
			for _, task := range tasks {
				noSecret(t, "a task", string(task.Payload)+task.ID)
			}
		})
	}
}
