// Changing records: one is read, a new one is worked out and stored, unless
// somebody else was faster; then once more.

package portals

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"slices"
	"strings"
)

//go:embed store.lua
var storeSource string

var storeScript = changing(storeSource)

// editRounds bounds how often one portal's change is worked out anew. Each time
// another change of the same portal was stored.
const editRounds = 100

// What a change does to a portal's hold, and whom it must be told to; see store.lua.
const (
	endAny = "all" // end it
	endOwn = "own" // end it unless a person made it

	tellNobody = ""
	tellPair   = "pair" // new tokens
	tellAll    = "all"
)

// plan is what is to become of one portal.
type plan struct {
	entry  *Entry // of an import
	id     string // of a new portal: empty until begin
	was    record // zero for a new portal
	is     record
	wasRaw string
	isRaw  string
	hold   string // as stored
	noted  string // as stored
	ends   string
	tell   string
	lapsed stored // the portal whose claim to the host has lapsed
}

// holder is the stored portal that a host or a member_id leads to, if any.
type holder struct {
	stored
	rec record
}

// holders looks up the portals that hosts and member_ids lead to.
func (r *Registry) holders(ctx context.Context, hosts, members []string) (byHost, byMember []holder, err error) {
	ids, err := r.hmget(ctx, keyNames, hosts)
	if err != nil {
		return nil, nil, err
	}
	memberIDs, err := r.hmget(ctx, keyMembers, members)
	if err != nil {
		return nil, nil, err
	}
	all, err := r.holding(ctx, append(ids, memberIDs...))
	if err != nil {
		return nil, nil, err
	}
	return all[:len(hosts)], all[len(hosts):], nil
}

// holding reads portals by id. For one that is not there it gives an empty
// holder: the id of a removed portal is not used again.
func (r *Registry) holding(ctx context.Context, ids []string) ([]holder, error) {
	wanted := slices.Compact(sorted(ids))
	if len(wanted) > 0 && wanted[0] == "" {
		wanted = wanted[1:]
	}
	found, err := r.read(ctx, wanted)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]holder, len(found))
	for _, s := range found {
		if s.raw == "" {
			continue
		}
		rec, err := decodeRecord(s.id, s.raw)
		if err != nil {
			return nil, err
		}
		byID[s.id] = holder{s, rec}
	}
	all := make([]holder, len(ids))
	for i, id := range ids {
		all[i] = byID[id]
	}
	return all, nil
}

// formerly says whether the host is not the portal's own any more: it was
// renamed, or is gone.
func (h *holder) formerly(host string) bool { return h.id != "" && h.rec.Name != host }

// planFor begins a plan for a stored portal, or with none for a new one.
func planFor(h holder) plan {
	return plan{id: h.id, was: h.rec, is: h.rec, wasRaw: h.raw, hold: h.hold, noted: h.noted, tell: tellAll}
}

// over lets the plan have the host of a portal whose claim has lapsed.
func (p plan) over(h holder) plan {
	p.lapsed = h.stored
	return p
}

// begin gives a new portal its id and queue.
func (p *plan) begin(r *Registry) {
	if p.wasRaw != "" {
		return
	}
	p.id = newID()
	p.is = record{V: recordVersion, Queue: queueOf(p.id, r.shards)}
}

// next is the generation of new credentials.
func (p *plan) next() int64 {
	if p.wasRaw == "" {
		return 1
	}
	return p.was.generation() + 1
}

func (p *plan) encode() (err error) {
	p.isRaw, err = p.is.encode()
	return err
}

// write stores plans, and says which ones: the others' portals were changed
// since they were read. It completes the stored ones with their holds.
func (r *Registry) write(ctx context.Context, plans []plan) ([]bool, error) {
	args := r.announcing()
	for _, p := range plans {
		args = append(args, p.id, p.wasRaw, p.isRaw, p.ends, p.tell, p.lapsed.id, p.lapsed.raw)
	}
	keys := []string{keyRecords, keyNames, keyMembers, keyHolds, keyQueues, keyVersion, keyChanges, keyMarks}
	answers, err := storeScript.Run(ctx, r.redis, keys, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("store portals: %w", err)
	}
	done := make([]bool, len(plans))
	for i := range plans {
		plans[i].hold, done[i] = strings.CutPrefix(answers[i], "1")
	}
	return done, nil
}

// edit stores what f plans for one portal, asking it again whenever somebody
// else was faster, and returns the portal as it is then.
func (r *Registry) edit(ctx context.Context, f func() (plan, error)) (plan, Portal, error) {
	var last plan
	for range editRounds {
		p, err := f()
		switch {
		case last.isRaw != "" && p.wasRaw == last.isRaw:
			// It was stored: the answer was lost, and Redis asked again.
			last.hold = p.hold
			p = last
		case err != nil:
			return p, Portal{}, err
		case p.isRaw != p.wasRaw:
			one := []plan{p}
			done, err := r.write(ctx, one)
			if err != nil {
				return p, Portal{}, err
			}
			if !done[0] {
				last = p
				continue
			}
			p = one[0]
		}
		portal, err := r.portal(stored{p.id, p.isRaw, p.hold, p.noted})
		return p, portal, err
	}
	return last, Portal{}, errors.New("store portal " + last.id + ": others keep changing it; try again when those have ended")
}
