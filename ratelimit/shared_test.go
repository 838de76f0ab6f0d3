package ratelimit

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// workers are gates of one fleet, on a clock set by hand.
type workers struct {
	t     *testing.T
	now   time.Time
	gates []*Shared
}

func newWorkers(t *testing.T, client redis.UniversalClient, n int, cfg SharedConfig) *workers {
	w := &workers{t: t, now: epoch}
	cfg.Redis, cfg.Now = client, func() time.Time { return w.now }
	for range n {
		w.gates = append(w.gates, NewShared(cfg))
	}
	return w
}

func (w *workers) ask(worker int, r Request) Decision {
	w.t.Helper()
	d, err := w.gates[worker].Acquire(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// granted wants all rows of a request to go.
func (w *workers) granted(worker int, r Request) Ticket {
	w.t.Helper()
	d := w.ask(worker, r)
	if len(d.Go) != max(1, r.Rows) {
		w.t.Fatalf("%d of %d rows go: %s until +%s", len(d.Go), r.Rows, d.Reason, d.Until.Sub(w.now))
	}
	return d.Ticket
}

// refused wants no row of a request to go, and returns for how long.
func (w *workers) refused(worker int, r Request, why Reason) time.Duration {
	w.t.Helper()
	d := w.ask(worker, r)
	if len(d.Go) != 0 || d.Reason != why {
		w.t.Fatalf("got %d rows, %q until +%s; want none, %q", len(d.Go), d.Reason, d.Until.Sub(w.now), why)
	}
	return d.Until.Sub(w.now)
}

func (w *workers) tell(worker int, t Ticket, a Answer) {
	w.t.Helper()
	if err := w.gates[worker].Observe(w.t.Context(), t, a); err != nil {
		w.t.Fatal(err)
	}
}

// burst sends requests until the rate allows no more, and counts them.
func (w *workers) burst(worker int, r Request) (n int) {
	w.t.Helper()
	for {
		d := w.ask(worker, r)
		if len(d.Go) == 0 {
			if d.Reason != Rate {
				w.t.Fatalf("%+v", d)
			}
			return n
		}
		n++
		w.tell(worker, d.Ticket, answered)
	}
}

func TestFleetSharesMarksAndHolds(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 2, SharedConfig{})
		ctx := t.Context()
		first := w.granted(0, coded(wide, "a", "b"))
		d := w.ask(1, coded(wide, "b", "c", "a"))
		if !slices.Equal(d.Go, []int{1}) || len(d.Marked) != 2 || d.Reason != Marked ||
			!d.Marked[0].Equal(w.now.Add(130*time.Second)) || !d.Until.Equal(w.now.Add(130*time.Second)) {
			t.Fatalf("%+v", d)
		}
		w.tell(1, d.Ticket, Answer{Outcome: NoAnswer, Unsure: true})
		w.tell(0, first, answered)
		if got := w.ask(0, coded(wide, "a", "c")); !slices.Equal(got.Go, []int{0}) || len(got.Marked) != 1 {
			t.Fatalf("%+v", got)
		}
		if err := w.gates[0].ClearMark(ctx, "p", "c"); err != nil {
			t.Fatal(err)
		}
		w.granted(0, coded(wide, "c"))

		if err := w.gates[0].Hold(ctx, "p", Hold{Reason: "a person must act"}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
		d = w.ask(1, rows(wide, 1))
		if d.Reason != Held || d.Hold == nil || d.Hold.Reason != "a person must act" || !d.Hold.Since.Equal(epoch) {
			t.Fatalf("%+v", d)
		}
		if ttl := client.PTTL(ctx, keysOf("p").gate).Val(); ttl != -1 {
			t.Fatalf("a hold ends in %s", ttl)
		}
		snap, ok, err := w.gates[1].State(ctx, "p")
		if err != nil || !ok || snap.Closed != Held || snap.Hold == nil {
			t.Fatalf("%+v, %t, %v", snap, ok, err)
		}
		if err := w.gates[1].Release(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		w.granted(0, rows(wide, 1))
		if ttl := client.PTTL(ctx, keysOf("p").gate).Val(); ttl < time.Hour {
			t.Fatalf("the state of a portal ends in %s", ttl)
		}
	})
}

// A portal that blocks its caller is held for the whole fleet.
func TestFleetIsHeldByThePortal(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 2, SharedConfig{})
		w.tell(0, w.granted(0, rows(wide, 1)), Answer{Outcome: BlockedByBX, Code: "OVERLOAD_LIMIT"})
		if got := w.refused(1, rows(wide, 1), Held); got != 10*time.Second {
			t.Fatal(got)
		}
		if ttl := client.PTTL(t.Context(), keysOf("p").gate).Val(); ttl != -1 {
			t.Fatalf("a hold ends in %s", ttl)
		}
	})
}

// What a worker had on its way when it was killed comes back by itself.
func TestKilledWorkerGivesBack(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 2, SharedConfig{Parallel: 2, TicketTTL: time.Minute})
		r := rows(standard, 5)
		w.tell(1, w.granted(1, r), operating(0, 5))
		w.tell(1, w.granted(1, r), operating(10*time.Second, 5)) // 2 s a row
		for range 2 {
			w.granted(0, r)
		}
		w.refused(1, r, InFlight)
		snap, _, err := w.gates[1].State(t.Context(), "p")
		if err != nil || snap.InFlight != 2 || snap.Budgets[0].Reserved != 20*time.Second {
			t.Fatalf("%+v, %v", snap, err)
		}
		w.now = w.now.Add(time.Minute)
		ticket := w.granted(1, r)
		snap, _, err = w.gates[1].State(t.Context(), "p")
		if err != nil || snap.InFlight != 1 || snap.Budgets[0].Reserved != 10*time.Second || snap.Budgets[0].Operating != 30*time.Second {
			t.Fatalf("%+v, %v", snap, err)
		}
		for range 2 { // twice is once
			w.tell(1, ticket, operating(20*time.Second, 5))
		}
		snap, _, err = w.gates[1].State(t.Context(), "p")
		if err != nil || snap.InFlight != 0 || snap.Budgets[0].Reserved != 0 {
			t.Fatalf("%+v, %v", snap, err)
		}
	})
}

// A question that is asked again because its answer was lost takes nothing more.
func TestRepeatedQuestion(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 1, SharedConfig{})
		s, r := w.gates[0], coded(standard, "a", "b")
		ticket := Ticket{ID: s.newTicket(), Portal: "p"}
		for range 3 {
			d, err := s.acquire(t.Context(), &r, &ticket)
			if err != nil || !slices.Equal(d.Go, []int{0, 1}) || len(d.Marked) != 0 {
				t.Fatalf("%+v, %v", d, err)
			}
		}
		snap, _, err := s.State(t.Context(), "p")
		if err != nil || snap.InFlight != 1 || snap.Tokens != 45 {
			t.Fatalf("%+v, %v", snap, err)
		}
	})
}

// An answer that is lost with the caller's patience takes nothing for long.
func TestCancelledQuestion(t *testing.T) {
	w := newWorkers(t, startRedis(t), 1, SharedConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.gates[0].Acquire(ctx, coded(wide, "a")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s := w.gates[0]
	ticket := Ticket{ID: s.newTicket(), Portal: "p"}
	r := coded(wide, "a")
	if _, err := s.acquire(t.Context(), &r, &ticket); err != nil {
		t.Fatal(err)
	}
	s.takeBack(ctx, ticket, r.Codes)
	if snap, ok, err := s.State(t.Context(), "p"); err != nil || ok && snap.InFlight != 0 {
		t.Fatalf("%+v, %v", snap, err)
	}
	w.granted(0, r)
}

// A Redis that lost everything lets through one burst more, and a clock that is
// set forward as well.
func TestLossAndForwardClockCostOneBurst(t *testing.T) {
	server := redistest.Start(t)
	w := newWorkers(t, redistest.Client(t, server.URL), 1, SharedConfig{})
	if n := w.burst(0, rows(standard, 1)); n != 46 {
		t.Fatalf("burst of %d", n)
	}
	old := w.granted(0, Request{Portal: "q", Limits: standard, Rows: 1})
	server.Restart()
	w.tell(0, old, Answer{Outcome: RateRefused}) // of a portal that nobody knows any more
	if n := w.burst(0, rows(standard, 1)); n != 46 {
		t.Fatalf("burst of %d after a restart", n)
	}
	w.now = w.now.Add(1000 * time.Hour)
	if n := w.burst(0, rows(standard, 1)); n != 46 {
		t.Fatalf("burst of %d after the clock was set", n)
	}
}

// After a clock was set back time goes on from where it was: what was shut
// opens when it would have opened.
func TestClockSetBack(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		for _, back := range []time.Duration{time.Millisecond, time.Hour, 300 * 24 * time.Hour} {
			w := newWorkers(t, client, 2, SharedConfig{TicketTTL: time.Minute})
			portal := back.String()
			r := Request{Portal: portal, Limits: standard, Credential: "c", Method: "m", Rows: 1}
			lost := 0
			for d := w.ask(0, r); len(d.Go) > 0 && lost < 2; d = w.ask(0, r) {
				lost++ // never given back
			}
			w.burst(0, r)
			w.now = w.now.Add(-back)
			wait := w.refused(1, r, Rate)
			if wait > 500*time.Millisecond {
				t.Fatalf("%s back: %s", back, wait)
			}
			w.now = w.now.Add(wait)
			w.tell(1, w.granted(1, r), Answer{Outcome: WorkRefused})
			wait = w.refused(1, r, Refused)
			if wait != time.Minute {
				t.Fatalf("%s back: %s", back, wait)
			}
			w.now = w.now.Add(wait / 2).Add(-back) // once more
			snap, ok, err := w.gates[1].State(t.Context(), portal)
			if err != nil || !ok || !snap.Budgets[0].ClosedUntil.After(w.now) || snap.Budgets[0].ClosedUntil.Sub(w.now) > time.Minute {
				t.Fatalf("%s back: %+v, %v", back, snap, err)
			}
			if wait = w.refused(1, r, Refused); wait > time.Minute {
				t.Fatalf("%s back: %s", back, wait)
			}
			w.now = w.now.Add(time.Minute)
			w.granted(1, r)
		}
	})
}

// Redis' own clock, where nothing else is given.
func TestFleetByTheClockOfRedis(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		s := NewShared(SharedConfig{Redis: client})
		r := rows(Limits{Rate: 0.5, Burst: 1}, 1)
		d, err := s.Acquire(t.Context(), r)
		if err != nil || len(d.Go) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		if err := s.Observe(t.Context(), d.Ticket, answered); err != nil {
			t.Fatal(err)
		}
		d, err = s.Acquire(t.Context(), r)
		if wait := time.Until(d.Until); err != nil || d.Reason != Rate || wait < 0 || wait > 2*time.Second {
			t.Fatalf("%+v in %s, %v", d, wait, err)
		}
		all, err := s.Recent(t.Context())
		if err != nil || len(all) != 1 || all[0].Portal != "p" || all[0].Rate != 0.5 {
			t.Fatalf("%+v, %v", all, err)
		}
	})
}

// All keys of a question are in one slot of a cluster.
func TestFleetOnACluster(t *testing.T) {
	server := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	node := redistest.Client(t, server.URL)
	ctx := t.Context()
	all := []any{"CLUSTER", "ADDSLOTS"}
	for slot := range 16384 {
		all = append(all, slot)
	}
	if err := node.Do(ctx, all...).Err(); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, node)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr}})
	t.Cleanup(func() { _ = client.Close() })
	w := newWorkers(t, client, 2, SharedConfig{})
	for _, portal := range []string{"acme", "", "{odd}", "p}"} {
		r := coded(standard, "a", "b")
		r.Portal = portal
		w.tell(0, w.granted(0, r), operating(time.Second, 2))
		line := LineRequest{Request: r, Batch: 1}
		line.Order = []int64{1, 2}
		for _, gate := range w.gates {
			places, err := gate.Place(ctx, line)
			if err != nil || len(places) != 2 || places[1].Before != 1 {
				t.Fatalf("%+v, %v", places, err)
			}
		}
		w.granted(1, r)
		if err := w.gates[0].Hold(ctx, portal, Hold{}); err != nil {
			t.Fatal(err)
		}
		if err := w.gates[0].Release(ctx, portal); err != nil {
			t.Fatal(err)
		}
		if err := w.gates[0].ClearMark(ctx, portal, "a"); err != nil {
			t.Fatal(err)
		}
	}
	recent, err := w.gates[1].Recent(ctx)
	if err != nil || len(recent) != 4 {
		t.Fatalf("%+v, %v", recent, err)
	}
}

// awaitCluster waits until a node of a cluster takes commands.
func awaitCluster(t *testing.T, node redis.UniversalClient) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for node.Set(t.Context(), "k", "v", 0).Err() != nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the cluster does not come up")
		}
	}
}

// Many goroutines of two workers never have more on their way than allowed, and
// no CODE twice.
func TestFleetConcurrently(t *testing.T) {
	client := startRedis(t)
	gates := []*Shared{
		NewShared(SharedConfig{Redis: client, Parallel: 3, MaxRPS: 1e6}),
		NewShared(SharedConfig{Redis: client, Parallel: 3}),
	}
	var flying atomic.Int32
	var sending [10]atomic.Int32
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			gate := gates[g%2]
			for i := range 100 {
				code := (g + i) % len(sending)
				r := coded(wide, strconv.Itoa(code))
				r.Order = []int64{int64(code)}
				d, err := gate.Acquire(context.Background(), r)
				if err != nil {
					t.Error(err)
					return
				}
				if len(d.Go) == 0 {
					if _, err := gate.Place(context.Background(), LineRequest{Request: r}); err != nil {
						t.Error(err)
					}
					continue
				}
				if flying.Add(1) > 3 || sending[code].Add(1) > 1 {
					t.Error("too many on their way")
				}
				flying.Add(-1)
				sending[code].Add(-1)
				if err := gate.Observe(context.Background(), d.Ticket, answered); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	snap, _, err := gates[0].State(t.Context(), "p")
	if err != nil || snap.InFlight != 0 {
		t.Errorf("%+v, %v", snap, err)
	}
}

// The process's own limit asks nothing of Redis.
func TestSharedEgress(t *testing.T) {
	w := newWorkers(t, startRedis(t), 2, SharedConfig{MaxRPS: 10})
	ticket := w.granted(0, rows(wide, 1))
	if got := w.refused(0, rows(wide, 1), Egress); got != 100*time.Millisecond {
		t.Fatal(got)
	}
	w.granted(1, rows(wide, 1)) // another process
	for range 2 {               // twice is once
		w.tell(0, ticket, Answer{Outcome: NotSent})
	}
	w.granted(0, rows(wide, 1))
	w.refused(0, rows(wide, 1), Egress)
}

// Each source address has its own bucket; what the portal does is for all.
func TestEgressesApart(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 1, SharedConfig{Egress: "one"})
		other := NewShared(SharedConfig{Redis: client, Egress: "two", Now: func() time.Time { return w.now }})
		w.gates = append(w.gates, other)
		r := rows(Limits{Rate: 1, Burst: 10}, 1)
		if a, b := w.burst(0, r), w.burst(1, r); a != 6 || b != 6 {
			t.Fatal(a, b)
		}
		w.now = w.now.Add(time.Second)
		w.tell(0, w.granted(0, r), Answer{Outcome: RateRefused})
		w.refused(0, r, Refused)
		w.granted(1, r)
		if err := other.Release(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		w.refused(0, r, Rate) // no longer closed, but empty
	})
}

// Nothing goes when Redis cannot be asked, and the error says for whom.
func TestSharedWithoutRedis(t *testing.T) {
	m := miniredis.RunT(t)
	client := redistest.Client(t, "redis://"+m.Addr()+"?max_retries=-1")
	s := NewShared(SharedConfig{Redis: client})
	m.SetError("NOPE")
	ctx := t.Context()
	for what, f := range map[string]func() error{
		`ask leave for portal "p": `:                        func() error { _, err := s.Acquire(ctx, coded(wide, "a")); return err },
		`give back a ticket of portal "p": `:                func() error { return s.Observe(ctx, Ticket{ID: 1, Portal: "p"}, answered) },
		`ask for a place in the line of portal "p": `:       func() error { _, err := s.Place(ctx, LineRequest{Request: rows(wide, 1)}); return err },
		`charge portal "p": `:                               func() error { return s.Charge(ctx, rows(wide, 1), 1) },
		`hold portal "p": `:                                 func() error { return s.Hold(ctx, "p", Hold{}) },
		`release portal "p": `:                              func() error { return s.Release(ctx, "p") },
		`clear the sending mark of "a" on portal "p": `:     func() error { return s.ClearMark(ctx, "p", "a") },
		`look at the state of portal "p": `:                 func() error { _, _, err := s.State(ctx, "p"); return err },
		`ask leave for portal "p": 1 rows with 2 codes, at`: func() error { r := coded(wide, "a", "b"); r.Rows = 1; _, err := s.Acquire(ctx, r); return err },
	} {
		err := f()
		if err == nil || len(err.Error()) < len(what) || err.Error()[:len(what)] != what {
			t.Errorf("%v, want %s…", err, what)
		}
	}
}

// What nobody remembers or uses any more goes even while the portal is busy.
func TestBusyPortalStaysSmall(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 1, SharedConfig{})
		gate := keysOf("p").gate
		for i := range 400 {
			r := rows(standard, 1)
			r.Credential = strconv.Itoa(i)
			w.gates[0].cfg.Egress = "pod-" + strconv.Itoa(i)
			w.tell(0, w.granted(0, r), Answer{Outcome: RateRefused, HasOperating: true, Operating: time.Second})
			w.now = w.now.Add(5 * time.Minute)
			if fields := client.HLen(t.Context(), gate).Val(); fields > 200 {
				t.Fatalf("%d fields after %d requests", fields, i)
			}
		}
		snap, _, err := w.gates[0].State(t.Context(), "p")
		if err != nil || len(snap.Budgets) != 12 { // six windows
			t.Fatalf("%d budgets, %v", len(snap.Budgets), err)
		}
	})
}

// A line that is empty again costs nothing more.
func TestLineGoes(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		w := newWorkers(t, client, 1, SharedConfig{})
		ctx, keys := t.Context(), keysOf("p")
		r := coded(wide, "a", "b", "c")
		r.Order = []int64{30, 10, 20}
		places, err := w.gates[0].Place(ctx, LineRequest{Request: r})
		if err != nil || places[0].Before != 0 || places[1].Before != 0 || places[2].Before != 1 {
			t.Fatalf("%+v, %v", places, err)
		}
		if got := client.ZRange(ctx, keys.line, 0, -1).Val(); !slices.Equal(got, []string{"b", "c", "a"}) {
			t.Fatal(got)
		}
		for _, key := range []string{keys.line, keys.asks} {
			if ttl := client.PTTL(ctx, key).Val(); ttl < seatKept {
				t.Fatalf("%s ends in %s", key, ttl)
			}
		}
		w.granted(0, coded(wide, "a", "b"))
		if snap, _, err := w.gates[0].State(ctx, "p"); err != nil || snap.Waiting != 1 {
			t.Fatalf("%+v, %v", snap, err)
		}
		w.granted(0, coded(wide, "c"))
		if n := client.Exists(ctx, keys.line, keys.asks).Val(); n != 0 || client.HExists(ctx, keys.gate, "line").Val() {
			t.Fatalf("%d keys are left", n)
		}
	})
}

// Recent forgets what was not asked for lately.
func TestRecentPortals(t *testing.T) {
	var r recent
	for i := range mostKnown + 10 {
		r.note(epoch, strconv.Itoa(i), None)
	}
	r.note(epoch, "held", Held)
	r.note(epoch.Add(time.Minute), "late", Rate)
	got := r.portals(epoch.Add(recentFor))
	if len(got) != MostRecent+1 || !slices.Contains(got, "held") || !slices.Contains(got, "late") || len(r.byID) != mostKnown {
		t.Fatalf("%d portals of %d", len(got), len(r.byID))
	}
	if got = r.portals(epoch.Add(recentFor + time.Minute)); !slices.Equal(got, []string{"late"}) {
		t.Fatal(got)
	}
	r.note(epoch, "late", Rate)
	if got = r.portals(epoch.Add(time.Hour)); len(got) != 0 || len(r.byID) != 0 || r.order.Len() != 0 {
		t.Fatal(got)
	}
}
