// The store of runs in Redis: its keys, and a run's life from open to end.

package runs

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

const (
	// ChunkRows is how many rows share one hash: few enough that one script
	// call per hash stays short, and the default limit up to which Redis keeps
	// a hash's index compact.
	ChunkRows = 512
	// streamLength is about how many outcomes the live stream keeps. Whoever
	// falls further behind reads the hashes instead.
	streamLength = 4096
	indexKey     = "botfleet:runs"
)

// ErrUnknownRun is returned when a run does not exist, or no longer.
var ErrUnknownRun = errors.New("no such run")

// Store keeps runs in Redis. Its methods may be called from many goroutines.
type Store struct {
	rdb    redis.UniversalClient
	rows   redis.Cmdable // for the row by row traffic of a worker: many callers share round trips
	ttl    time.Duration
	now    func() time.Time
	photos *photoCache
	retry  *string // why dead rows are queued again by who has this store; nil: they are not
}

// Options of a Store.
type Options struct {
	TTL time.Duration    // how long a run is kept after its end; defaults to 168 h
	Now func() time.Time // defaults to time.Now
	// Rows carries what a worker asks row by row. It should let concurrent
	// commands travel together, and may repeat them. Defaults to the client itself.
	Rows redis.Cmdable
}

// New returns a store on a Redis client, which the caller closes.
func New(rdb redis.UniversalClient, o Options) *Store {
	if o.TTL <= 0 {
		o.TTL = 168 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rows == nil {
		o.Rows = rdb
	}
	return &Store{rdb: rdb, rows: o.Rows, ttl: o.TTL, now: o.Now, photos: newPhotoCache()}
}

// NewID returns the id of a new run. Ids sort by the time they were made.
func NewID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make a run id: %w", err)
	}
	return id.String(), nil
}

func key(run, what string) string { return "botfleet:{run:" + run + "}:" + what }

func chunkKey(run string, row int) string {
	return key(run, "rows:"+strconv.Itoa(chunkOf(row)))
}

func chunkOf(row int) int { return (row - 1) / ChunkRows }

// Info is a run at one moment.
type Info struct {
	ID         string
	Label      string // what was submitted, for people: a file name
	OnExisting OnExisting
	Created    time.Time
	Ended      time.Time // zero while it goes on
	// Open is set while the producer is still adding rows.
	Open   bool
	MaxRow int
	Counts Counts
	// DeadBy are the dead rows by class and code, most first. It leaves out those
	// that died under a version that did not count them so.
	DeadBy []CodeCount

	released bool // its photos were given their time to live, after its end
	aged     bool // it is noted since when its rows wait
}

// Counts are a run's rows by state.
type Counts struct {
	Queued, Waiting, Registered, Dead, Refused, Duplicate int
}

// Done is how many rows have an outcome.
func (c Counts) Done() int { return c.Registered + c.Dead + c.Refused + c.Duplicate }

// Finished reports whether nothing of the run is left to happen.
func (i Info) Finished() bool { return !i.Open && i.Counts.Waiting == 0 }

// OnExisting says what a run wants of bots that stand on their portals already.
type OnExisting string

const (
	Keep   OnExisting = "keep"   // they are left as they are: registered, skipped
	Update OnExisting = "update" // those of the same application are brought up to date; others are a conflict
	Fail   OnExisting = "fail"   // they are a conflict
)

// Begin describes a run to open.
type Begin struct {
	Label string
	// OnExisting is decided when a run is first opened; empty means Keep.
	OnExisting OnExisting
	// Lease is how long the run counts as still being added to after each
	// addition, unless it is sealed. 0: not at all.
	Lease time.Duration
}

// Open creates a run, or takes up an existing one.
func (s *Store) Open(ctx context.Context, id string, b Begin) error {
	if err := CheckID(id); err != nil {
		return err
	}
	now := s.now()
	meta := key(id, "meta")
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSetNX(ctx, meta, "created", now.UnixMilli())
		p.HSetNX(ctx, meta, "label", b.Label)
		if b.OnExisting != "" {
			p.HSetNX(ctx, meta, "on_existing", string(b.OnExisting))
		}
		if b.Lease > 0 {
			p.HSet(ctx, meta, "open_until", now.Add(b.Lease).UnixMilli(), "lease", b.Lease.Milliseconds())
		}
		return nil
	})
	if err == nil {
		err = s.rdb.ZAddNX(ctx, indexKey, redis.Z{Score: float64(now.UnixMilli()), Member: id}).Err()
	}
	if err == nil {
		err = s.rdb.SAdd(ctx, openKey, id).Err()
	}
	if err != nil {
		return fmt.Errorf("open run %s: %w", id, err)
	}
	return nil
}

// CheckID refuses what cannot be the id of a run, because it cannot be part of a
// key or would read badly in one: it has 1 to 64 of a-z, A-Z, 0-9, '-', '_', '.'.
func CheckID(id string) error {
	if id == "" || len(id) > 64 {
		return fmt.Errorf("run id %q: 1 to 64 characters are needed", id)
	}
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return fmt.Errorf("run id %q: only letters, digits, '-', '_' and '.' are allowed", id)
		}
	}
	return nil
}

// Seal says that no more rows will be added. A run without waiting rows ends.
func (s *Store) Seal(ctx context.Context, id string) error {
	if err := s.rdb.HDel(ctx, key(id, "meta"), "open_until", "lease").Err(); err != nil {
		return fmt.Errorf("seal run %s: %w", id, err)
	}
	return s.finish(ctx, id)
}

//go:embed finish.lua
var finishLua string

var finishScript = redis.NewScript(finishLua)

// finish ends a run that has nothing left to happen, and sets all its keys to
// go together. It does nothing to any other run.
func (s *Store) finish(ctx context.Context, id string) error {
	keys := []string{key(id, "meta"), key(id, "out"), key(id, "photos"), key(id, portalsHash), key(id, agesSet)}
	ended, err := finishScript.Run(ctx, s.rdb, keys, s.now().UnixMilli(), s.ttl.Milliseconds(), key(id, "rows:"), ChunkRows).Int()
	if err != nil {
		return fmt.Errorf("end run %s: %w", id, err)
	}
	if ended != 1 {
		return nil
	}
	if err := s.noteUnfinished(ctx, nil, []string{id}); err != nil {
		return err
	}
	return s.releasePhotos(ctx, id)
}

// Get returns a run's state. It returns [ErrUnknownRun] when there is none.
func (s *Store) Get(ctx context.Context, id string) (Info, error) {
	m, err := s.rdb.HGetAll(ctx, key(id, "meta")).Result()
	if err != nil {
		return Info{}, fmt.Errorf("read run %s: %w", id, err)
	}
	if m["created"] == "" {
		return Info{}, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	return s.info(id, m), nil
}

func (s *Store) info(id string, m map[string]string) Info {
	n := func(f string) int { v, _ := strconv.Atoi(m[f]); return v }
	at := func(f string) time.Time {
		v, _ := strconv.ParseInt(m[f], 10, 64)
		if v == 0 {
			return time.Time{}
		}
		return time.UnixMilli(v)
	}
	return Info{
		ID: id, Label: m["label"], OnExisting: cmp.Or(OnExisting(m["on_existing"]), Keep),
		Created: at("created"), Ended: at("ended"),
		Open:   s.now().Before(at("open_until")),
		MaxRow: n("max_row"), released: m["released"] != "", aged: m["ages"] != "",
		Counts: Counts{
			Queued: n("queued"), Waiting: n("waiting"), Registered: n("registered"),
			Dead: n("dead"), Refused: n("refused"), Duplicate: n("duplicate"),
		},
		DeadBy: deadBy(m),
	}
}

// List returns the newest runs first, at most limit of them.
func (s *Store) List(ctx context.Context, limit int) ([]Info, error) {
	ids, err := s.rdb.ZRevRange(ctx, indexKey, 0, int64(limit)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HGetAll(ctx, key(id, "meta"))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var infos []Info
	for i, id := range ids {
		if m := cmds[i].Val(); m["created"] != "" {
			infos = append(infos, s.info(id, m))
		}
	}
	sort.SliceStable(infos, func(i, j int) bool { return infos[i].Created.After(infos[j].Created) })
	return infos, nil
}

// Sweep ends runs whose last row finished while nobody was there to notice (a
// killed worker, a producer that never sealed), finishes what was broken off in
// ending one, forgets the ids of runs that have expired, and notes which are
// unfinished. It is safe beside other workers.
func (s *Store) Sweep(ctx context.Context) error {
	ids, err := s.rdb.ZRange(ctx, indexKey, 0, -1).Result()
	if err != nil {
		return fmt.Errorf("sweep runs: %w", err)
	}
	var open, ended []string
	for _, id := range ids {
		info, err := s.Get(ctx, id)
		if err == nil && !info.Finished() {
			open = append(open, id)
		} else {
			ended = append(ended, id)
		}
		switch {
		case errors.Is(err, ErrUnknownRun):
			// An id stands in the index a moment before or after its run:
			// only one that is old by its score is forgotten.
			cut := strconv.FormatInt(s.now().Add(-time.Hour).UnixMilli(), 10)
			err = s.forget(ctx, id, cut)
		case err == nil && info.Finished() && info.Ended.IsZero():
			err = s.finish(ctx, id)
		case err == nil && !info.Ended.IsZero() && !info.released:
			err = s.releasePhotos(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return s.noteUnfinished(ctx, open, ended)
}

func (s *Store) forget(ctx context.Context, id, before string) error {
	score, err := s.rdb.ZScore(ctx, indexKey, id).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget run %s: %w", id, err)
	}
	if cut, _ := strconv.ParseFloat(before, 64); score > cut {
		return nil
	}
	if err := s.rdb.ZRem(ctx, indexKey, id).Err(); err != nil {
		return fmt.Errorf("forget run %s: %w", id, err)
	}
	return nil
}
