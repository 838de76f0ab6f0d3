// Storing portals: ids, queues, renames, new credentials.

package portals

import (
	"context"
	"crypto/rand"
	_ "embed" // the script
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
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

//go:embed store.lua
var storeSource string

// A Script is a source text and its hash; it holds no state.
var storeScript = redis.NewScript(storeSource)

// Import stores portals. All are checked first, against each other and against
// the registry: a bare [*FileError] means that nothing was stored. A portal already
// known by host or member_id keeps its id and queue; new credentials release
// its hold; credentials given before do not overwrite what was refreshed since.
// Any other error may leave a part stored, and the same import again completes it.
func (r *Registry) Import(ctx context.Context, entries []Entry) (Imported, error) {
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
		if err != nil && round > 0 {
			return done, fmt.Errorf("store portals, which another import changes at the same time: %w", err)
		}
		if err != nil {
			return done, err
		}
		if todo, err = r.store(ctx, plans, &done); err != nil || len(todo) == 0 {
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

// plan is what is to be done about one entry.
type plan struct {
	entry   *Entry
	id      string
	was     record // zero for a new portal
	is      record
	wasRaw  string
	isRaw   string
	release bool
}

// plan compares entries with the registry.
func (r *Registry) plan(ctx context.Context, entries []*Entry) ([]plan, error) {
	ids, raws, problems, err := r.match(ctx, entries)
	if err != nil {
		return nil, err
	}
	plans := make([]plan, 0, len(entries))
	for i, e := range entries {
		p := plan{entry: e, id: ids[i], wasRaw: raws[i]}
		if p.wasRaw != "" {
			if p.was, err = decodeRecord(p.id, p.wasRaw); err != nil {
				return nil, err
			}
		}
		if m := normalName(e.MemberID); m != "" && p.was.MemberID != "" && m != p.was.MemberID {
			problems = append(problems, e.problem("member_id",
				"is not the one that "+p.was.Name+" is known with: another company's portal may have taken over the address; remove the old portal first"))
			continue
		}
		if err := p.fill(r); err != nil {
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

// match finds the stored portal of each entry: its id, "" for a new one, and
// its record. An entry that matches two portals, or two entries that match
// one, are problems.
func (r *Registry) match(ctx context.Context, entries []*Entry) (ids, raws []string, problems []Problem, err error) {
	hosts, members := make([]string, len(entries)), make([]string, len(entries))
	for i, e := range entries {
		hosts[i], members[i] = e.Access.Host(), normalName(e.MemberID)
	}
	if ids, err = r.hmget(ctx, keyNames, hosts); err != nil {
		return nil, nil, nil, err
	}
	byMember, err := r.hmget(ctx, keyMembers, members)
	if err != nil {
		return nil, nil, nil, err
	}
	claimed := make(map[string]*Entry)
	for i, e := range entries {
		switch {
		case ids[i] == "":
			ids[i] = byMember[i]
		case byMember[i] != "" && byMember[i] != ids[i]:
			problems = append(problems, e.problem("member_id", "belongs to another stored portal, and the host to a third party's; remove one of the two first"))
		}
		if ids[i] == "" {
			continue
		}
		if other := claimed[ids[i]]; other != nil {
			problems = append(problems, e.problem("member_id", "and host lead to the stored portal that "+other.Access.Host()+" leads to as well"))
		}
		claimed[ids[i]] = e
	}
	raws, err = r.hmget(ctx, keyRecords, ids)
	return ids, raws, problems, err
}

func (e *Entry) problem(field, text string) Problem { return Problem{e.File, e.Line, field, text} }

// fill works out the new record.
func (p *plan) fill(r *Registry) (err error) {
	queue := p.was.Queue
	if p.wasRaw == "" {
		if p.id == "" {
			p.id = newID()
		}
		queue = queueOf(p.id, r.shards)
	}
	p.is = newRecord(p.entry, queue)
	if p.is.MemberID == "" {
		p.is.MemberID = p.was.MemberID
	}
	if p.keepsCredentials(r.keys) {
		p.is.Credential, p.is.Source, p.is.Sealed = p.was.Credential, p.was.Source, p.was.Sealed
	} else {
		p.release = p.was.Source != source(p.entry)
		if err := p.is.seal(r.keys, p.id, p.entry); err != nil {
			return err
		}
	}
	p.isRaw, err = p.is.encode()
	return err
}

// keepsCredentials says whether the entry brings what it brought last time, and
// what is stored since then opens.
func (p *plan) keepsCredentials(keys Keyring) bool {
	if p.wasRaw == "" || p.was.Name != p.is.Name || p.was.Source != source(p.entry) {
		return false
	}
	_, err := p.was.open(keys, p.id)
	return err == nil
}

// store writes plans, and returns the entries whose portals were changed by
// somebody else since they were planned.
func (r *Registry) store(ctx context.Context, plans []plan, done *Imported) (again []*Entry, err error) {
	changes := slices.DeleteFunc(slices.Clone(plans), func(p plan) bool { return p.wasRaw == p.isRaw })
	done.Unchanged += len(plans) - len(changes)
	for part := range slices.Chunk(changes, writeChunk) {
		args := []any{randomVersion()}
		for _, p := range part {
			args = append(args, p.id, p.wasRaw, p.isRaw, p.is.Name, p.was.Name, p.is.MemberID, p.was.MemberID, p.is.Queue, p.release)
		}
		stored, err := storeScript.Run(ctx, r.redis,
			[]string{keyRecords, keyNames, keyMembers, keyHolds, keyQueues, keyVersion}, args...).Int64Slice()
		if err != nil {
			return nil, fmt.Errorf("store portals: %w", err)
		}
		for i, p := range part {
			switch {
			case stored[i] == 0:
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
