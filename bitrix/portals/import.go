// Storing portals: ids, queues, renames, new credentials.

package portals

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
)

// Imported counts what became of imported portals.
type Imported struct {
	Added     int
	Updated   int
	Unchanged int
}

// importRounds bounds how often entries are planned anew because another
// import changed their portals meanwhile. Each round at least one of them wins.
const importRounds = 20

// Import stores portals. All are checked first, against each other and against
// the registry: a bare [*FileError] means that nothing was stored. A portal already
// known by host or member_id keeps its id and queue; new credentials release
// any hold and end Gone; credentials given before do not overwrite what was
// refreshed or replaced, and a host that of a rename, since. Where stored ones do
// not open, nothing is stored: a bare [*ClosedError]. Any other error may leave a
// part stored, and the same import again completes it.
func (r *Registry) Import(ctx context.Context, entries []Entry) (Imported, error) {
	return r.importing(ctx, entries, r.closed)
}

// ImportLostKey is Import for when the key of stored credentials is lost: where
// those do not open, any replace them, and those that had come later may follow.
func (r *Registry) ImportLostKey(ctx context.Context, entries []Entry) (Imported, error) {
	return r.importing(ctx, entries, func(context.Context, []plan) error { return nil })
}

// importing stores portals whose plans are taken by may.
func (r *Registry) importing(ctx context.Context, entries []Entry, may func(context.Context, []plan) error) (Imported, error) {
	var done Imported
	if r.keys.Empty() {
		return done, ErrNoKey
	}
	if err := check(entries); err != nil {
		return done, err
	}
	todo := make([]*Entry, len(entries))
	for i := range entries {
		todo[i] = &entries[i]
	}
	for round := range importRounds {
		plans, err := r.plan(ctx, todo)
		if err == nil {
			err = may(ctx, plans)
		}
		if err != nil && round > 0 {
			return done, fmt.Errorf("store portals, which another import changes at the same time: %w", err)
		}
		if err != nil {
			return done, err
		}
		if todo, err = r.store(ctx, todo, plans, &done); err != nil || len(todo) == 0 {
			return done, err
		}
	}
	return done, errors.New("store portals: other imports keep changing them; try again when those have ended")
}

// check finds what is wrong with entries by themselves.
func check(entries []Entry) error {
	var problems []Problem
	for i := range entries {
		e := &entries[i]
		for _, p := range e.problems() {
			if e.File == "" && e.Line == 0 {
				p.field = fmt.Sprintf("portal number %d: %s", i+1, p.field)
			}
			problems = append(problems, Problem{e.File, e.Line, p.field, p.text})
		}
	}
	problems = append(problems, repeats(entries)...)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, byLine)
		return &FileError{problems}
	}
	return nil
}

// plan compares entries with the registry.
func (r *Registry) plan(ctx context.Context, entries []*Entry) ([]plan, error) {
	hosts, members := make([]string, len(entries)), make([]string, len(entries))
	for i, e := range entries {
		hosts[i], members[i] = e.Access.Host(), normalName(e.MemberID)
	}
	byHost, byMember, err := r.holders(ctx, hosts, members)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	plans := make([]plan, 0, len(entries))
	claimed := make(map[string]*Entry)
	for i, e := range entries {
		p, problem := e.match(byHost[i], byMember[i])
		if other := claimed[p.id]; problem == "" && other != nil {
			problem = "and host lead to the stored portal that " + other.Access.Host() + " leads to as well"
		}
		if problem != "" {
			problems = append(problems, Problem{e.File, e.Line, "member_id", problem})
			continue
		}
		if p.id != "" {
			claimed[p.id] = e
		}
		if err := p.bring(r, e); err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, byLine)
		return nil, &FileError{problems}
	}
	return plans, nil
}

// match decides which stored portal an entry is, given those that its host and
// its member_id lead to.
func (e *Entry) match(byHost, byMember holder) (p plan, problem string) {
	member := normalName(e.MemberID)
	lapsed := byHost.formerly(e.Access.Host())
	switch {
	case byHost.id == "" || byHost.id == byMember.id:
		return planFor(byMember), ""
	case byMember.id != "" && lapsed:
		return planFor(byMember).over(byHost), ""
	case byMember.id != "":
		return p, "belongs to another stored portal, and the host to a third party's; remove one of the two first"
	case member == "" || byHost.rec.MemberID == "":
		return planFor(byHost), ""
	case lapsed:
		return planFor(holder{}).over(byHost), ""
	}
	return p, "is not the one that " + byHost.rec.Name + " is known with: another company's portal may have taken over the address; remove the old portal first"
}

// bring works out the new record of an entry.
func (p *plan) bring(r *Registry, e *Entry) error {
	was := &p.was
	p.begin(r)
	p.is = newRecord(e, p.is.Queue)
	if p.is.MemberID == "" {
		p.is.MemberID = was.MemberID
	}
	p.is.Generation, p.is.AppHash, p.is.Installs, p.is.Gone = was.Generation, was.AppHash, was.Installs, was.Gone
	p.is.Source, p.is.InstallSource, p.is.Earlier, p.is.Later = was.Source, was.InstallSource, was.Earlier, was.Later
	src := source(e.Access, e.RefreshToken)
	known := p.wasRaw != "" && was.brought(src)
	if known && was.opens(r.keys, p.id) {
		// The file brings what it brought last time: what the portal has
		// become since, by refreshed tokens or a rename, is newer.
		p.is.Name, p.is.Origin, p.is.Kind = was.Name, was.Origin, was.Kind
		p.is.Credential, p.is.Account, p.is.Sealed = was.Credential, was.Account, was.Sealed
		p.lapsed = stored{}
		return p.encode()
	}
	p.is.Generation = p.next()
	if known {
		p.is.restored(was, src)
	} else {
		p.is.replaced(was, src)
		p.is.Source, p.ends = src, endAny
		p.is.come()
	}
	if known && was.Credential != e.Access.Fingerprint() {
		p.ends = endOwn // the hold is of those that do not open
	}
	if e.Access.Webhook() {
		p.is.AppHash = "" // of an application that is not in use here any more
	}
	if err := p.is.seal(r.keys, p.id, e.Access, e.RefreshToken); err != nil {
		return err
	}
	return p.encode()
}

// come ends Gone. The application_token went with it: the next install may
// bring any.
func (rec *record) come() {
	if rec.Gone != nil {
		rec.Gone, rec.AppHash = nil, ""
	}
}

// opens says whether the stored credentials open.
func (rec *record) opens(keys Keyring, id string) bool {
	_, _, err := rec.open(keys, id)
	return err == nil
}

// store writes plans, and returns the entries whose portals were changed by
// somebody else since they were planned.
func (r *Registry) store(ctx context.Context, todo []*Entry, plans []plan, done *Imported) (again []*Entry, err error) {
	for i := range plans {
		plans[i].entry = todo[i]
	}
	changes := slices.DeleteFunc(slices.Clone(plans), func(p plan) bool { return p.wasRaw == p.isRaw })
	done.Unchanged += len(plans) - len(changes)
	for part := range slices.Chunk(changes, writeChunk) {
		stored, err := r.write(ctx, part)
		if err != nil {
			return nil, err
		}
		for i, p := range part {
			switch {
			case !stored[i]:
				again = append(again, p.entry)
			case p.wasRaw == "":
				done.Added++
			default:
				done.Updated++
			}
		}
	}
	return again, nil
}

// newID is a portal's permanent id: 16 hexadecimal digits, random.
func newID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// queueOf is the queue of a portal that is first seen.
func queueOf(id string, shards int) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return QueueName(int(h.Sum32() % uint32(shards))) //nolint:gosec // shards is small and positive
}

// QueueName is the name of the queue with a number from 0 to Shards-1.
func QueueName(n int) string { return "portals-" + strconv.Itoa(n) }

// randomVersion is where a registry's versions begin.
func randomVersion() int64 {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	return 1 + int64(raw[0])<<24 + int64(raw[1])<<16 + int64(raw[2])<<8 + int64(raw[3])
}
