// SHARDS changed on a live system: a portal keeps the queue that it was given when it
// was first seen, and every worker serves every queue that there is.

package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/sweep"
)

// soon is within what time a row of a quick portal is done, whatever queue it is
// in: long before the sweeper, or anything else that comes by now and then, looks.
const soon = 45 * time.Second

// sharded is a fleet on one Redis, whose processes disagree on SHARDS.
type sharded struct {
	*fleet

	env []string
	rdb redis.UniversalClient
}

func newSharded(t *testing.T) *sharded {
	t.Helper()
	s := &sharded{fleet: newFleet(t), env: shared(t)}
	s.rdb = redistest.Client(t, url(s.env))
	return s
}

// with is the environment with so many shards.
func (s *sharded) with(shards int) []string {
	return append(slices.Clone(s.env), "SHARDS="+strconv.Itoa(shards))
}

// grow adds n portals that are quick, but not at once, and returns their names.
func (s *sharded) grow(n int) []string { return s.growAt(n, 20*time.Millisecond) }

// growAt adds n portals that take so long for a row.
func (s *sharded) growAt(n int, row time.Duration) []string {
	s.t.Helper()
	like := sandbox.Unlimited("")
	like.ServiceTime, like.ServerTimeout = row, 2*time.Second
	s.addMany(n, like, map[string]any{"server_timeout": 2, "rate": 1000, "burst": 1000})
	return s.names[len(s.names)-n:]
}

// queues are the numbers of portals' queues, by their names.
func (s *sharded) queues() map[string]int {
	s.t.Helper()
	found := map[string]int{}
	err := portals.New(s.rdb, portals.Keyring{}, portals.Options{WithoutSecrets: true}).Each(s.t.Context(), func(p portals.Portal) error {
		n, err := strconv.Atoi(strings.TrimPrefix(p.Queue, "portals-"))
		found[p.Name] = n
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// beyond are those of some portals whose queue has a number from shards on.
func (s *sharded) beyond(names []string, shards int) []string {
	s.t.Helper()
	in := s.queues()
	far := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return in[name] < shards })
	if len(far) == 0 {
		s.t.Fatalf("none of %d portals is in a queue beyond %d", len(names), shards)
	}
	return far
}

// rowsOf are n rows for each portal, with CODEs that begin alike.
func rowsOf(names []string, n int, code string) []row {
	rows := goodRows(names, n)
	for _, r := range rows {
		r["CODE"] = code + "_" + r["CODE"]
	}
	return rows
}

// submit queues rows by a producer with so many shards.
func (s *sharded) submit(shards int, rows []row) (run string) {
	s.t.Helper()
	return submitted(s.t, s.with(shards), "--portals", s.file(), writeJSONL(s.t, rows))
}

// registered wants each of a run's rows registered, none of them late, and says
// how long the last one took.
func (s *sharded) registered(run string, rows []row) {
	s.t.Helper()
	results := resultsOf(s.t, s.env, run, len(rows), time.Minute)
	allRegistered(s.t, s.fleet, results)
	longest := time.Duration(0)
	for _, r := range results {
		longest = max(longest, r.DoneAt.Sub(r.QueuedAt))
	}
	if s.t.Logf("%d rows: the last after %v", len(rows), longest); longest > soon {
		s.t.Errorf("a row took %v", longest)
	}
}

// Producers with more and with fewer shards add portals and rows while workers are
// at work, which are replaced, one by one, by workers with another SHARDS.
func TestShardsChangeUnderWork(t *testing.T) {
	turn(t)
	s := newSharded(t)
	old := []*process{startWorker(t, s.with(4)...), startWorker(t, s.with(4)...)}
	first := s.grow(24)
	rows := rowsOf(first, 5, "first")
	total := len(rows)
	s.registered(s.submit(4, rows), rows)

	// More shards: the old workers serve queues that they have never heard of.
	second := s.growAt(24, 100*time.Millisecond)
	rows = append(rowsOf(first, 5, "more"), rowsOf(second, 5, "more")...)
	total += len(rows)
	was := s.queues()
	s.registered(s.submit(8, rows), rows)
	s.beyond(second, 4)

	// Fewer shards, and workers that are replaced in the middle of the work: one portal
	// is held until they are, as nobody knows how long that takes.
	third := s.grow(24)
	far := s.beyond(second, 4)
	rows = append(rowsOf(append(slices.Clone(second), third...), 5, "fewer"), rowsOf(far, 100, "long")...)
	total += len(rows)
	finish(t, 0, time.Minute, "enqueue", s.with(2), "portals", "hold", far[0], "--reason", "until the workers are replaced")
	before := s.created()
	run := s.submit(2, rows)
	for _, w := range old {
		startWorker(t, s.with(2)...)
		w.stop(10 * time.Second)
	}
	if done := s.created() - before; done > len(rows)-105 {
		t.Errorf("%d of %d rows were done before the workers were replaced, those of a held portal among them", done, len(rows))
	}
	finish(t, 0, time.Minute, "enqueue", s.with(2), "portals", "release", far[0])
	s.registered(run, rows)

	rows = rowsOf(s.names, 2, "last")
	total += len(rows)
	s.registered(s.submit(2, rows), rows)
	s.madeOnce(total)
	now := s.queues()
	for name, queue := range was {
		if now[name] != queue {
			t.Errorf("portal %s was in queue %d and is in %d", name, queue, now[name])
		}
	}
	for _, name := range third {
		if now[name] >= 2 {
			t.Errorf("portal %s, new with 2 shards, is in queue %d", name, now[name])
		}
	}
	if n := tasksWaiting(t, url(s.env)); n != 0 {
		t.Errorf("%d tasks wait still", n)
	}
}

// tasksWaiting counts the tasks of all queues that have not been done.
func tasksWaiting(t *testing.T, url string) (n int64) {
	t.Helper()
	client := redistest.Client(t, url)
	queues, err := client.SMembers(t.Context(), "asynq:queues").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		for _, list := range []string{"pending", "active"} {
			n += client.LLen(t.Context(), "asynq:{"+q+"}:"+list).Val()
		}
		for _, set := range []string{"scheduled", "retry"} {
			n += client.ZCard(t.Context(), "asynq:{"+q+"}:"+set).Val()
		}
	}
	return n
}

// A registry that was filled with more shards than anybody has now: rows of held
// portals wake, dead rows are retried, and lost tasks are restored in queues
// beyond SHARDS.
func TestQueuesBeyondTheShardsAreLookedAfter(t *testing.T) {
	turn(t)
	s := newSharded(t)
	s.grow(16)
	env := append(s.with(2), "MAX_ATTEMPTS=1")
	finish(t, 0, time.Minute, "enqueue", s.with(16), "portals", "import", s.file())
	far := s.beyond(s.names, 2)
	if len(far) < 3 {
		t.Fatalf("only %d portals are in queues beyond 2", len(far))
	}
	held, down, lost := far[0], far[1], far[2]
	w := startWorker(t, env...)

	finish(t, 0, time.Minute, "enqueue", env, "portals", "hold", held, "--reason", "moving house")
	if err := s.portal(down).Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR"}); err != nil {
		t.Fatal(err)
	}
	rows := rowsOf([]string{held, down}, 5, "a")
	run := submitted(t, env, writeJSONL(t, rows))
	await(t, 30*time.Second, "5 dead rows, and 5 that wait for the hold", func() bool {
		c := tallyOf(t, env, run)
		return c.Dead == 5 && c.Waiting == 5
	})
	s.portal(down).ClearFaults()
	finish(t, 0, time.Minute, "enqueue", env, "portals", "release", held)
	finish(t, 0, time.Minute, "enqueue", env, "dead", "retry", run, "--yes", "--rps", "0")
	await(t, soon, "all rows to be registered", func() bool { return tallyOf(t, env, run).Registered == len(rows) })

	w.stop(10 * time.Second)
	s.restores(lost, env)
	if n := s.bots(); n != len(rows)+1 {
		t.Errorf("%d bots for %d rows", n, len(rows)+1)
	}
}

// restores has a row of a portal lose its task, and the sweeper of a worker with
// fewer shards find that out. No worker is at work until then.
func (s *sharded) restores(name string, env []string) {
	s.t.Helper()
	ctx := s.t.Context()
	rows := rowsOf([]string{name}, 1, "lost")
	run := submitted(s.t, env, writeJSONL(s.t, rows))
	queue := "asynq:{" + portals.QueueName(s.queues()[name]) + "}:"
	tasks, err := s.rdb.Keys(ctx, queue+"t:*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	if n, err := s.rdb.LLen(ctx, queue+"pending").Result(); n != 1 || err != nil {
		s.t.Fatalf("%d tasks wait, %v", n, err)
	}
	if err := s.rdb.Del(ctx, append(tasks, queue+"pending")...).Err(); err != nil {
		s.t.Fatal(err)
	}
	if r := s.pass(env); r.Mended[sweep.Restored] != 1 {
		s.t.Errorf("the sweeper has mended %v", r.Mended)
	}
	startWorker(s.t, env...)
	s.registered(run, rows)
}

// pass is one pass of the sweeper, as a worker's, two minutes from now.
func (s *sharded) pass(env []string) sweep.Report {
	s.t.Helper()
	cfg, err := config.Load(env, config.Flags{})
	if err != nil {
		s.t.Fatal(err)
	}
	base, err := engine.Open(s.t.Context(), cfg, cfg.RedisURL)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = base.Close() }()
	sweeper := sweep.New(sweep.Config{
		Redis: base.Redis, Queues: base.Registry.Queues, Runs: base.Runs, Portals: base.Registry,
		Requeue: base.Client(cfg, time.Hour, base.Gate(cfg)), Settle: 10 * time.Millisecond,
		Now: func() time.Time { return time.Now().Add(2 * time.Minute) },
	})
	report, err := sweeper.Pass(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}
