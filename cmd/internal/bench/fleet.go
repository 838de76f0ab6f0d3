// Built workers, as processes, at work on portals in a box.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// fleet is a number of workers on one Redis, portals for them, and rows.
type fleet struct {
	b       *bench
	box     *sandbox.Sandbox
	entries []portals.Entry
	rows    []tasks.Registration
	base    *engine.Base
	cfg     config.Config
	workers []*process
	meter   meter
}

// remembered is how many requests each portal's log keeps: all of them, in
// every case that looks at them.
const remembered = 40_000

// newFleet empties Redis and makes n portals that are alike, each on an address
// of its own, with all periods multiplied by scale. close ends it.
func (b *bench) newFleet(ctx context.Context, scale float64, n int, like sandbox.Portal) (*fleet, error) {
	if err := b.redis.empty(ctx); err != nil {
		return nil, err
	}
	f := &fleet{b: b, box: sandbox.New(sandbox.WithScale(scale), sandbox.WithLogSize(remembered))}
	for range n {
		if _, err := f.add(like); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// add adds a portal and returns its name. Portals are added before connect.
func (f *fleet) add(like sandbox.Portal) (string, error) {
	n := len(f.entries)
	name, err := f.box.Listen(fmt.Sprintf("127.%d.%d.%d:0", 20+n/60_000, n/250%240, 1+n%250))
	if err != nil {
		return "", err
	}
	like.Name, like.AnyWebhook = name, true
	st, err := f.box.Add(like)
	if err != nil {
		return "", err
	}
	access, err := bitrix.ParseWebhook("http://" + name + "/rest/1/benchbenchbench1/")
	if err != nil {
		return "", fmt.Errorf("make up a portal: %w", err)
	}
	l := st.Limits()
	f.entries = append(f.entries, portals.Entry{
		Name: name, Plan: portals.Standard, Access: access, ServerTimeout: l.ServerTimeout, Limits: gateLimits(l),
	})
	return name, nil
}

// gateLimits are a portal's limits as the gate is told of them.
func gateLimits(l sandbox.Limits) ratelimit.Limits {
	return ratelimit.Limits{Rate: l.Rate, Burst: l.Burst, Operating: l.Operating, OperatingWindow: l.OperatingWindow}
}

// limitsOf are those of a portal like this one, with its periods multiplied by scale.
func limitsOf(like sandbox.Portal, scale float64) ratelimit.Limits {
	like.Name = "like"
	box := sandbox.New(sandbox.WithScale(scale))
	defer box.Close()
	return gateLimits(box.AddPortal(like).Limits())
}

// botsPerApplication is the real shape of registrations: 5 bots an application.
const botsPerApplication = 5

// registrations are rows for one portal, each five under a CLIENT_ID of their own.
func registrations(portal string, n int) []tasks.Registration {
	rows := make([]tasks.Registration, n)
	for i := range rows {
		rows[i] = tasks.Registration{Portal: portal, Bot: bitrix.Bot{
			Code: fmt.Sprintf("helper%06d", i), Type: "B", EventHandler: "https://bots.example.com/events",
			ClientID:   fmt.Sprintf("application%05d", i/botsPerApplication),
			Properties: bitrix.Properties{Name: fmt.Sprintf("Helper %d", i), Color: "AZURE", WorkPosition: "Answers everyday questions"},
		}}
	}
	return rows
}

// shuffledRows are so many rows for each of some portals, in an order that is
// the same each time.
func shuffledRows(entries []portals.Entry, each int) []tasks.Registration {
	var rows []tasks.Registration
	for i := range entries {
		rows = append(rows, registrations(entries[i].Name, each)...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	return rows
}

// connect stores the portals, with settings that the workers get too.
func (f *fleet) connect(ctx context.Context, env ...string) error {
	base, cfg, err := f.b.open(ctx, workload{entries: f.entries}, env...)
	f.base, f.cfg = base, cfg
	return err
}

// start starts so many workers, with the environment added to that of connect,
// and waits until they work.
func (f *fleet) start(ctx context.Context, n int, env ...string) error {
	program, err := f.b.build(ctx, "worker")
	if err != nil {
		return err
	}
	f.meter = f.b.redis.meter(ctx)
	for range n {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		environ := append(f.b.environment(f.cfg.SecretsKey, "LOG_LEVEL=warn", "HTTP_ADDR="+addr), env...)
		p, err := start(ctx, environ, program)
		if err != nil {
			return err
		}
		f.workers = append(f.workers, p)
		if err := awaitReady(ctx, p, addr); err != nil {
			return err
		}
	}
	return nil
}

// freeAddr is an address of loopback on which nobody listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// readyWithin bounds the start of a worker. One that another keeps out says so
// within seconds.
const readyWithin = 30 * time.Second

// awaitReady waits until a worker answers that it works.
func awaitReady(ctx context.Context, p *process, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := p.program.Await(ctx, func() bool { return ready(ctx, addr) }); err != nil {
		return fmt.Errorf("a worker is not ready: %w: %s", err, lastLine(p.output.String()))
	}
	return nil
}

func ready(ctx context.Context, addr string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// submit queues rows as a run, numbered in their order.
func (f *fleet) submit(ctx context.Context, run string, rows []tasks.Registration) error {
	for i := range rows {
		rows[i].Row = i + 1
	}
	return submitRun(ctx, f.base, f.cfg, run, rows)
}

// errLate ends a case that takes far longer than it should.
var errLate = errors.New("it takes far longer than it should")

// await waits until a run's n rows have an outcome.
func (f *fleet) await(ctx context.Context, run string, n int, most time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errLate)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		info, err := f.base.Runs.Get(ctx, run)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if info.Counts.Done() >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d rows have an outcome after %v: %w", info.Counts.Done(), n, time.Since(began).Round(time.Second), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// registered returns when each row of a run was registered. Any other outcome
// is an error.
func (f *fleet) registered(ctx context.Context, run string) ([]time.Time, error) {
	var ends []time.Time
	err := f.base.Runs.Outcomes(ctx, run, func(o runs.Outcome) error {
		if o.Status != runs.StatusRegistered || o.How != runs.HowCreated {
			return fmt.Errorf("row %d was not registered by a call of its own but is %s %s: %+v", o.Row, o.Status, o.How, o.Error)
		}
		ends = append(ends, o.DoneAt)
		return nil
	})
	return ends, err
}

// checkOnce makes sure that the portals made n bots, each once.
func (f *fleet) checkOnce(n int) error {
	s := f.box.Stats()
	if s.BotsCreated != n || s.BotsReturned != 0 || s.DuplicateCodes != 0 {
		return fmt.Errorf("the portals made %d bots for %d rows, %d of them twice, and were asked for %d again",
			s.BotsCreated, n, s.DuplicateCodes, s.BotsReturned)
	}
	return nil
}

// stop ends the workers at once: what is measured is over.
func (f *fleet) stop() {
	for _, p := range f.workers {
		p.kill()
	}
}

// spent says what the round took of the processors. The workers have ended.
func (f *fleet) spent(ctx context.Context) string {
	var workers time.Duration
	for _, p := range f.workers {
		workers += p.cpu()
	}
	all := f.meter.read(ctx)
	return fmt.Sprintf("CPU: workers %.1f s, Redis %.1f s, portals and producer %.1f s", workers.Seconds(), all.redis.Seconds(), all.self.Seconds())
}

// close ends everything.
func (f *fleet) close() {
	f.stop()
	if f.base != nil {
		_ = f.base.Close()
	}
	f.box.Close()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return cmp.Or(lines[len(lines)-1], "it said nothing")
}
