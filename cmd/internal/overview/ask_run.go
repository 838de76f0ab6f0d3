// How one run gets on: its rate, what its rows wait for, and when they are done.

package overview

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"botfleet/cmd/internal/outlook"
	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

const (
	// mostScanned is of how many portals the waiting rows are counted, a thousand
	// with a question.
	mostScanned = 100_000
	// askedPortals is how many portals, those with most rows, the gate is asked
	// about: each costs some five commands.
	askedPortals = 50
)

// detail is how a run gets on.
type detail struct {
	info   runs.Info
	rate   float64   // rows a second lately
	oldest time.Time // since when its oldest waiting row waits; zero: not known

	waits   runWaits
	sampled bool // waits are those of the tasks that are due first
	// asOf is when the oldest was asked for of what was kept already, as other parts
	// show it too; zero: nothing was.
	asOf time.Time

	// Of the portals that rows wait for, if they could be looked at:
	foreseen bool
	portals  int
	cut      bool // only mostScanned were counted
	asked    int  // the gate was asked about
	counts   map[ratelimit.Reason]portalCount
	total    outlook.Total // of those that are asked about
	// Rows whose end does not depend on their portal's limits: that wait for a new
	// token, for a worker whose key opens their portal's credentials, or in a paused
	// queue.
	signIn, sealed, paused portalCount
	top                    []portalOutlook
	unknown                portalCount // removed since
	// unlooked are those of the others of which nobody looked whether they stand,
	// where some are known to.
	unlooked portalCount
}

// portalCount is portals and the rows that wait for them.
type portalCount struct{ portals, rows int }

func (c *portalCount) add(rows int) { c.portals, c.rows = c.portals+1, c.rows+rows }

// standing are all portals that nobody knows the end of, beside the closed ones.
func (d *detail) standing() portalCount {
	return portalCount{d.signIn.portals + d.sealed.portals + d.paused.portals, d.signIn.rows + d.sealed.rows + d.paused.rows}
}

// portalOutlook is one portal that rows wait for.
type portalOutlook struct {
	outlook.Portal
	stands standstill // what its rows wait for that is no limit; empty: nothing
	why    string
}

// portalRows is how many rows wait for a portal.
type portalRows struct {
	id   string
	rows int
}

// askRun finds out about a run. It returns [runs.ErrUnknownRun] when there is none.
func (o *Overview) askRun(ctx context.Context, id string) (detail, error) {
	info, err := o.cfg.Runs.Get(ctx, id)
	if err != nil {
		return detail{}, err
	}
	d := detail{info: info, counts: map[ratelimit.Reason]portalCount{}}
	if info.Counts.Waiting == 0 {
		return d, nil
	}
	if d.rate, err = o.cfg.Runs.Rate(ctx, id); err != nil {
		return d, err
	}
	// It keeps notes, which a full Redis does not take. The page is needed then all the same.
	d.oldest, _ = o.cfg.Runs.OldestWaiting(ctx, id)
	put := o.putOff.get(ctx)
	d.uses(put.at)
	d.sampled = put.value.sampled
	if w := put.value.byRun[id]; w != nil {
		d.waits = *w
	}
	return d, errors.Join(put.err, o.foresee(ctx, &d))
}

// uses notes when something was asked for that the detail is made of.
func (d *detail) uses(at time.Time) {
	if d.asOf.IsZero() || at.Before(d.asOf) {
		d.asOf = at
	}
}

// foresee finds out which portals a run's rows wait for, and when they are done.
func (o *Overview) foresee(ctx context.Context, d *detail) error {
	all, err := o.waitingFor(ctx, d)
	if err != nil {
		return err
	}
	// With the holds the portals at hand are put right.
	held, queues := o.held.get(ctx), o.queues.get(ctx)
	d.uses(held.at)
	d.uses(queues.at)
	if held.err != nil {
		return held.err
	}
	top, rest := all[:min(len(all), askedPortals)], all[min(len(all), askedPortals):]
	d.asked = len(top)
	open, err := o.countRest(ctx, d, rest, d.unseen(all))
	if err != nil {
		return err
	}
	// What could not be read of the queues is said where they are shown.
	loads, err := o.loads(ctx, d, top, queues.value.paused())
	if err != nil {
		return err
	}
	server := o.server.get(ctx)
	d.uses(server.at)
	ol := outlook.Outlook{
		Gate: &remembering{Gate: o.cfg.Gate}, Batch: o.cfg.Batch, Parallel: o.cfg.Parallel,
		Now: func() time.Time { return o.cfg.Now().Add(server.value.ahead) },
	}
	if d.total, err = ol.All(ctx, slices.Clone(loads)); err != nil {
		return err
	}
	d.note(ratelimit.Held, d.total.Held)
	d.note(ratelimit.Silent, d.total.Silent)
	d.note(ratelimit.Refused, d.total.Refusing)
	for i := range d.total.Shut {
		c := d.counts[d.total.Shut[i].Shut]
		c.rows += d.total.Shut[i].Rows
		d.counts[d.total.Shut[i].Shut] = c
	}
	d.total.Foreseen += open
	d.total.Lately(d.rate)
	for _, l := range loads {
		p, err := ol.One(ctx, l)
		if err != nil {
			return err
		}
		d.top = append(d.top, portalOutlook{Portal: p})
	}
	d.foreseen = true
	slices.SortStableFunc(d.top, func(a, b portalOutlook) int { return cmp.Compare(b.Rows, a.Rows) })
	return nil
}

// unseen is how many rows wait for portals beyond mostScanned.
func (d *detail) unseen(all []portalRows) int {
	if !d.cut {
		return 0
	}
	rows := d.info.Counts.Waiting
	for _, p := range all {
		rows -= p.rows
	}
	return max(rows, 0)
}

func (d *detail) note(why ratelimit.Reason, portals int) {
	c := d.counts[why]
	c.portals += portals
	d.counts[why] = c
}

// waitingFor returns the portals that rows of a run wait for, those with most
// rows first.
func (o *Overview) waitingFor(ctx context.Context, d *detail) ([]portalRows, error) {
	var all []portalRows
	err := o.cfg.Runs.Waiting(ctx, d.info.ID, func(portal string, rows int) error {
		if len(all) == mostScanned {
			return errEnough
		}
		all = append(all, portalRows{portal, rows})
		return nil
	})
	if d.cut = errors.Is(err, errEnough); err != nil && !d.cut {
		return nil, err
	}
	slices.SortFunc(all, func(a, b portalRows) int { return cmp.Or(cmp.Compare(b.rows, a.rows), cmp.Compare(a.id, b.id)) })
	all = slices.CompactFunc(all, func(a, b portalRows) bool { return a.id == b.id }) // one may be told of twice
	d.portals = len(all)
	return all, nil
}

// loads finds the portals. Those whose rows stand are told of apart, as nobody knows
// for how long; one that was removed has rows that end as soon as a worker takes them.
func (o *Overview) loads(ctx context.Context, d *detail, top []portalRows, paused map[string]bool) ([]outlook.Load, error) {
	ids := make([]string, len(top))
	for i, w := range top {
		ids[i] = w.id
	}
	found, err := outlook.Find(ctx, o.names, ids)
	if err != nil {
		return nil, err
	}
	var loads []outlook.Load
	for i, w := range top {
		p := &found[i]
		if p.ID == "" {
			d.unknown.add(w.rows)
			continue
		}
		load := outlook.Load{Portal: p, Rows: w.rows}
		stands, why := d.stands(p, paused)
		if stands == "" {
			loads = append(loads, load)
			continue
		}
		d.stand(stands, w.rows)
		d.top = append(d.top, portalOutlook{Portal: outlook.Portal{Load: load}, stands: stands, why: why})
	}
	return loads, nil
}

// details are the runs that were looked at lately.
type details struct {
	o *Overview

	mu   sync.Mutex
	runs map[string]*kept[detail]
	last []string // their ids, the one looked at last in the end
}

// mostDetails bounds how many are kept.
const mostDetails = 32

func newDetails(o *Overview) *details { return &details{o: o, runs: map[string]*kept[detail]{}} }

// get returns how a run gets on.
func (d *details) get(ctx context.Context, id string) answer[detail] { return d.of(id).get(ctx) }

func (d *details) of(id string) *kept[detail] {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.runs[id]
	if k == nil {
		k = keep(d.o.looks, "run", func(ctx context.Context) (detail, error) { return d.o.askRun(ctx, id) })
		d.runs[id] = k
	}
	d.last = append(slices.DeleteFunc(d.last, func(s string) bool { return s == id }), id)
	if len(d.last) > mostDetails {
		delete(d.runs, d.last[0])
		d.last = d.last[1:]
	}
	return k
}
