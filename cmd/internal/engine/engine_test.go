// The parts put together, on a real Redis.

package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// opened returns what a command has on a Redis of the test's own.
func opened(t *testing.T, environ ...string) (*Base, config.Config) {
	t.Helper()
	server := redistest.Start(t)
	cfg, err := config.Load(append([]string{"REDIS_URL=" + server.URL, "SHUTDOWN_TIMEOUT=5s", "SHARDS=2"}, environ...), config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), cfg, cfg.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, cfg
}

// Who is interrupted while Redis is silent does not wait for it.
func TestHangUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cfg, err := config.Load([]string{"REDIS_URL=" + server.URL}, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), cfg, cfg.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	b.HangUp(ctx)() // what has come to its end does not hang up
	stop := b.HangUp(ctx)
	server.Freeze()
	defer server.Thaw()
	asked := make(chan error, 2)
	for _, rdb := range []redis.UniversalClient{b.Redis, b.shared} {
		go func() { asked <- rdb.HGet(context.WithoutCancel(ctx), "h", "f").Err() }()
	}
	interrupt()
	began := time.Now()
	for range 2 {
		if err := <-asked; err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("a frozen Redis answered: %v", err)
		}
	}
	if took := time.Since(began); took > 10*time.Second { // the client's own patience is 20 s
		t.Errorf("it took %v", took)
	}
	stop()
}

// started returns a worker that calls a sandbox, which the test ends.
func started(t *testing.T, b *Base, cfg config.Config, box *sandbox.Sandbox) *Worker {
	t.Helper()
	w, err := b.StartWorker(t.Context(), cfg, WorkerOptions{Transport: box.Transport(), Private: true, Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func imported(t *testing.T, b *Base, csv string) {
	t.Helper()
	entries, err := portals.Read(strings.NewReader("portal,webhook,client_id\n"+csv), portals.CSV, "portals", bitrix.Endpoints{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Registry.ImportLostKey(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

const acme = "acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/anything/,app\n"

func key() string { return "SECRETS_KEY=" + portals.NewKey() }

func TestARowGoesAllTheWay(t *testing.T) {
	b, cfg := opened(t, key())
	box := sandbox.Start(t, sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	w := started(t, b, cfg, box)
	imported(t, b, acme) // after the worker has started
	bot := bitrix.Bot{Code: "helper", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"}}
	if _, err := b.Client(cfg, time.Hour, w.Gate()).Submit(t.Context(), "r1", tasks.Registration{Portal: "acme.bitrix24.ru", Bot: bot}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := b.Runs.Follow("r1").Wait(ctx, func(o runs.Outcome) error {
		if o.Status != runs.StatusRegistered || o.BotID != 39 {
			t.Errorf("%+v", o)
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWorkersThatMayNotStartLeaveNothingBehind(t *testing.T) {
	b, cfg := opened(t)
	o := WorkerOptions{Log: slog.New(slog.DiscardHandler)}
	if _, err := b.StartWorker(t.Context(), cfg, o); !errors.Is(err, portals.ErrNoKey) {
		t.Fatal(err)
	}
	cfg.Keys = newKeys(t)
	first, err := b.StartWorker(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.StartWorker(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()
	second.Stop()
}

func newKeys(t *testing.T) portals.Keyring {
	t.Helper()
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for url, want := range map[string]string{
		"localhost:6379":                "REDIS_URL",
		"redis://:secret@127.0.0.1:1/0": "127.0.0.1:1",
	} {
		_, err := Open(t.Context(), config.Config{}, url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// failing fails one command, once.
type failing struct {
	command string
	left    atomic.Int32
}

func (f *failing) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (f *failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == f.command && f.left.Add(-1) >= 0 {
			err := errors.New("no answer")
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (w *Worker) isHeld() bool {
	recent, err := w.gate.Recent(context.Background())
	return err == nil && slices.ContainsFunc(recent, func(p ratelimit.Snapshot) bool { return p.Closed == ratelimit.Held })
}

// A change of the registry is told of once. What Redis did not let the worker
// take over then, it takes over later.
func TestAChangeIsTakenOverEvenIfRedisFailsFirst(t *testing.T) {
	b, cfg := opened(t, key())
	fail := &failing{command: "hgetall"}
	b.Redis.AddHook(fail)
	w := started(t, b, cfg, sandbox.Start(t))
	w.cancel() // the test takes care itself
	w.care.Wait()
	imported(t, b, acme)
	found, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Registry.Hold(t.Context(), found.ID, "OVERLOAD_LIMIT", time.Now()); err != nil {
		t.Fatal(err)
	}
	fail.left.Store(1)
	if err := w.refresh(t.Context()); err == nil || w.isHeld() {
		t.Fatalf("it did not fail: %v", err)
	}
	if err := w.refresh(t.Context()); err != nil || !w.isHeld() {
		t.Errorf("the hold was forgotten: %v", err)
	}
	if err := b.Registry.Release(t.Context(), found.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.refresh(t.Context()); err != nil || w.isHeld() {
		t.Errorf("the release was not taken over: %v", err)
	}
}

// A hold outlives the worker that met its reason.
func TestAWorkerStartsWithTheHoldsThatThereAre(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	found, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Registry.Hold(t.Context(), found.ID, "OVERLOAD_LIMIT", time.Now()); err != nil {
		t.Fatal(err)
	}
	if w := started(t, b, cfg, sandbox.Start(t)); !w.isHeld() {
		t.Error("it would call a portal that is held")
	}
}

func TestAWorkerServesQueuesOfAnEarlierSetting(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	cfg.Shards = 1
	w := started(t, b, cfg, sandbox.Start(t))
	queues, err := w.queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, q := range queues {
		served[q] = true
	}
	if !served[found.Queue] || !served[portals.QueueName(0)] {
		t.Errorf("%v, without %s", queues, found.Queue)
	}
}
