// What is foreseen against what then happens: portals worked on by a gate, on a
// clock of their own.

package outlook_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/ratelimit"
)

// story is rows of one portal that a fleet works on as its gate allows.
type story struct {
	limits        ratelimit.Limits
	cost, latency time.Duration
	batch, rows   int

	now     time.Time
	gate    *ratelimit.Local
	left    int // rows not done
	flights []flight
	done    []done
}

type flight struct {
	end    time.Time
	ticket ratelimit.Ticket
}

type done struct {
	at   time.Time
	rows int
}

const parallel = 4

var begin = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func (s *story) begin() {
	s.now, s.left = begin, s.rows
	s.gate = ratelimit.NewLocal(ratelimit.Config{Parallel: parallel, Now: func() time.Time { return s.now }})
}

func (s *story) portal() *portals.Portal {
	return &portals.Portal{ID: "p", Name: "acme.bitrix24.ru", Limits: s.limits, Credential: "hook", ServerTimeout: time.Minute}
}

// flying is how many rows are on their way.
func (s *story) flying() (n int) {
	for _, f := range s.flights {
		n += f.ticket.Rows
	}
	return n
}

// step lets the next thing happen.
func (s *story) step(t *testing.T) {
	t.Helper()
	next := begin.Add(time.Hour * 1000)
	for waiting := s.left - s.flying(); waiting > 0; waiting = s.left - s.flying() {
		n := min(waiting, s.batch)
		d, err := s.gate.Acquire(context.Background(), ratelimit.Request{
			Portal: "p", Limits: s.limits, Credential: "hook", Method: bitrix.MethodRegister, Batched: n > 1, Rows: n,
		})
		if err != nil {
			t.Fatal(err)
		}
		if d.Ticket.Rows == 0 {
			next = d.Until
			break
		}
		work := s.latency + time.Duration(d.Ticket.Rows)*s.cost
		s.flights = append(s.flights, flight{s.now.Add(work), d.Ticket})
	}
	first := -1
	for i, f := range s.flights {
		if !f.end.After(next) {
			first, next = i, f.end
		}
	}
	s.now = next
	if first >= 0 {
		s.land(t, first)
	}
}

// land ends a request, which tells of the work in the window so far.
func (s *story) land(t *testing.T, i int) {
	t.Helper()
	f := s.flights[i]
	s.flights = slices.Delete(s.flights, i, i+1)
	s.left -= f.ticket.Rows
	s.done = append(s.done, done{s.now, f.ticket.Rows})
	a := ratelimit.Answer{Outcome: ratelimit.Answered, Ran: f.ticket.Rows}
	if s.limits.Operating > 0 {
		bucket := s.limits.OperatingWindow / 10
		from := s.now.Truncate(bucket).Add(bucket - s.limits.OperatingWindow)
		for _, d := range s.done {
			if !d.at.Before(from) {
				a.Operating += time.Duration(d.rows) * s.cost
			}
		}
		a.HasOperating = true
		if a.Operating > s.limits.Operating+50*s.cost {
			t.Fatalf("%v of work in a window", a.Operating)
		}
	}
	if err := s.gate.Observe(context.Background(), f.ticket, a); err != nil {
		t.Fatal(err)
	}
}

// lately is how many rows a second were done lately, as runs tell it.
func (s *story) lately() float64 {
	rows, from := 0, s.now
	for _, d := range slices.Backward(s.done) {
		if s.now.Sub(d.at) > time.Minute || from.Sub(d.at) > 25*time.Second {
			break
		}
		rows, from = rows+d.rows, d.at
	}
	return float64(rows) / max(s.now.Sub(from).Seconds(), 1e-3)
}

func off(got, want time.Duration) float64 {
	return math.Abs(got.Seconds()-want.Seconds()) / want.Seconds()
}

// most is how far what is foreseen may be off.
const most = 0.15

func TestWhatIsForeseenHappens(t *testing.T) {
	second := time.Second
	for name, s := range map[string]story{
		"rate, no batching":      {limits: ratelimit.Limits{Rate: 50, Burst: 10}, cost: 20 * time.Millisecond, batch: 1, rows: 2000},
		"rate, batching":         {limits: ratelimit.Limits{Rate: 5, Burst: 10}, cost: 8 * time.Millisecond, batch: 50, rows: 20_000},
		"the portal's pace":      {limits: ratelimit.Limits{Rate: 25, Burst: 10}, cost: 8 * time.Millisecond, batch: 50, rows: 20_000},
		"a way that takes long":  {limits: ratelimit.Limits{Rate: 50, Burst: 250}, latency: second, cost: 10 * time.Millisecond, batch: 1, rows: 500},
		"operating budget":       {limits: ratelimit.Limits{Rate: 20, Burst: 50, Operating: 48 * second, OperatingWindow: 60 * second}, cost: 100 * time.Millisecond, batch: 50, rows: 1344},
		"budget, single calls":   {limits: ratelimit.Limits{Rate: 2, Burst: 50, Operating: 480 * second, OperatingWindow: 600 * second}, cost: 2 * second, batch: 1, rows: 1000},
		"cloud, more than burst": {limits: portals.PlanLimits(portals.Standard), cost: 300 * time.Millisecond, batch: 1, rows: 400},
	} {
		t.Run(name, func(t *testing.T) {
			before := outlook.Outlook{Batch: s.batch, Parallel: parallel, Cost: s.cost, Latency: s.latency}
			foreseen, err := before.One(t.Context(), outlook.Load{Portal: s.portal(), Rows: s.rows})
			if err != nil {
				t.Fatal(err)
			}
			s.begin()
			type sight struct {
				at    time.Time
				takes time.Duration
				binds ratelimit.Reason
			}
			var seen []sight
			for s.left > 0 {
				s.step(t)
				if s.left > 0 && s.left <= s.rows*(4-len(seen))/5 { // at 4/5, 3/5, …
					total := s.look(t)
					seen = append(seen, sight{s.now, total.Duration, total.Binds})
				}
			}
			took := s.now.Sub(begin)
			t.Logf("foreseen %v for %s, took %v", foreseen.Duration, foreseen.Binds, took)
			if d := off(foreseen.Duration, took); d > most {
				t.Errorf("foreseen %v, took %v: %.2f off", foreseen.Duration, took, d)
			}
			for _, e := range seen {
				left := s.now.Sub(e.at)
				t.Logf("on the way %v for %s, left %v", e.takes, e.binds, left)
				// Of the whole, as what is left ends up short of anything.
				if d := math.Abs((e.takes - left).Seconds()) / took.Seconds(); d > most {
					t.Errorf("%v left, foreseen %v (%s)", left, e.takes, e.binds)
				}
			}
		})
	}
}

// look is what status sees: it does not know what rows cost.
func (s *story) look(t *testing.T) outlook.Total {
	t.Helper()
	o := outlook.Outlook{Gate: s.gate, Batch: s.batch, Parallel: parallel, Now: func() time.Time { return s.now }}
	total, err := o.All(t.Context(), []outlook.Load{{Portal: s.portal(), Rows: s.left}})
	if err != nil {
		t.Fatal(err)
	}
	total.Lately(s.lately())
	return total
}

func ExampleTotal_Lately() {
	t := outlook.Total{Duration: time.Minute, Binds: ratelimit.Rate, Portal: "acme.bitrix24.ru", Foreseen: 1000}
	t.Lately(5)
	fmt.Println(t.Duration, t.Binds)
	// Output: 3m20s workers
}
