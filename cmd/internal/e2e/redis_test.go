// Redis in trouble: frozen, restarted, cut off, away for long, full, unusable.

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/built"
	"botfleet/cmd/internal/cable"
	"botfleet/ratelimit/redistest"
)

// isReady reports whether a worker says that it can work, and what it says.
func isReady(t *testing.T, w *process) (ready bool, text string) {
	t.Helper()
	text = page(t, w, "/readyz")
	return strings.HasPrefix(text, "ok"), text
}

func awaitReady(t *testing.T, w *process, want bool, within time.Duration) {
	t.Helper()
	await(t, within, fmt.Sprintf("/readyz to say %v", want), func() bool {
		ready, _ := isReady(t, w)
		return ready == want
	})
}

// busyFleet is 100 portals that take 200 ms for a bot, and 15 rows for each.
func busyFleet(t *testing.T) (f *fleet, rows []row) {
	t.Helper()
	f = newFleet(t)
	like := sandbox.Unlimited("")
	like.ServiceTime, like.ServerTimeout = 200*time.Millisecond, 2*time.Second
	f.addMany(100, like, slowEntry)
	return f, goodRows(f.names, 15)
}

// busySettings keep 96 calls on their way, all of them single, so that the
// portals count what was sent.
func busySettings(url string) []string {
	return []string{"REDIS_URL=" + url, "SECRETS_KEY=" + portals.NewKey(),
		"REQUEST_TIMEOUT=5s", "SHUTDOWN_TIMEOUT=10s", "BATCH=off", "CONCURRENCY=96"}
}

// madeOnce wants as many bots as there are rows, each asked for exactly once.
func (f *fleet) madeOnce(rows int) {
	f.t.Helper()
	if n := f.bots(); n != rows {
		f.t.Errorf("%d bots for %d rows", n, rows)
	}
	if s := f.box.Stats(); s.Methods["imbot.register"] != rows || s.BotsReturned != 0 {
		f.t.Errorf("%d registrations were sent for %d rows, %d of them for bots that were there", s.Methods["imbot.register"], rows, s.BotsReturned)
	}
}

// gotIn reads from what submit says how many of its rows got in.
func gotIn(t *testing.T, p *process, rows int) (n int, run string) {
	t.Helper()
	run = strings.TrimSpace(p.stdout.String())
	text := strings.ReplaceAll(p.stderr.String(), ",", "")
	said := regexp.MustCompile(`(\d+) of (\d+) rows got in; go on with the same command and --run (\S+)`).FindStringSubmatch(text)
	if said == nil {
		t.Fatalf("what got in is not said: %s", p.stderr.String())
	}
	n, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	if said[2] != strconv.Itoa(rows) || said[3] != run {
		t.Errorf("of %d rows of run %q it says: %s", rows, run, said[0])
	}
	return n, run
}

// tally is a run as status tells of it.
type tally struct {
	State                                                 string
	Queued, Registered, Dead, Refused, Duplicate, Waiting int
}

func tallyOf(t *testing.T, env []string, run string) tally {
	t.Helper()
	p := finish(t, 0, 30*time.Second, "enqueue", env, "status", "--format", "json", run)
	var c tally
	if err := json.Unmarshal([]byte(p.stdout.String()), &c); err != nil {
		t.Fatalf("%v: %s", err, p.stdout.String())
	}
	if c.Queued != c.Registered+c.Dead+c.Refused+c.Duplicate+c.Waiting {
		t.Errorf("the sum is wrong: %+v", c)
	}
	return c
}

// manyOnce is a fleet of quick portals with rows whose submission lasts long
// enough to be disturbed.
func manyOnce(t *testing.T) (f *fleet, rows []row, input string) {
	t.Helper()
	f = newFleet(t)
	f.addMany(50, sandbox.Unlimited(""), map[string]any{"rate": 1000, "burst": 1000})
	rows = goodRows(f.names, manyRows)
	return f, rows, writeJSONL(t, rows)
}

// halfway opens a cable to a server, over which a submission of manyOnce's rows
// comes to a halt in the middle.
func halfway(t *testing.T, server *redistest.Server) (c *cable.Cable, env []string, halted <-chan struct{}) {
	t.Helper()
	c, err := cable.New(t.Context(), server.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// The portals take less than a tenth of it, and the rows twice as much or more.
	return c, []string{"REDIS_URL=redis://" + c.Addr() + "/0", "SECRETS_KEY=" + portals.NewKey()}, c.DeadAfter(1 << 20)
}

// awaitHalt waits until a submission over such a cable does not get on.
func awaitHalt(t *testing.T, p *process, halted <-chan struct{}) {
	t.Helper()
	select {
	case <-halted:
	case <-p.Ended():
		t.Fatalf("it ended before: %s", p.stderr.String())
	case <-time.After(time.Minute):
		t.Fatal("it has not come that far within a minute")
	}
}

// completed submits the rest of a run, and wants each of its rows to wait in
// exactly one task. A worker then registers each once.
func completed(t *testing.T, f *fleet, env []string, run string, rows []row, input string) {
	t.Helper()
	if again := submitted(t, env, "--run", run, input); again != run {
		t.Errorf("run %s was taken up as %s", run, again)
	}
	if c := tallyOf(t, env, run); c != (tally{State: "running", Queued: len(rows), Waiting: len(rows)}) {
		t.Errorf("of %d rows: %+v", len(rows), c)
	}
	if n := tasksIn(t, url(env)); n != len(rows) {
		t.Errorf("%d tasks for %d rows", n, len(rows))
	}
	w := startWorker(t, append(env, "BATCH=off")...)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 2*time.Minute))
	f.madeOnce(len(rows))
	w.stop(20 * time.Second)
}

// tasksIn counts the tasks of all queues.
func tasksIn(t *testing.T, url string) int {
	t.Helper()
	client := redistest.Client(t, url)
	n, seen := 0, client.Scan(t.Context(), 0, "asynq:{*}:t:*", 1000).Iterator()
	for seen.Next(t.Context()) {
		n++
	}
	if err := seen.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Redis goes away in the middle of a submission, which says what got in; the same
// command with --run adds the rest.
func TestSubmitWhileRedisGoesAway(t *testing.T) {
	turn(t)
	f, rows, input := manyOnce(t)
	server := redistest.Start(t, redistest.AOF(), redistest.Set("appendfsync", "everysec"))
	c, env, halted := halfway(t, server)
	p := start(t, "enqueue", env, "submit", "--portals", f.file(), input)
	awaitHalt(t, p, halted)
	server.Kill()
	c.Set(cable.Whole, false)
	p.expect(1, time.Minute)
	noPanic(t, p)
	said, run := gotIn(t, p, len(rows))
	server.Restart()
	if c := tallyOf(t, env, run); c.Queued < said || c.Queued == len(rows) {
		t.Errorf("it said that %d rows of %d got in: %+v", said, len(rows), c)
	}
	completed(t, f, env, run, rows, input)
}

// A producer killed in the middle of its submission, and the rest of it under the
// same run.
func TestKilledSubmitGoesOn(t *testing.T) {
	turn(t)
	f, rows, input := manyOnce(t)
	server := redistest.Start(t)
	c, env, halted := halfway(t, server)
	p := start(t, "enqueue", env, "submit", "--portals", f.file(), input)
	awaitHalt(t, p, halted)
	p.Kill()
	c.Set(cable.Whole, false)
	run := strings.TrimSpace(p.stdout.String())
	if c := tallyOf(t, env, run); c.State != "submitting" || c.Queued == 0 || c.Queued == len(rows) {
		t.Errorf("after the producer's death: %+v", c)
	}
	completed(t, f, env, run, rows, input)
}

// noPanic wants errors in words: a few lines, each the command's own.
func noPanic(t *testing.T, p *process) {
	t.Helper()
	if text := p.stderr.String(); strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		t.Errorf("%s said: %s", p.name, built.Tail(text))
	}
}

// memory is how many bytes Redis uses.
func memory(t *testing.T, client redis.UniversalClient) int64 {
	t.Helper()
	info := client.Info(t.Context(), "memory").Val()
	found := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)
	if found == nil {
		t.Fatalf("no memory in %q", info)
	}
	used, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// squeeze sets maxmemory so that a share of it is in use, once the connections of
// others have left: they take memory too.
func squeeze(t *testing.T, client redis.UniversalClient, share float64) {
	t.Helper()
	await(t, 20*time.Second, "all others to leave Redis", func() bool {
		return strings.Contains(client.Info(t.Context(), "clients").Val(), "connected_clients:1\r")
	})
	bound(t, client, int64(float64(memory(t, client))/share))
}

// bound sets maxmemory; 0 takes the bound away.
func bound(t *testing.T, client redis.UniversalClient, most int64) {
	t.Helper()
	if err := client.ConfigSet(t.Context(), "maxmemory", strconv.FormatInt(most, 10)).Err(); err != nil {
		t.Fatal(err)
	}
}

// unhurried watches how many commands a second Redis is sent: no more than 200.
func unhurried(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	const watched, most = 8 * time.Second, 200
	if err := client.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	lasts(watched)
	stats := client.Info(t.Context(), "stats", "commandstats").Val()
	found := regexp.MustCompile(`total_commands_processed:(\d+)`).FindStringSubmatch(stats)
	if found == nil {
		t.Fatalf("Redis does not tell how many commands it was sent: %s", stats)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f commands a second", n/watched.Seconds())
	if n > most*watched.Seconds() {
		t.Errorf("the worker is in a hurry:\n%s", strings.Join(regexp.MustCompile(`cmdstat_\S+?:calls=\d+|errorstat_\S+|rejected_calls=[1-9]\d*`).FindAllString(stats, -1), "\n"))
	}
}

// Redis becomes full in the middle of a submission, and a new run is refused
// before that.
func TestSubmitIntoAFullRedis(t *testing.T) {
	turn(t)
	f, rows, input := manyOnce(t)
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	env := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey()}
	// Room for some of the rows, of which each takes more than a kilobyte.
	bound(t, client, memory(t, client)+int64(len(rows))<<9)
	p := start(t, "enqueue", env, "submit", "--portals", f.file(), input)
	p.expect(1, time.Minute)
	noPanic(t, p)
	if text := p.stderr.String(); !strings.Contains(text, "maxmemory") {
		t.Errorf("that Redis is full is not said: %s", text)
	}
	said, run := gotIn(t, p, len(rows))
	if said == len(rows) {
		t.Errorf("all %d rows got in: Redis was not full", said)
	}

	squeeze(t, client, 1.1)
	more := finish(t, 1, time.Minute, "enqueue", env, "submit", "--run", run, input)
	if text := more.stderr.String(); !strings.Contains(text, "maxmemory") {
		t.Errorf("the rest is refused with: %s", text)
	}
	squeeze(t, client, 0.85)
	fresh := finish(t, 1, time.Minute, "enqueue", env, "submit", input)
	if text := fresh.stderr.String(); !strings.Contains(text, "no new run is begun") || strings.Count(text, "\n") != 1 {
		t.Errorf("a new run is refused with: %s", text)
	}
	if fresh.stdout.String() != "" {
		t.Errorf("a run was begun: %s", fresh.stdout.String())
	}
	bound(t, client, 0)
	// Rows become known to their run before their tasks are queued.
	if c := tallyOf(t, env, run); c.Queued < said {
		t.Errorf("it said that %d rows of %d got in: %+v", said, len(rows), c)
	}
	completed(t, f, env, run, rows, input)
}

// Redis becomes full under a worker, which waits without hurry and says so, and
// goes on when there is room.
func TestWorkerOnAFullRedis(t *testing.T) {
	turn(t)
	f, rows := busyFleet(t)
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	// Redis also counts the commands inside scripts, and every portal with a row in
	// work asks the gate once a second.
	env := append(busySettings(server.URL), "CONCURRENCY=96")
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w := startWorker(t, env...)
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
	bound(t, client, memory(t, client)/20) // whatever ends now makes no room
	awaitReady(t, w, false, 10*time.Second)
	if _, text := isReady(t, w); !strings.Contains(text, "Redis is full: raise maxmemory") {
		t.Errorf("/readyz says: %s", text)
	}
	lasts(6 * time.Second) // what was on its way ends, or goes back
	unhurried(t, client)
	bound(t, client, 0)
	awaitReady(t, w, true, 20*time.Second)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 3*time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	t.Logf("%d registrations were sent for %d rows", f.box.Stats().Methods["imbot.register"], len(rows))
	w.stop(20 * time.Second)
}

// refusedRedis wants worker and submit to end at once with one clear line.
func refusedRedis(t *testing.T, f *fleet, input, url, want string) {
	t.Helper()
	env := []string{"REDIS_URL=" + url, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0"}
	for _, p := range []*process{
		start(t, "worker", env),
		start(t, "enqueue", env, "submit", "--portals", f.file(), input),
	} {
		p.expect(1, 30*time.Second)
		if text := p.stderr.String(); !strings.Contains(text, want) || strings.Count(text, "\n") != 1 {
			t.Errorf("%s said, instead of one line with %q: %s", p.name, want, text)
		}
		if p.stdout.String() != "" {
			t.Errorf("%s printed: %s", p.name, p.stdout.String())
		}
	}
}

// A Redis that cannot be trusted with rows.
func TestUnusableRedis(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(2, sandbox.Unlimited(""), nil)
	rows := goodRows(f.names, 2)
	input := writeJSONL(t, rows)
	t.Run("that evicts", func(t *testing.T) {
		evicts := redistest.Start(t, redistest.MaxMemory("200mb"), redistest.Set("maxmemory-policy", "allkeys-lru"))
		refusedRedis(t, f, input, evicts.URL, "its maxmemory-policy is allkeys-lru; set it to noeviction")
		env := []string{"REDIS_URL=" + evicts.URL, "SECRETS_KEY=" + portals.NewKey(), "ALLOW_EVICTION=true"}
		startWorker(t, env...)
		run := submitted(t, env, "--portals", f.file(), input)
		allRegistered(t, f, resultsOf(t, env, run, len(rows), time.Minute))
	})
	t.Run("that is a replica", func(t *testing.T) {
		master := redistest.Start(t)
		host, port, _ := strings.Cut(master.Addr, ":")
		replica := redistest.Start(t, redistest.Set("replicaof", host+" "+port))
		refusedRedis(t, f, input, replica.URL, "it is a read-only replica of "+master.Addr+": use the master's address")
	})
	t.Run("that is old", func(t *testing.T) {
		refusedRedis(t, f, input, "redis://"+oldRedis(t, "6.0.16"), "it is version 6.0.16; 6.2 or newer is needed")
	})
}

// oldRedis answers as a server of a version until the test ends.
func oldRedis(t *testing.T, version string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { answerAs(conn, version) }) // ends with the process that called
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// answerAs answers PING and INFO, and knows no HELLO.
func answerAs(conn net.Conn, version string) {
	defer func() { _ = conn.Close() }()
	info := "redis_version:" + version + "\r\nrole:master\r\n"
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		for word := range strings.FieldsSeq(strings.ToUpper(string(buf[:n]))) {
			answer := map[string]string{
				"PING": "+PONG\r\n", "INFO": fmt.Sprintf("$%d\r\n%s\r\n", len(info), info),
				"HELLO": "-ERR unknown command 'HELLO'\r\n", "CLIENT": "+OK\r\n",
			}[word]
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}
}
