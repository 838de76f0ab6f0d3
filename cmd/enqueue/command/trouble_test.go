// What status and doctor say of a fleet that cannot work, or of a Redis that
// cannot be written.

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/onboard"
)

// trouble is a Redis with a submitted run.
type trouble struct {
	*testing.T

	url, run string
	environ  []string
	registry *portals.Registry
	queues   []string
}

// newTrouble submits 3 rows for each portal.
func newTrouble(t *testing.T, names ...string) *trouble {
	t.Helper()
	return troubled(t, 3, "", names...)
}

// troubled submits what input makes.
func troubled(t *testing.T, each int, columns string, lines ...string) *trouble {
	t.Helper()
	server := redistest.Start(t)
	x := &trouble{T: t, url: server.URL, environ: []string{"REDIS_URL=" + server.URL, secretsKey, "BATCH=off"}}
	portalsFile, rows := input(t, each, columns, lines...)
	code, out, errs := command(t.Context(), x.environ, "submit", "--portals", portalsFile, rows)
	if code != exitDone {
		t.Fatalf("exit status %d: %s", code, errs)
	}
	x.run = strings.TrimSpace(out)
	x.registry = portals.New(redistest.Client(t, server.URL), portals.Keyring{}, portals.Options{WithoutSecrets: true})
	var err error
	if x.queues, err = x.registry.Queues(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

// open is what status and doctor ask.
func (x *trouble) open() (config.Config, *engine.Base) {
	x.Helper()
	cfg, err := config.Load(x.environ, config.Flags{})
	if err != nil {
		x.Fatal(err)
	}
	base, err := engine.Open(x.Context(), cfg, cfg.RedisURL)
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = base.Close() })
	return cfg, base
}

// status returns what is printed for a person, and for programs.
func (x *trouble) status() (table string, s runStatus) {
	x.Helper()
	code, table, errs := command(x.Context(), x.environ, "status", x.run, "--format", "table")
	if code != exitDone {
		x.Fatalf("exit status %d: %s", code, errs)
	}
	_, out, _ := command(x.Context(), x.environ, "status", x.run)
	s.etaStatus = &etaStatus{}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		x.Fatal(err)
	}
	return table, s
}

func (x *trouble) doctor() string {
	_, out, _ := command(x.Context(), x.environ, "doctor", "--format", "csv")
	return out
}

func (x *trouble) said(text string, wants ...string) {
	x.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			x.Errorf("not said: %q in\n%s", want, text)
		}
	}
}

func (x *trouble) notSaid(text, word string) {
	x.Helper()
	if strings.Contains(text, word) {
		x.Errorf("said: %q in\n%s", word, text)
	}
}

func TestRowsThatWaitForAnotherKeyHaveNoEnd(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru", "b.bitrix24.ru", "c.bitrix24.ru")
	worked(t, x.url, x.queues, 9, func(p tasks.Payload) error {
		if p.Portal == "c.bitrix24.ru" {
			return errors.New("waits for its turn on the portal, until 2026-11-22T10:00:00Z")
		}
		return fmt.Errorf("%w, until 2026-11-22T10:00:00Z", &portals.SealedError{Portal: p.Portal, KeyID: "c84557e0"})
	})
	const why = "credentials do not open: they are sealed under key c84557e0, which SECRETS_KEY does not hold; add that key, or import the portal again with --lost-key"
	table, s := x.status()
	x.said(table, "6 rows of 2 portals wait for a worker with another SECRETS_KEY: "+why+"\n", "  6: "+why+"\n", "3 rows of the other portals")
	x.notSaid(table, "done in about 0ms")
	if s.Keys == nil || s.Keys.Rows != 6 || s.ETARows != 3 {
		t.Errorf("%+v", s.etaStatus)
	}
	x.said(x.doctor(), `wrong,keys,"6 of 9 rows that are put off wait for a worker with another SECRETS_KEY: `+why)
}

func TestPausedQueuesHaveNoEnd(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru")
	table, _ := x.status()
	x.said(table, "when it will be done is not known before some rows are: no limit binds")
	x.notSaid(table, "0ms")
	opt, err := asynq.ParseRedisURI(x.url)
	if err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspector(opt)
	defer func() { _ = inspector.Close() }()
	for _, q := range x.queues {
		if err := inspector.PauseQueue(q); err != nil {
			t.Fatal(err)
		}
	}
	table, s := x.status()
	x.said(table, "nobody knows when it will be done", "3 rows wait in paused queues, until somebody resumes them: "+strings.Join(x.queues, ", ")+"\n")
	if s.ETA != nil || s.PausedQueues == nil || s.PausedQueues.Rows != 3 {
		t.Errorf("%+v", s.etaStatus)
	}
}

func TestAFullRedisIsReadAndSaysSo(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru")
	admin := redistest.Client(t, x.url)
	p, err := x.registry.Find(t.Context(), "a.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	ask(t, ratelimit.NewShared(ratelimit.SharedConfig{Redis: admin, Parallel: 4}), &p, ratelimit.Answered)
	if err := admin.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	table, s := x.status()
	x.said(table, "3 queued: 0 registered", "3 waiting", "when it will be done cannot be told: Redis is full: raise its maxmemory")
	if s.ETAUnknown != fullText || s.ETA != nil || s.Waiting != 3 {
		t.Errorf("%+v", s)
	}
	code, _, errs := command(t.Context(), x.environ, "portals", "hold", "a.bitrix24.ru", "--reason", "x")
	if code != exitFailed || strings.Contains(errs, "OOM") || strings.Contains(errs, "script") || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit status %d: %s", code, errs)
	}
	x.said(errs, "enqueue: hold portal "+p.ID+": "+fullText+"\n")
}

func TestDoctorOnAReplica(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru")
	if err := redistest.Client(t, x.url).Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t.Context(), x.environ, "doctor", "--format", "csv")
	if code != exitUnfinished || errs != "" {
		t.Errorf("exit status %d: %s", code, errs)
	}
	x.said(out, "it is a read-only replica of 127.0.0.1:1: use the master's address", "ok,portals,", `warning,workers,"none is alive`, "3 rows waiting", "mended")
}

func TestDoctorOnALostRegistry(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru")
	x.said(x.doctor(), `ok,portals,"1 portal: 0 held, 0 gone"`)
	admin := redistest.Client(t, x.url)
	if err := admin.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	x.said(x.doctor(), `warning,portals,"none are stored: import them`)
	if err := admin.Set(t.Context(), "botfleet:lost", "2026-11-22T10:00:00Z", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	x.said(x.doctor(), `wrong,portals,"none are stored, and there were some until 2026-11-22`)
}

// Workers that have stopped taking, and those that only take in installs, are alive
// and no help: rows that wait have nobody.
func TestWorkersThatTakeNoRowsAreToldOf(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru")
	opt, err := asynq.ParseRedisURI(x.url)
	if err != nil {
		t.Fatal(err)
	}
	_, base := x.open()
	over := make(chan struct{})
	serve := func(queues ...string) *asynq.Server {
		t.Helper()
		c := asynq.Config{Queues: map[string]int{}, Concurrency: 1, ShutdownTimeout: time.Second, LogLevel: asynq.FatalLevel, HealthCheckInterval: time.Hour}
		for _, q := range queues {
			c.Queues[q] = 1
		}
		server := asynq.NewServer(opt, c)
		t.Cleanup(server.Shutdown)
		if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-over; return nil })); err != nil {
			t.Fatal(err)
		}
		return server
	}
	defer close(over)
	until := func(workers, paused, installs int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			got, err := fleetOf(t.Context(), base)
			if err == nil && got.Workers == workers && got.Paused == paused && got.Installs == installs {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%+v, %v", got, err)
			}
			if err := pause(t.Context(), 50*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	door := serve(onboard.Queue)
	until(0, 0, 1)
	const only = "1 worker takes in installs only: no credentials open under the SECRETS_KEY there"
	x.said(x.doctor(), `warning,workers,none is at work on this Redis; `+only)
	table, s := x.status()
	x.said(table, "no worker is at work on this Redis; "+only)
	if s.Workers != 0 || s.etaStatus.Paused != 0 || s.Installs != 1 {
		t.Errorf("%+v", s.etaStatus)
	}
	rows := serve(x.queues...) // of the same process
	until(1, 0, 0)
	x.said(x.doctor(), "ok,workers,1 worker\n", "ok,queue "+x.queues[0])
	rows.Stop()
	until(0, 1, 0)
	door.Shutdown()
	until(0, 1, 0)
	x.said(x.doctor(), "warning,workers,none is at work on this Redis; 1 worker takes nothing: paused (SIGTSTP) or stopping\n",
		"wrong,queue "+x.queues[0]+`,"no worker serves it, with `)
	table, s = x.status()
	x.said(table, "no worker is at work on this Redis; 1 worker takes nothing: paused (SIGTSTP) or stopping")
	if s.Workers != 0 || s.etaStatus.Paused != 1 {
		t.Errorf("%+v", s.etaStatus)
	}
}

// What a sample shows is not taken for all.
func TestASampleIsToldAsSuch(t *testing.T) {
	var b strings.Builder
	(&app{}).printRun(&b, runStatus{Waiting: 50_000, Sampled: true, LookedAt: 2000, WaitsFor: map[string]int{"portal held: x": 2000}})
	if want := "of the 2,000 rows that are put off and due first:\n  2,000: portal held: x\n"; !strings.Contains(b.String(), want) {
		t.Errorf("not said: %q in\n%s", want, &b)
	}
}

// A follower of rows that do not move tells what they wait for, in bounds.
func TestWhatAFollowedRunWaitsFor(t *testing.T) {
	names := make([]string, 25)
	for i := range names {
		names[i] = fmt.Sprintf("p%02d.bitrix24.ru", i)
	}
	x := newTrouble(t, names...)
	for _, name := range names {
		if code, _, errs := command(t.Context(), x.environ, "portals", "hold", name, "--reason", "no licence"); code != exitDone {
			t.Fatal(errs)
		}
	}
	cfg, base := x.open()
	var said strings.Builder
	(&app{}).tellWaits(t.Context(), cfg, base, x.run, &said)
	x.said(said.String(), "nothing has moved for 30s:\n", "25 held (their rows wait for somebody to act)", ": held since ", ": no licence\n", "more lines; enqueue status "+x.run+" prints all\n")
	if n := strings.Count(said.String(), "\n"); n != toldLines+2 {
		t.Errorf("%d lines:\n%s", n, &said)
	}
}
