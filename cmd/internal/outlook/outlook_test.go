// The outlook over many portals, and over closed ones.

package outlook_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/ratelimit"
)

// fake is a gate that knows what it is told.
type fake struct {
	ratelimit.Gate
	states   map[string]ratelimit.Snapshot
	expected time.Duration
	err      error
	asked    ratelimit.LineRequest
}

func (f *fake) State(_ context.Context, portal string) (ratelimit.Snapshot, bool, error) {
	s, ok := f.states[portal]
	return s, ok, f.err
}

func (f *fake) Place(_ context.Context, r ratelimit.LineRequest) ([]ratelimit.Place, error) {
	f.asked = r
	return []ratelimit.Place{{Expected: begin.Add(f.expected), Binds: ratelimit.Rate}}, nil
}

func load(id string, rows int, held ...portals.Hold) outlook.Load {
	p := &portals.Portal{ID: id, Name: id, Limits: portals.PlanLimits(portals.Standard), Credential: "hook", ServerTimeout: time.Minute}
	if len(held) > 0 {
		p.Held = &held[0]
	}
	return outlook.Load{Portal: p, Rows: rows}
}

func at(o outlook.Outlook) *outlook.Outlook {
	o.Parallel, o.Now = parallel, func() time.Time { return begin }
	return &o
}

func TestClosedPortalsHaveNoEnd(t *testing.T) {
	hold := &ratelimit.Hold{Reason: "no answer", Since: begin.Add(-time.Hour)}
	gate := &fake{states: map[string]ratelimit.Snapshot{
		"mute":     {Closed: ratelimit.Silent, Hold: hold, ClosedUntil: begin.Add(time.Minute)},
		"gate":     {Closed: ratelimit.Held, Hold: hold},
		"refusing": {Closed: ratelimit.Refused, ClosedUntil: begin.Add(time.Second)},
	}, expected: time.Hour}
	total, err := at(outlook.Outlook{Gate: gate, Batch: 1}).All(t.Context(), []outlook.Load{
		load("mute", 1), load("gate", 2), load("registry", 3, portals.Hold{Reason: "by hand", Since: begin}), load("refusing", 4), load("fine", 5),
	})
	if err != nil {
		t.Fatal(err)
	}
	if total.Held != 2 || total.Silent != 1 || total.Refusing != 1 || total.Foreseen != 9 || total.Requests != 9 {
		t.Errorf("%+v", total)
	}
	if total.Portal != "refusing" || total.Duration != time.Hour {
		t.Errorf("%+v", total)
	}
	var shut []string
	for _, p := range total.Shut {
		shut = append(shut, fmt.Sprintf("%s %s %q", p.Load.Portal.Name, p.Shut, p.Why))
	}
	want := []string{`refusing refused ""`, `registry held "by hand"`, `gate held "no answer"`, `mute silent "no answer"`}
	if d := cmp.Diff(want, shut); d != "" {
		t.Error(d)
	}
}

func TestNobodyIsForeseenWhereAllIsClosed(t *testing.T) {
	total, err := at(outlook.Outlook{Slots: 1, Latency: time.Second}).All(t.Context(), []outlook.Load{load("a", 3, portals.Hold{})})
	if err != nil || total.Foreseen != 0 || total.Requests != 0 || total.Duration != 0 {
		t.Errorf("%+v, %v", total, err)
	}
	total.Lately(10)
	if total.Duration != 0 {
		t.Errorf("%+v", total)
	}
}

// The cost is that of the rows' own way and credentials, else of any.
func TestTheCostThatTheGateHasLearned(t *testing.T) {
	budget := func(credential, method string, batched bool, cost time.Duration) ratelimit.BudgetSnapshot {
		return ratelimit.BudgetSnapshot{Credential: credential, Method: method, Batched: batched, Cost: cost}
	}
	gate := &fake{states: map[string]ratelimit.Snapshot{"p": {Parallel: 2, Budgets: []ratelimit.BudgetSnapshot{
		budget("other", bitrix.MethodRegister, true, 5*time.Second),
	}}}}
	o := at(outlook.Outlook{Gate: gate, Batch: 50})
	check := func(want time.Duration, perSecond float64, batch int) {
		t.Helper()
		p, err := o.One(t.Context(), load("p", 10))
		if err != nil || p.Cost != want || gate.asked.PerSecond != perSecond || gate.asked.Batch != batch {
			t.Errorf("%+v, %v, asked %+v", p, err, gate.asked)
		}
	}
	// 20 s is as long as a batch may take.
	check(5*time.Second, 2.0/5, 4)
	s := gate.states["p"]
	s.Budgets = append(s.Budgets, budget("hook", bitrix.MethodRegister, false, 4*time.Second),
		budget("hook", bitrix.MethodRegister, true, 2*time.Second), budget("hook", "imbot.bot.list", true, time.Hour))
	gate.states["p"] = s
	check(2*time.Second, 1, 10)
	o.Cost = time.Second // said
	check(time.Second, 2, 20)
}

func TestNewRowsGoBehindTheLine(t *testing.T) {
	gate := &fake{states: map[string]ratelimit.Snapshot{"p": {Parallel: 4, Waiting: 100, Budgets: []ratelimit.BudgetSnapshot{
		{Method: bitrix.MethodRegister, Cost: time.Second, Reserved: 3 * time.Second},
	}}}}
	for _, c := range []struct {
		fresh bool
		rows  int
		ahead int
	}{{true, 10, 109}, {false, 10, 99}, {false, 200, 196}} {
		o := at(outlook.Outlook{Gate: gate, New: c.fresh})
		if _, err := o.One(t.Context(), load("p", c.rows)); err != nil || gate.asked.Ahead != c.ahead {
			t.Errorf("%+v: asked for %d, %v", c, gate.asked.Ahead, err)
		}
	}
}

func TestAGateThatCannotBeAsked(t *testing.T) {
	broken := errors.New("no Redis")
	_, err := at(outlook.Outlook{Gate: &fake{err: broken}}).All(t.Context(), []outlook.Load{load("a", 1), load("b", 1)})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Beyond the portals that the gate is asked about, the limits alone count.
func TestManyPortals(t *testing.T) {
	gate := &fake{states: map[string]ratelimit.Snapshot{}}
	var loads []outlook.Load
	for i := range outlook.MostAsked + 100 {
		loads = append(loads, load(fmt.Sprintf("p%05d", i), 5))
	}
	loads = append(loads, load("most", 1000))
	total, err := at(outlook.Outlook{Gate: gate, Batch: 1, Slots: 10, Cost: 100 * time.Millisecond}).All(t.Context(), loads)
	if err != nil {
		t.Fatal(err)
	}
	rows := 5*(outlook.MostAsked+100) + 1000
	if total.Foreseen != rows || total.Requests != rows || total.Costless != 0 {
		t.Errorf("%+v", total)
	}
	// 954 of its rows are not in the burst; all the work on ten slots takes longer.
	if want := time.Duration(rows) * 10 * time.Millisecond; total.Duration != want || total.Binds != outlook.Workers || total.Portal != "" {
		t.Errorf("%v %s %s, want %v", total.Duration, total.Binds, total.Portal, want)
	}
}

func TestThePaceOfLate(t *testing.T) {
	for name, c := range map[string]struct {
		total     outlook.Total
		perSecond float64
		want      time.Duration
		binds     ratelimit.Reason
	}{
		"not known":              {outlook.Total{Duration: time.Second, Binds: ratelimit.Rate, Foreseen: 10}, 0, time.Second, ratelimit.Rate},
		"slower than no limit":   {outlook.Total{Duration: time.Second, Foreseen: 10}, 1, 10 * time.Second, outlook.Workers},
		"faster than no limit":   {outlook.Total{Duration: time.Minute, Foreseen: 10}, 1, time.Minute, ratelimit.None},
		"hardly slower":          {outlook.Total{Duration: time.Minute, Binds: ratelimit.Rate, Foreseen: 66}, 1, time.Minute, ratelimit.Rate},
		"slower than the rate":   {outlook.Total{Duration: time.Minute, Binds: ratelimit.Rate, Foreseen: 90}, 1, 90 * time.Second, outlook.Workers},
		"slower, and busy":       {outlook.Total{Duration: time.Minute, Binds: ratelimit.Rate, Busy: true, Foreseen: 90}, 1, 90 * time.Second, ratelimit.InFlight},
		"under a spent budget":   {outlook.Total{Duration: time.Minute, Binds: ratelimit.Budget, Foreseen: 600}, 1, time.Minute, ratelimit.Budget},
		"slower than any number": {outlook.Total{Foreseen: 1 << 60}, 1e-300, 365 * 24 * time.Hour, outlook.Workers},
	} {
		c.total.Lately(c.perSecond)
		if c.total.Duration != c.want || c.total.Binds != c.binds {
			t.Errorf("%s: %v for %q", name, c.total.Duration, c.total.Binds)
		}
	}
}
