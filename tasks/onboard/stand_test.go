package onboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

const acme = "acme.bitrix24.ru"

// stand is a service at work: a Redis, portals in a box, and what counts both.
type stand struct {
	*door
	t         *testing.T
	box       *sandbox.Sandbox
	redis     redis.UniversalClient
	registry  *portals.Registry
	runs      *runs.Store
	inspector *asynq.Inspector
	bots      *botList
	prover    *countingProver
	submitter *failingSubmitter
	gone      *goneHook
}

// inBox are the portals of a stand: each has installed the application.
func inBox(change ...func(*sandbox.Portal)) *sandbox.Sandbox {
	var all []sandbox.Portal
	for _, name := range []string{acme, "other.bitrix24.ru"} {
		p := sandbox.Unlimited(name)
		p.App = "local.app"
		for _, f := range change {
			f(&p)
		}
		all = append(all, p)
	}
	return sandbox.New(sandbox.WithApplication("local.app", "4pps3cr3t"), sandbox.WithPortals(all...))
}

// newStand starts a service on a Redis. change may change its configuration.
func newStand(t *testing.T, client redis.UniversalClient, box *sandbox.Sandbox, change func(*Config)) *stand {
	t.Helper()
	t.Cleanup(box.Close)
	if err := box.Open(); err != nil {
		t.Fatal(err)
	}
	caller := bitrix.NewClient(bitrix.Config{Transport: box.Transport()})
	t.Cleanup(caller.Close)
	queue := asynq.NewClientFromRedisClient(client)
	s := &stand{
		door: &door{log: &logbook{}, meter: &counts{}}, t: t, box: box, redis: client,
		registry:  portals.New(client, testKeys, portals.Options{}),
		runs:      runs.New(client, runs.Options{}),
		inspector: asynq.NewInspectorFromRedisClient(client),
		bots:      &botList{list: twoBots()}, prover: &countingProver{next: caller}, gone: &goneHook{},
	}
	s.submitter = &failingSubmitter{next: tasks.NewClient(tasks.ClientConfig{
		Queue: queue, Inspector: s.inspector, Portals: s.registry, Runs: s.runs, Retention: time.Hour,
	})}
	cfg := Config{
		Keys: testKeys, Queue: queue, Redis: client, Registry: s.registry, Prover: s.prover,
		Gate: ratelimit.NewLocal(ratelimit.Config{}), Bots: s.bots, Submitter: s.submitter, Runs: s.runs,
		Inspector: s.inspector, Gone: s.gone.call, Eager: true, Meter: s.meter,
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the service logged:\n%s", s.log.String())
		}
	})
	return s
}

// started starts the service, too.
func (s *stand) started() *stand {
	s.t.Helper()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
	return s
}

// deliver sends a form, which must be kept.
func (s *stand) deliver(form url.Values) {
	s.t.Helper()
	if got := whole(s.t, s.post(form.Encode())); got != answerOK {
		s.t.Fatalf("answered %s", got)
	}
}

// becomes waits until an event has come to something, so many times.
func (s *stand) becomes(event, outcome string, times int) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("%s %s %d times", event, outcome, times), func() bool { return s.meter.all()[event+" "+outcome] >= times })
}

// hurry makes what was put off due.
func (s *stand) hurry() {
	s.t.Helper()
	await(s.t, "an event that was put off", func() bool {
		n, err := s.inspector.RunAllRetryTasks(Queue)
		return err == nil && n > 0
	})
}

// portal is a stored portal.
func (s *stand) portal(name string) portals.Portal {
	s.t.Helper()
	p, err := s.registry.Find(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// unknown fails the test when a portal is stored.
func (s *stand) unknown(name string) {
	s.t.Helper()
	if _, err := s.registry.Find(s.t.Context(), name); !errors.Is(err, portals.ErrUnknown) {
		s.t.Errorf("portal %s: %v", name, err)
	}
}

// run is the run of a portal's install.
func (s *stand) run(p portals.Portal, count int) runs.Info {
	s.t.Helper()
	info, err := s.runs.Get(s.t.Context(), RunID(portals.Installed{Portal: p, Count: count}))
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

// waiting is how many registrations wait in a portal's queue.
func (s *stand) waiting(p portals.Portal) int {
	s.t.Helper()
	list, err := s.inspector.ListPendingTasks(p.Queue)
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		s.t.Fatal(err)
	}
	return len(list)
}

// hasBots fails the test unless the install's bots wait, each once.
func (s *stand) hasBots(p portals.Portal, count, bots int) {
	s.t.Helper()
	info := s.run(p, count)
	if info.Open || info.Counts.Queued != bots || info.Counts.Waiting != bots || info.Label != "install of "+p.Name {
		s.t.Errorf("run %+v", info)
	}
	if n := s.waiting(p); n != bots {
		s.t.Errorf("%d registrations wait, not %d", n, bots)
	}
}

// logged fails the test unless the log has a line with all texts.
func (s *stand) logged(texts ...string) {
	s.t.Helper()
	for line := range strings.SplitSeq(s.log.String(), "\n") {
		found := true
		for _, text := range texts {
			found = found && strings.Contains(line, text)
		}
		if found {
			return
		}
	}
	s.t.Errorf("no line of the log has %q", texts)
}

// hides fails the test when a secret stands in the log or in Redis.
func (s *stand) hides(secrets ...string) {
	s.t.Helper()
	places := map[string]string{"log": s.log.String(), "Redis": s.dump()}
	for place, text := range places {
		for _, secret := range secrets {
			if len(secret) < 8 {
				s.t.Fatalf("%q is no secret", secret)
			}
			if at := strings.Index(text, secret); at >= 0 {
				s.t.Errorf("%s holds a secret: …%s…", place, text[max(0, at-80):min(len(text), at+80)])
			}
		}
	}
	if !strings.Contains(places["Redis"], acme) {
		s.t.Error("what was looked at in Redis does not even name the portal")
	}
}

// secretsOf are those of a form.
func secretsOf(f url.Values) []string {
	var all []string
	for _, name := range []string{"auth[access_token]", "auth[refresh_token]", "auth[application_token]"} {
		if v := f.Get(name); v != "" {
			all = append(all, v)
		}
	}
	return all
}

// dump is everything in Redis.
func (s *stand) dump() string {
	s.t.Helper()
	ctx := s.t.Context()
	var b strings.Builder
	keys := s.redis.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		key := keys.Val()
		b.WriteString(key + "\n")
		switch s.redis.Type(ctx, key).Val() {
		case "string":
			b.WriteString(s.redis.Get(ctx, key).Val())
		case "hash":
			_, _ = fmt.Fprintf(&b, "%v", s.redis.HGetAll(ctx, key).Val())
		case "list":
			_, _ = fmt.Fprintf(&b, "%v", s.redis.LRange(ctx, key, 0, -1).Val())
		case "set":
			_, _ = fmt.Fprintf(&b, "%v", s.redis.SMembers(ctx, key).Val())
		case "zset":
			_, _ = fmt.Fprintf(&b, "%v", s.redis.ZRange(ctx, key, 0, -1).Val())
		case "stream":
			_, _ = fmt.Fprintf(&b, "%v", s.redis.XRange(ctx, key, "-", "+").Val())
		}
		b.WriteByte('\n')
	}
	if err := keys.Err(); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

// real starts a redis-server for a test.
func realRedis(t *testing.T) redis.UniversalClient {
	t.Helper()
	return redistest.Client(t, redistest.Start(t).URL)
}

func twoBots() []bitrix.Bot {
	return []bitrix.Bot{
		{Code: "helper", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"}},
		{Code: "guide", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Guide"}},
	}
}

// botList is a Bots whose file may change or be broken.
type botList struct {
	mu   sync.Mutex
	list []bitrix.Bot
	err  error
}

func (b *botList) For(context.Context) ([]bitrix.Bot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list, b.err
}

func (b *botList) set(list []bitrix.Bot, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list, b.err = list, err
}

// countingProver counts whom it calls, and can be made to hang.
type countingProver struct {
	next  Prover
	hangs chan struct{} // not nil: closed when a call hangs

	mu    sync.Mutex
	calls map[string]int // by host
}

func (c *countingProver) Bots(ctx context.Context, a bitrix.Access, clientID string) ([]bitrix.ListedBot, bitrix.Time, error) {
	c.mu.Lock()
	if c.calls == nil {
		c.calls = map[string]int{}
	}
	c.calls[a.Host()]++
	c.mu.Unlock()
	if c.hangs != nil {
		close(c.hangs)
		c.hangs = nil
		<-ctx.Done()
		return nil, bitrix.Time{}, &bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeCancelled, Err: ctx.Err()}
	}
	return c.next.Bots(ctx, a, clientID)
}

func (c *countingProver) all() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, calls := range c.calls {
		n += calls
	}
	return n
}

// failingSubmitter fails a few times, before or after it has submitted.
type failingSubmitter struct {
	next Submitter

	mu            sync.Mutex
	before, after int
	panics        bool
}

func (f *failingSubmitter) Submit(ctx context.Context, run string, regs ...tasks.Registration) ([]tasks.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before > 0 {
		f.before--
		if f.panics {
			panic("a bug")
		}
		return nil, errors.New("no Redis before the submission")
	}
	receipts, err := f.next.Submit(ctx, run, regs...)
	if f.after > 0 {
		f.after--
		return nil, errors.New("no Redis after the submission")
	}
	return receipts, err
}

// goneHook counts which portals it was called for.
type goneHook struct {
	mu    sync.Mutex
	fails int
	ids   []string
}

func (g *goneHook) call(_ context.Context, p portals.Portal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ids = append(g.ids, p.ID)
	if g.fails > 0 {
		g.fails--
		return errors.New("no Redis for the hook")
	}
	return nil
}

// zOf is a member of a sorted set, an hour ahead.
func zOf(id string) redis.Z {
	return redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: id}
}
