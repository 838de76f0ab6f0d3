// Portals whose rows stand, and those that nobody asks about.

package overview

import (
	"context"
	"errors"
	"strings"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/ratelimit"
)

// standstill is what keeps rows whatever the limits of their portal, in words.
type standstill string

const (
	waitsForToken standstill = "waits for a new token" //nolint:gosec // no credential, but words
	waitsForKey   standstill = "credentials do not open"
	queuePaused   standstill = "queue paused"
)

// countRest counts the portals that the gate is not asked about, by what is known of
// them anyway, and rows of portals that were not even counted (unseen). It returns
// how many of these rows nothing is known to keep.
func (o *Overview) countRest(ctx context.Context, d *detail, rest []portalRows, unseen int) (open int, err error) {
	if len(rest) == 0 {
		return 0, nil
	}
	held, gate, queues := o.held.get(ctx), o.gate.get(ctx), o.queues.get(ctx)
	d.uses(gate.at)
	some, all := queues.value.portalsPaused()
	k := known{paused: all && queues.err == nil, doubt: some || d.sampled && d.anyStands()}
	switch {
	case k.paused:
		d.paused.rows += unseen
	case k.doubt:
		d.unlooked.rows += unseen
	default:
		open = unseen
	}
	for _, p := range rest {
		why := gate.value.closed[p.id].Closed
		if _, ok := held.value.holds[p.id]; ok {
			why = ratelimit.Held
		}
		open += d.countOne(p, why, k)
	}
	return open, errors.Join(held.err, gate.err)
}

// known is what is known of all portals together.
type known struct {
	paused bool // all their queues are
	doubt  bool // rows of some stand, and it was not looked of which
}

// countOne counts a portal that is closed for a reason, if it is, and returns how
// many of its rows nothing is known to keep for long.
func (d *detail) countOne(p portalRows, why ratelimit.Reason, k known) (open int) {
	stands, _ := d.says(p.id)
	switch {
	case k.paused:
		d.stand(queuePaused, p.rows)
	case stands == waitsForKey, stands == waitsForToken && why != ratelimit.Held:
		d.stand(stands, p.rows)
	case why != ratelimit.None:
		c := d.counts[why]
		c.add(p.rows)
		d.counts[why] = c
		if why == ratelimit.Refused && !k.doubt {
			return p.rows
		}
	case k.doubt:
		d.unlooked.add(p.rows)
	default:
		return p.rows
	}
	return 0
}

// stands says what keeps a portal's rows whatever its limits, and why; empty when
// nothing does.
func (d *detail) stands(p *portals.Portal, paused map[string]bool) (what standstill, why string) {
	if paused[p.Queue] {
		return queuePaused, p.Queue
	}
	what, why = d.says(p.ID)
	if what == waitsForToken && (p.Held != nil || p.Gone != nil) {
		return "", ""
	}
	return what, why
}

// says is what a portal's rows said last that they wait for, if that is a key or a
// new token, and why.
func (d *detail) says(portal string) (what standstill, why string) {
	last := d.waits.portals[portal].lastErr
	if why, ok := outlook.WaitsForKey(last); ok {
		return waitsForKey, strings.TrimPrefix(why, outlook.KeyWait)
	}
	if why, ok := outlook.WaitsForToken(last); ok && !outlook.BeingRenewed(why) {
		return waitsForToken, why
	}
	return "", ""
}

// anyStands reports whether rows of any portal said so.
func (d *detail) anyStands() bool {
	for id := range d.waits.portals {
		if what, _ := d.says(id); what != "" {
			return true
		}
	}
	return false
}

// stand counts a portal's rows that something other than its limits keeps.
func (d *detail) stand(what standstill, rows int) {
	switch what {
	case waitsForToken:
		d.signIn.add(rows)
	case waitsForKey:
		d.sealed.add(rows)
	case queuePaused:
		d.paused.add(rows)
	}
}
