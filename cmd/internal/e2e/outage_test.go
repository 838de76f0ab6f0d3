// Redis in trouble for long: frozen, restarted, cut off, away. What a task that was
// fetched just then waits for, its lease, is two minutes long; these tests do
// nothing but wait most of the time, and once is enough of it. So they wait for no
// turn before they begin, or they would be waited for when all others are over.

//go:build !race

package e2e

import (
	"strings"
	"testing"
	"time"

	"botfleet/cmd/internal/cable"
	"botfleet/ratelimit/redistest"
)

// Outages of up to 20 s under load: no row is run again that was finished, so
// every portal is asked exactly once for each of its rows.
func TestOutagesOfRedisRunNothingTwice(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(*redistest.Server, *cable.Cable){
		"frozen": func(s *redistest.Server, _ *cable.Cable) {
			s.Freeze()
			lasts(15 * time.Second)
			s.Thaw()
		},
		"restarted": func(s *redistest.Server, _ *cable.Cable) {
			s.Kill()
			lasts(8 * time.Second)
			s.Restart()
		},
		"cut off": func(_ *redistest.Server, c *cable.Cable) {
			c.Set(cable.Refusing, false)
			lasts(15 * time.Second)
			c.Set(cable.Whole, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, rows := busyFleet(t)
			server := redistest.Start(t, redistest.AOF())
			c, err := cable.New(t.Context(), server.Addr, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			env := busySettings("redis://" + c.Addr() + "/0")
			run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
			w := startWorker(t, env...)
			await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
			outage(server, c)
			// A task that was fetched as the connection broke is known to nobody. asynq
			// takes its lease of 30 s, another 30 s and a minute to find it.
			allRegistered(t, f, resultsOf(t, env, run, len(rows), 3*time.Minute))
			f.madeOnce(len(rows))
			awaitReady(t, w, true, 10*time.Second)
			w.stop(20 * time.Second)
		})
	}
}

// Redis away for longer than a task's lease of 30 s, which is as long as asynq's
// own client is patient: rows may be run again, and no second bot comes of it.
func TestRedisAwayForLong(t *testing.T) {
	t.Parallel()
	f, rows := busyFleet(t)
	server := redistest.Start(t, redistest.AOF())
	env := busySettings(server.URL)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w := startWorker(t, env...)
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
	awaitReady(t, w, true, 10*time.Second)
	server.Kill()
	away := time.After(40 * time.Second)
	awaitReady(t, w, false, 10*time.Second)
	<-away
	if ready, _ := isReady(t, w); ready {
		t.Error("the worker says that it is ready while Redis is away")
	}
	server.Restart()
	awaitReady(t, w, true, 20*time.Second)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 3*time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	t.Logf("%d registrations were sent for %d rows", f.box.Stats().Methods["imbot.register"], len(rows))
	w.stop(20 * time.Second)
}

// A master that becomes a replica under a worker: red, and green again when it is
// a master, with all rows done.
func TestWorkerOnAMasterThatBecomesAReplica(t *testing.T) {
	t.Parallel()
	f, rows := busyFleet(t)
	server, other := redistest.Start(t), redistest.Start(t)
	client := redistest.Client(t, server.URL)
	env := busySettings(server.URL)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	w := startWorker(t, env...)
	await(t, time.Minute, "300 bots", func() bool { return f.created() >= 300 })
	// The other one is frozen, so that nothing of it is copied over the rows.
	other.Freeze()
	host, port, _ := strings.Cut(other.Addr, ":")
	if err := client.SlaveOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, w, false, 10*time.Second)
	if _, text := isReady(t, w); !strings.Contains(text, "it is a replica") {
		t.Errorf("/readyz says: %s", text)
	}
	lasts(5 * time.Second)
	if err := client.SlaveOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	other.Thaw()
	awaitReady(t, w, true, 20*time.Second)
	allRegistered(t, f, resultsOf(t, env, run, len(rows), 3*time.Minute))
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	w.stop(20 * time.Second)
}
