// Package outlook says when rows will be done and which limit makes it so late:
// by the gate's own arithmetic, on what is known of the portals and, where a
// gate can be asked, on what they are doing at this moment.
package outlook

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// Workers is what binds when no portal's limit does, but how much the workers do
// at once.
const Workers ratelimit.Reason = "workers"

// Outlook is what is known beforehand.
type Outlook struct {
	// Gate tells what the portals are doing and what their rows have cost so
	// far. Nil: portals are taken to be at rest, and their rows' cost is Cost.
	Gate ratelimit.Gate
	// New rows go behind those that stand in a portal's line. Others are among
	// them already.
	New      bool
	Batch    int // rows that a request may carry; 1 or less: none are batched
	Parallel int // requests on their way to one portal at once
	Slots    int // rows that all workers together work on at once; 0: not known
	// Cost is how long a portal works on a row. 0: as the gate has learned, and
	// unknown where it has not.
	Cost time.Duration
	// Latency is what a request takes beside the work on its rows.
	Latency time.Duration
	Now     func() time.Time // defaults to time.Now
}

// Load is rows that wait, or will wait, for one portal.
type Load struct {
	Portal *portals.Portal
	Rows   int
}

const (
	// MostAsked is how many portals the gate is asked about, those with most
	// rows: each costs a round trip or two.
	MostAsked = 10_000
	// askedAtOnce is how many of them are asked about at the same time.
	askedAtOnce = 32
	// MostShut bounds Total.Shut.
	MostShut = 1000
)

// Total is the outlook over all portals.
type Total struct {
	Requests int
	// Duration is until the last row is done of those that can be foreseen.
	Duration time.Duration
	// Binds is what makes it so long: Rate, Budget, InFlight (the portal's own
	// pace), Refused, Workers, or None when nothing does; and Portal the name of
	// the portal that takes longest, empty for Workers.
	Binds  ratelimit.Reason
	Portal string
	// Busy: that portal has most of its requests on their way.
	Busy bool
	// Foreseen is how many rows Duration is for. The others wait for portals
	// that are held or do not answer, whose end nobody knows.
	Foreseen int
	// Costless is for how many of them it is not known what they cost, so that
	// only the request rate counts.
	Costless int
	// Held, Silent and Refusing are how many portals are closed, and why.
	Held, Silent, Refusing int
	// Shut are these portals: those with most rows, at most MostShut.
	Shut []Portal

	work  time.Duration
	paced int // rows of the portal that takes longest, if its pace is known
}

// All returns the outlook for loads of different portals. It sorts them by
// their rows.
func (o *Outlook) All(ctx context.Context, loads []Load) (Total, error) {
	slices.SortFunc(loads, func(a, b Load) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Portal.Name, b.Portal.Name))
	})
	asked := 0
	if o.Gate != nil {
		asked = min(len(loads), MostAsked)
	}
	var t Total
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askedAtOnce)
	for _, l := range loads[:asked] {
		g.Go(func() error {
			p, err := o.One(ctx, l)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			t.add(&p)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Total{}, err
	}
	for _, l := range loads[asked:] {
		p := o.atRest(l, o.Cost)
		t.add(&p)
	}
	slices.SortFunc(t.Shut, func(a, b Portal) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Load.Portal.Name, b.Load.Portal.Name))
	})
	if o.Slots > 0 {
		t.atLeast(t.work/time.Duration(o.Slots), Workers)
	}
	return t, nil
}

// add takes in one portal.
func (t *Total) add(p *Portal) {
	switch p.Shut {
	case ratelimit.Held:
		t.Held++
	case ratelimit.Silent:
		t.Silent++
	case ratelimit.Refused:
		t.Refusing++
	default:
	}
	if p.Shut != ratelimit.None && len(t.Shut) < MostShut {
		t.Shut = append(t.Shut, *p)
	}
	if p.Endless() {
		return
	}
	t.Requests += p.Requests
	t.Foreseen += p.Rows
	t.work += p.work
	if p.Cost == 0 && (p.work == 0 || p.Load.Portal.Limits.Operating > 0) {
		t.Costless += p.Rows
	}
	name := p.Load.Portal.Name
	if p.Duration > t.Duration || t.Portal == "" || p.Duration == t.Duration && name < t.Portal {
		t.Duration, t.Binds, t.Portal, t.Busy, t.paced = p.Duration, p.Binds, name, p.busy, 0
		if p.Cost > 0 {
			t.paced = p.Rows
		}
	}
}

// atLeast makes it as long as something else that binds, if that is longer.
func (t *Total) atLeast(d time.Duration, why ratelimit.Reason) {
	if d > t.Duration {
		t.Duration, t.Binds, t.Portal = d, why, ""
	}
}

// noticeable is how much longer than by the limits it must take before the pace
// of late is believed to bind instead: the gate's forecast is exact, the pace is
// a mean.
const noticeable = 1.15

// Lately corrects the outlook by how many rows a second were done of late. That
// says more than a limit wherever it is slower, but for an operating budget,
// under which rows are done in bursts, and where most rows are those of one
// portal whose own pace is known: it alone has no need of many workers.
func (t *Total) Lately(perSecond float64) {
	if !(perSecond > 0) || t.Binds == ratelimit.Budget || t.paced > t.Foreseen/2 {
		return
	}
	least := seconds(float64(t.Foreseen) / perSecond)
	if t.Binds != ratelimit.None && least < time.Duration(noticeable*float64(t.Duration)) {
		return
	}
	if t.Busy && least > t.Duration {
		t.Duration, t.Binds = least, ratelimit.InFlight
		return
	}
	t.atLeast(least, Workers)
}

// seconds is a time, at most a year.
func seconds(s float64) time.Duration {
	return time.Duration(min(s, 365*24*3600) * float64(time.Second))
}
