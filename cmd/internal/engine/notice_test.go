// What a worker says of keys that do not fit, of a Redis that was emptied, and of
// portals that are held or do not answer.

package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
)

// book is a log that a test reads.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// says waits until the log has a line with these words n times.
func (b *book) says(t *testing.T, words string, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); strings.Count(b.String(), words) < n; {
		if time.Now().After(end) {
			t.Fatalf("the log does not say %q:\n%s", words, b)
		}
		<-time.After(20 * time.Millisecond)
	}
	if got := strings.Count(b.String(), words); got != n {
		t.Errorf("%q is said %d times, want %d:\n%s", words, got, n, b)
	}
}

// logging starts a worker and returns its log.
func logging(t *testing.T, b *Base, cfg config.Config) (*Worker, *book) {
	t.Helper()
	log := &book{}
	box := sandbox.Start(t, sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	w, err := b.StartWorker(t.Context(), cfg, WorkerOptions{Transport: box.Transport(), Private: true, Log: slog.New(slog.NewTextHandler(log, nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w, log
}

func servers(t *testing.T, b *Base) int {
	t.Helper()
	all, err := b.Inspector.Servers()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func has(t *testing.T, all []string, words string) {
	t.Helper()
	if !strings.Contains(strings.Join(all, "\n"), words) {
		t.Errorf("%q is not in %q", words, all)
	}
}

func TestAWorkerWhoseKeyOpensNothingTakesNothing(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	right := b.Registry
	cfg.Keys = newKeys(t)
	w, log := logging(t, b, cfg)
	if err := w.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "no portal's credentials open under this worker's SECRETS_KEY") || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("%v", err)
	}
	log.says(t, "no portal's credentials open", 1)
	if n := servers(t, b); n != 0 {
		t.Errorf("%d servers take tasks", n)
	}
	// One that does open is enough, as after an import over a lost key.
	b.Registry = portals.New(b.Redis, cfg.Keys, portals.Options{})
	imported(t, b, "b.bitrix24.ru,https://b.bitrix24.ru/rest/1/anything/,app\n")
	b.Registry = right
	for end := time.Now().Add(20 * time.Second); servers(t, b) == 0; {
		if time.Now().After(end) {
			t.Fatal("no task is taken")
		}
		<-time.After(20 * time.Millisecond)
	}
	if err := w.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	has(t, w.Warnings(t.Context()), "the credentials of 1 of 2 portals looked at do not open under this worker's SECRETS_KEY")
	p, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Registry.Remove(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	log.says(t, "all credentials open again", 1)
	if got := w.Warnings(t.Context()); len(got) != 0 {
		t.Error(got)
	}
}

// A fleet may start before the first portals are imported: a worker whose key opens
// none of them stops taking tasks then, and goes on once one opens.
func TestAWorkerWhoseKeyComesToOpenNothingRests(t *testing.T) {
	b, cfg := opened(t, key())
	right := b.Registry
	cfg.Keys = newKeys(t)
	w, log := logging(t, b, cfg)
	serving := func(want bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); servers(t, b) > 0 != want; {
			if time.Now().After(end) {
				t.Fatalf("tasks are taken by %d servers, want any: %t", servers(t, b), want)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	serving(true)
	imported(t, b, acme)
	log.says(t, "no portal's credentials open", 1)
	serving(false)
	if err := w.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "takes no tasks") {
		t.Error(err)
	}
	b.Registry = portals.New(b.Redis, cfg.Keys, portals.Options{})
	imported(t, b, "b.bitrix24.ru,https://b.bitrix24.ru/rest/1/anything/,app\n")
	b.Registry = right
	serving(true)
	if err := w.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// After an import over a lost key few open. No sample is to say that none does,
// neither at the start nor later, and one that opened is remembered until it does not.
func TestFewThatOpenAreFound(t *testing.T) {
	b, cfg := opened(t, key())
	lines := ""
	for i := range 20 * keysSample {
		lines += fmt.Sprintf("p%d.bitrix24.ru,https://p%d.bitrix24.ru/rest/1/anything/,app\n", i, i)
	}
	imported(t, b, lines)
	cfg.Keys = newKeys(t)
	ours := portals.New(b.Redis, cfg.Keys, portals.Options{})
	b.Registry = ours
	imported(t, b, acme)
	var log book
	for range 5 {
		o := newOpenings(ours, portals.NewCache(ours, 10), cfg.Keys, slog.New(slog.NewTextHandler(&log, nil)))
		for range 5 {
			if err := o.look(t.Context()); err != nil || o.none() != nil {
				t.Fatalf("%v, %v", err, o.none())
			}
		}
	}
	o := newOpenings(ours, portals.NewCache(ours, 10), cfg.Keys, slog.New(slog.NewTextHandler(&log, nil)))
	p, err := ours.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Get(t.Context(), p.ID); err != nil || !o.open[p.ID] {
		t.Errorf("%v, open: %v", err, o.open)
	}
	if err := ours.Remove(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if err := o.look(t.Context()); err != nil || o.none() == nil {
		t.Errorf("none opens any more: %v, %v", err, o.none())
	}
	if len(o.met) > keysMet || len(o.open) != 0 {
		t.Errorf("%d met, %d open", len(o.met), len(o.open))
	}
}

// A sample may miss the few that do not open: tasks meet them.
func TestWhatTasksMeetIsLookedAt(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	lines := ""
	for i := range 20 * keysSample {
		lines += fmt.Sprintf("p%d.bitrix24.ru,https://p%d.bitrix24.ru/rest/1/anything/,app\n", i, i)
	}
	p, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Keys = newKeys(t)
	b.Registry = portals.New(b.Redis, cfg.Keys, portals.Options{})
	imported(t, b, lines)
	var log book
	o := newOpenings(b.Registry, portals.NewCache(b.Registry, 10), cfg.Keys, slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := o.Get(t.Context(), p.ID); err == nil {
		t.Fatal("it opens")
	}
	for range 5 {
		if err := o.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if text := o.warning(); !strings.Contains(text, "credentials of portal acme.bitrix24.ru do not open") || o.none() != nil {
		t.Errorf("%q, %v", text, o.none())
	}
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("%d lines: %s", got, &log)
	}
}

func TestAnEmptiedRedisIsNoticed(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	w, log := logging(t, b, cfg)
	if got := w.Warnings(t.Context()); len(got) != 0 {
		t.Fatal(got)
	}
	for w.cache.Version() < 1 { // its first look
		<-time.After(10 * time.Millisecond)
	}
	if err := redistest.Client(t, cfg.RedisURL).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	log.says(t, "Redis has lost its portals", 1)
	has(t, w.Warnings(t.Context()), "Redis has lost its portals, as seen at ")
	if at, err := b.LostPortals(t.Context()); err != nil || time.Since(at) > time.Minute {
		t.Error(at, err)
	}
	imported(t, b, acme)
	log.says(t, "portals are stored again", 1)
	if got := w.Warnings(t.Context()); len(got) != 0 {
		t.Error(got)
	}
	log.says(t, "Redis has lost its portals", 1)
	if at, err := b.LostPortals(t.Context()); err != nil || !at.IsZero() {
		t.Error(at, err)
	}
}

func TestARedisOfAnEarlierTimeIsNoticed(t *testing.T) {
	b, cfg := opened(t, key())
	w, log := &Worker{base: b, cfg: cfg}, &book{}
	w.log = slog.New(slog.NewTextHandler(log, nil))
	for _, v := range [][2]int64{{-1, 0}, {0, 0}, {0, 7}, {7, 8}, {-1, 8}} {
		if err := w.lookBack(t.Context(), v[0], v[1]); err != nil || log.String() != "" {
			t.Fatalf("%v: %v, %s", v, err, log)
		}
	}
	if err := w.lookBack(t.Context(), 9, 8); err != nil {
		t.Fatal(err)
	}
	log.says(t, "Redis has gone back to an earlier state", 1)
}

func TestHoldsAreLogged(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme+"b.bitrix24.ru,https://b.bitrix24.ru/rest/1/anything/,app\n")
	id := func(name string) string {
		p, err := b.Registry.Find(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return p.ID
	}
	if err := b.Registry.Hold(t.Context(), id("b.bitrix24.ru"), "ticket 1", time.Now()); err != nil {
		t.Fatal(err)
	}
	_, log := logging(t, b, cfg)
	log.says(t, `msg="portals are held" portals=1`, 1)
	if _, err := b.Registry.HoldCredential(t.Context(), id("acme.bitrix24.ru"), "", "ACCESS_DENIED: no REST", time.Now()); err != nil {
		t.Fatal(err)
	}
	log.says(t, `level=WARN msg="a portal is held" portal=acme.bitrix24.ru reason="ACCESS_DENIED: no REST" do="enqueue portals check acme.bitrix24.ru says what to do"`, 1)
	for _, name := range []string{"acme.bitrix24.ru", "b.bitrix24.ru"} {
		if err := b.Registry.Release(t.Context(), id(name)); err != nil {
			t.Fatal(err)
		}
		log.says(t, `level=INFO msg="a portal is released" portal=`+name, 1)
	}
	log.says(t, `msg="a portal is held"`, 1)
	for reason, want := range map[string]string{"OVERLOAD_LIMIT: blocked": "Bitrix24's support", "x": "portals check"} {
		if got := holdAdvice(&portals.Portal{Held: &portals.Hold{Reason: reason}}); !strings.Contains(got, want) {
			t.Error(got)
		}
	}
	if got := holdAdvice(&portals.Portal{Held: &portals.Hold{Reason: "OVERLOAD_LIMIT", ByOperator: true}}); !strings.Contains(got, "portals release") {
		t.Error(got)
	}
}

func TestManyHoldsAreFewLines(t *testing.T) {
	b, cfg := opened(t, key())
	lines := ""
	for i := range 300 {
		lines += fmt.Sprintf("p%d.bitrix24.ru,https://p%d.bitrix24.ru/rest/1/anything/,app\n", i, i)
	}
	imported(t, b, lines)
	w, log := logging(t, b, cfg)
	err := b.Registry.Each(t.Context(), func(p portals.Portal) error {
		_, err := b.Registry.HoldCredential(t.Context(), p.ID, "", "ACCESS_DENIED", time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	log.says(t, `msg="a portal is held"`, fewLines)
	w.Stop()
	log.says(t, `msg="lines left out of the log" like="a portal is held" lines=`, 1)
}

func TestSilenceIsLogged(t *testing.T) {
	b, cfg := opened(t, key())
	imported(t, b, acme)
	p, err := b.Registry.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	now, log := time.Now(), &book{}
	left := newFew(slog.NewTextHandler(log, nil))
	w := &Worker{base: b, cfg: cfg, few: slog.New(left), left: left, gate: ratelimit.NewLocal(ratelimit.Config{Now: func() time.Time { return now }})}
	ask := func(outcome ratelimit.Outcome) {
		t.Helper()
		d, err := w.gate.Acquire(t.Context(), ratelimit.Request{Portal: p.ID, Limits: p.Limits, Method: bitrix.MethodRegister, Rows: 1})
		if err != nil || len(d.Go) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		if err := w.gate.Observe(t.Context(), d.Ticket, ratelimit.Answer{Outcome: outcome, Ran: 1}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.lookForSilence(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(ratelimit.NoAnswer)
	ask(ratelimit.NoAnswer)
	log.says(t, "portal", 0)
	ask(ratelimit.NoAnswer)
	log.says(t, `level=WARN msg="a portal does not answer" portal=acme.bitrix24.ru since=`, 1)
	now = now.Add(time.Minute)
	ask(ratelimit.NoAnswer)
	log.says(t, "answers again", 0)
	now = now.Add(10 * time.Minute)
	ask(ratelimit.Answered)
	log.says(t, `level=INFO msg="a portal answers again" portal=acme.bitrix24.ru`, 1)
	log.says(t, "does not answer", 1)
}

func TestFewLinesOfAKind(t *testing.T) {
	var out bytes.Buffer
	f := newFew(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	log := slog.New(f).With("x", 1)
	for range fewLines + 5 {
		log.Warn("one")
		log.Info("two")
		log.Debug("three")
	}
	f.count.skip("one", time.Now(), 100)
	f.count.skip("four", time.Now(), 3)
	if got := strings.Count(out.String(), "\n"); got != 2*fewLines {
		t.Fatalf("%d lines", got)
	}
	f.flush(t.Context(), time.Now())
	if strings.Contains(out.String(), "left out") {
		t.Fatal("before its time")
	}
	f.flush(t.Context(), time.Now().Add(fewFor))
	for _, want := range []string{
		`level=WARN msg="lines left out of the log" like=one lines=105`, `level=INFO msg="lines left out of the log" like=two lines=5`, `like=four lines=3`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not said: %s in\n%s", want, &out)
		}
	}
	log.Warn("one")
	if !strings.HasSuffix(out.String(), "msg=one x=1\n") {
		t.Error("the next minute does not begin")
	}
}

func TestAPausedWorkerSaysSo(t *testing.T) {
	b, cfg := opened(t, key())
	w, _ := logging(t, b, cfg)
	w.Pause()
	has(t, w.Warnings(t.Context()), "this worker is paused (SIGTSTP)")
}

func TestAReplicaMayBeLookedAt(t *testing.T) {
	server := redistest.Start(t)
	if err := redistest.Client(t, server.URL).Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load([]string{"REDIS_URL=" + server.URL}, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg, cfg.RedisURL); err == nil || !strings.Contains(err.Error(), "read-only replica") {
		t.Error(err)
	}
	b, replica, err := OpenToLook(t.Context(), cfg, cfg.RedisURL)
	if err != nil || replica == nil || !strings.Contains(replica.Error(), "read-only replica of 127.0.0.1:1") {
		t.Fatal(replica, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
