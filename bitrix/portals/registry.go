// The registry: finding portals in Redis.

package portals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// DefaultShards is over how many queues portals are spread.
const DefaultShards = 4

// Keys. One hash tag keeps them in one slot of a Cluster, as scripts need.
const (
	keyRecords = "botfleet:{portals}:records" // hash: id → record
	keyNames   = "botfleet:{portals}:names"   // hash: host → id
	keyMembers = "botfleet:{portals}:members" // hash: member_id → id
	keyHolds   = "botfleet:{portals}:holds"   // hash: id → unix milliseconds, "!" for a person's, space, reason
	keyQueues  = "botfleet:{portals}:queues"  // set of queue names
	keyHandler = "botfleet:{portals}:handlers:"
	// hash: id → generation, space, how many trades of its tokens ended unknown.
	// Beside the records, so that a note does not disturb who compares those.
	keyRenewals = "botfleet:{portals}:renewals"
	keyVersion  = "botfleet:{portals}:version" // grows with every change
	keyChanges  = "botfleet:{portals}:changes" // sorted set: id → version of its last change
	keyMarks    = "botfleet:{portals}:marks"   // hash: whole, loud; see announce.lua
)

// Sizes of requests to Redis: enough to make the way there not matter, few
// enough not to keep others waiting.
const (
	readChunk  = 500
	writeChunk = 100
)

// Options of a registry.
type Options struct {
	// Shards is over how many queues (portals-0, portals-1, …) portals are
	// spread when they are first seen. Defaults to DefaultShards.
	Shards int
	// WithoutSecrets leaves Portal.Access empty: for status and lists, which
	// need no key.
	WithoutSecrets bool
}

// Registry keeps portals in Redis. Its methods may be called from many
// goroutines and processes.
type Registry struct {
	redis  redis.UniversalClient
	keys   Keyring
	shards int
	open   bool
	listed int // of how many portals changes are listed
}

// New makes a registry. An empty keyring can read only WithoutSecrets.
func New(client redis.UniversalClient, keys Keyring, o Options) *Registry {
	if o.Shards < 1 {
		o.Shards = DefaultShards
	}
	return &Registry{redis: client, keys: keys, shards: o.Shards, open: !o.WithoutSecrets, listed: listedChanges}
}

// ErrUnknown is what an [UnknownError] is.
var ErrUnknown = errors.New("portal is not known")

// UnknownError is returned for a portal that is not in the registry.
type UnknownError struct {
	Name    string // host, member_id or id, as asked for
	Nearest string // a known host that may be meant; may be empty
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("portal %q is not known", e.Name)
	if e.Nearest != "" {
		return s + "; did you mean " + e.Nearest + "?"
	}
	return s
}

// Is makes errors.Is(err, ErrUnknown) true.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Find returns a portal by its host, its member_id or its [Portal.Origin], in any case. An unknown one
// is an [*UnknownError]; one that does not open, a [*SealedError].
func (r *Registry) Find(ctx context.Context, name string) (Portal, error) {
	found, err := r.FindMany(ctx, []string{name})
	if err != nil {
		return Portal{}, err
	}
	p, ok := found[name]
	if !ok {
		return Portal{}, r.unknown(ctx, name)
	}
	return p, nil
}

// FindMany returns the known ones of many portals, under the names asked for;
// unknown ones are missing from the map.
func (r *Registry) FindMany(ctx context.Context, names []string) (map[string]Portal, error) {
	ids, err := r.ids(ctx, names)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]Portal, len(ids))
	if err := r.load(ctx, slices.Compact(sorted(ids)), func(p Portal) error { byID[p.ID] = p; return nil }); err != nil {
		return nil, err
	}
	found := make(map[string]Portal, len(byID))
	for i, name := range names {
		p, ok := byID[ids[i]]
		// An index entry that leads to another portal is not believed.
		if n := hostName(name); ok && n != "" && (p.Name == n || p.MemberID == n || p.Origin == n) {
			found[name] = p
		}
	}
	return found, nil
}

// Get returns a portal by its permanent id.
func (r *Registry) Get(ctx context.Context, id string) (Portal, error) {
	var found *Portal
	err := r.load(ctx, []string{id}, func(p Portal) error { found = &p; return nil })
	if err != nil {
		return Portal{}, err
	}
	if found == nil {
		return Portal{}, &UnknownError{Name: id}
	}
	return *found, nil
}

// Each calls f for every portal, in no order, reading page by page. A portal
// that is stored meanwhile may be missed. An error of f ends it and is returned.
func (r *Registry) Each(ctx context.Context, f func(Portal) error) error {
	return r.pages(ctx, func(ids []string) error { return r.load(ctx, ids, f) })
}

// pages gives every portal's id to f, once, some hundreds at a time.
func (r *Registry) pages(ctx context.Context, f func(ids []string) error) error {
	seen := make(map[string]bool) // a scan may come by twice
	for cursor := uint64(0); ; {
		page, next, err := r.redis.HScan(ctx, keyRecords, cursor, "", readChunk).Result()
		if err != nil {
			return fmt.Errorf("read portals: %w", err)
		}
		var ids []string
		for i := 0; i < len(page); i += 2 {
			if !seen[page[i]] {
				seen[page[i]] = true
				ids = append(ids, page[i])
			}
		}
		for part := range slices.Chunk(ids, readChunk) {
			if err := f(part); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Count is how many portals there are.
func (r *Registry) Count(ctx context.Context) (int, error) {
	n, err := r.redis.HLen(ctx, keyRecords).Result()
	if err != nil {
		return 0, fmt.Errorf("count portals: %w", err)
	}
	return int(n), nil
}

// Queues names every queue that portals were given, sorted. A worker serves
// these beside its own shards, or changing SHARDS would strand their tasks.
func (r *Registry) Queues(ctx context.Context) ([]string, error) {
	queues, err := r.redis.SMembers(ctx, keyQueues).Result()
	if err != nil {
		return nil, fmt.Errorf("read the portals' queues: %w", err)
	}
	slices.Sort(queues)
	return queues, nil
}

// ids looks up permanent ids by host or member_id; "" for an unknown name.
func (r *Registry) ids(ctx context.Context, names []string) ([]string, error) {
	keys := make([]string, len(names))
	for i, n := range names {
		keys[i] = hostName(n)
	}
	hosts, err := r.hmget(ctx, keyNames, keys)
	if err != nil {
		return nil, err
	}
	members, err := r.hmget(ctx, keyMembers, keys)
	if err != nil {
		return nil, err
	}
	for i := range hosts {
		if hosts[i] == "" {
			hosts[i] = members[i]
		}
	}
	return hosts, nil
}

// stored is a portal as it lies in Redis; raw is empty when there is none.
type stored struct{ id, raw, hold, noted string }

// read reads portals, their holds and notes of renewals, as they are at one
// moment for each readChunk of them.
func (r *Registry) read(ctx context.Context, ids []string) ([]stored, error) {
	all := make([]stored, 0, len(ids))
	for part := range slices.Chunk(ids, readChunk) {
		var records, holds, noted *redis.SliceCmd
		ask := func(p redis.Pipeliner) error {
			records = p.HMGet(ctx, keyRecords, part...)
			holds = p.HMGet(ctx, keyHolds, part...)
			noted = p.HMGet(ctx, keyRenewals, part...)
			return nil
		}
		_, err := r.redis.TxPipelined(ctx, ask)
		if err != nil && strings.HasPrefix(err.Error(), "EXECABORT") {
			// A full Redis takes no transaction, not even to read. Nothing changes
			// in it either, so that one is not needed.
			_, err = r.redis.Pipelined(ctx, ask)
		}
		if err != nil {
			return nil, fmt.Errorf("read portals: %w", err)
		}
		for i, id := range part {
			all = append(all, stored{id, text(records.Val()[i]), text(holds.Val()[i]), text(noted.Val()[i])})
		}
	}
	return all, nil
}

// text is a value that HMGET answered; nil when the field is missing.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// load gives portals to f, skipping ids without one.
func (r *Registry) load(ctx context.Context, ids []string, f func(Portal) error) error {
	for part := range slices.Chunk(ids, readChunk) {
		all, err := r.read(ctx, part)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.raw == "" {
				continue
			}
			p, err := r.portal(s)
			if err != nil {
				return err
			}
			if err := f(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// portal makes a Portal of what is stored.
func (r *Registry) portal(s stored) (Portal, error) {
	rec, err := decodeRecord(s.id, s.raw)
	if err != nil {
		return Portal{}, err
	}
	p := rec.portal(s.id)
	if s.hold != "" {
		h := decodeHold(s.hold)
		p.Held = &h
	}
	p.Renewals = decodeNote(s.noted, rec.generation())
	if r.open {
		if p.Access, p.Refresh, err = rec.open(r.keys, s.id); err != nil {
			return Portal{}, err
		}
		p.Account = p.Access.Account()
	}
	return p, nil
}

// hmget reads fields of a hash, in chunks; "" for a missing one.
func (r *Registry) hmget(ctx context.Context, key string, fields []string) ([]string, error) {
	all := make([]string, 0, len(fields))
	for part := range slices.Chunk(fields, readChunk) {
		values, err := r.redis.HMGet(ctx, key, part...).Result()
		if err != nil {
			return nil, fmt.Errorf("read portals: %w", err)
		}
		for _, v := range values {
			all = append(all, text(v))
		}
	}
	return all, nil
}

// maxNearest is up to how many portals a mistyped name is compared with.
const maxNearest = 5000

// unknown makes the error for a name that was not found.
func (r *Registry) unknown(ctx context.Context, name string) error {
	e := &UnknownError{Name: name}
	if n, err := r.Count(ctx); err == nil && n <= maxNearest {
		if known, err := r.redis.HKeys(ctx, keyNames).Result(); err == nil {
			e.Nearest = nearest(hostName(name), sorted(known))
		}
	}
	return e // the hint is a courtesy; that it could not be had is no news
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
