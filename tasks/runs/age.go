// How long the rows of a run have been waiting, and how much waits in all runs.

package runs

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// agesSet holds the numbers of a run's hashes with waiting rows, by when the
	// oldest of these was queued (ms), or before. Add notes hashes; who asks for
	// the oldest row corrects the notes on the way, as an outcome would pay for
	// it with every row.
	agesSet = "ages"
	// openKey is the set of the runs that are not finished, but for a moment. As
	// it cannot change in one script with a run, Sweep puts it right.
	openKey = "botfleet:runs:open"
	// mostLooks bounds the hashes that one question for the oldest row looks at.
	mostLooks = 100
)

//go:embed age.lua
var ageLua string

var ageScript = redis.NewScript(ageLua)

// OldestWaiting tells when the run's oldest waiting row was queued; zero when
// none waits. While thousands of rows end between two questions it may tell of a
// row that is not quite the oldest, or that has just ended.
func (s *Store) OldestWaiting(ctx context.Context, run string) (time.Time, error) {
	at, err := s.oldestWaiting(ctx, run)
	if err != nil {
		return time.Time{}, fmt.Errorf("find the oldest waiting row of run %s: %w", run, err)
	}
	return at, nil
}

func (s *Store) oldestWaiting(ctx context.Context, run string) (time.Time, error) {
	if err := s.noteAges(ctx, run); err != nil {
		return time.Time{}, err
	}
	var seen time.Time
	for look := 0; ; look++ {
		first, err := s.rdb.ZRangeWithScores(ctx, key(run, agesSet), 0, 0).Result()
		if err != nil || len(first) == 0 {
			return time.Time{}, err
		}
		noted := time.UnixMilli(int64(first[0].Score))
		if look == mostLooks {
			return cmp.Or(seen, noted), nil
		}
		chunk, err := strconv.Atoi(fmt.Sprint(first[0].Member))
		if err != nil {
			return time.Time{}, err
		}
		at, waits, err := s.oldestOf(ctx, run, chunk, noted)
		switch {
		case err != nil:
			return time.Time{}, err
		case !waits:
			continue
		case at.UnixMilli() <= noted.UnixMilli():
			return at, nil
		}
		if seen.IsZero() || at.Before(seen) {
			seen = at
		}
		if err := s.rdb.ZAddArgs(ctx, key(run, agesSet), redis.ZAddArgs{
			XX: true, GT: true, Members: []redis.Z{{Score: float64(at.UnixMilli()), Member: chunk}},
		}).Err(); err != nil {
			return time.Time{}, err
		}
	}
}

// oldestOf looks at the rows of one hash: whether any waits, and since when.
// Rows that do not say count as queued when it was noted.
func (s *Store) oldestOf(ctx context.Context, run string, chunk int, noted time.Time) (at time.Time, waits bool, err error) {
	keys := []string{chunkKey(run, chunk*ChunkRows+1), key(run, agesSet)}
	texts, err := ageScript.Run(ctx, s.rdb, keys, chunk).StringSlice()
	if err != nil {
		return time.Time{}, false, err
	}
	for i, text := range texts {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.IsZero() {
			t = noted
		}
		if i == 0 || t.Before(at) {
			at = t
		}
	}
	return at, len(texts) > 0, nil
}

// noteAges notes all hashes of a run that was begun by a version that noted none.
func (s *Store) noteAges(ctx context.Context, run string) error {
	meta, err := s.rdb.HMGet(ctx, key(run, "meta"), "ages", "max_row", "created").Result()
	if err != nil || meta[0] != nil || meta[1] == nil {
		return err
	}
	last, err := strconv.Atoi(fmt.Sprint(meta[1]))
	if err != nil {
		return err
	}
	created, _ := strconv.ParseInt(fmt.Sprint(meta[2]), 10, 64)
	all := make([]redis.Z, 0, 1+last/ChunkRows)
	for row := 1; row <= last; row += ChunkRows {
		all = append(all, redis.Z{Score: float64(created), Member: chunkOf(row)})
	}
	for part := range slices.Chunk(all, 1000) {
		if err := s.rdb.ZAdd(ctx, key(run, agesSet), part...).Err(); err != nil {
			return err
		}
	}
	return s.rdb.HSet(ctx, key(run, "meta"), "ages", 1).Err()
}

// Backlog is what is left to happen in all runs together.
type Backlog struct {
	Runs    int       // unfinished ones
	Waiting int       // rows of theirs without an outcome
	Begun   time.Time // when the oldest of the runs was opened; zero: there is none
	Queued  time.Time // when about the oldest waiting row was queued; zero: none waits
}

// Backlog looks at the unfinished runs, at most limit of them.
func (s *Store) Backlog(ctx context.Context, limit int) (Backlog, error) {
	ids, err := s.unfinished(ctx, limit)
	if err != nil {
		return Backlog{}, err
	}
	metas := make([]*redis.MapStringStringCmd, len(ids))
	ages := make([]*redis.ZSliceCmd, len(ids))
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			metas[i] = p.HGetAll(ctx, key(id, "meta"))
			ages[i] = p.ZRangeWithScores(ctx, key(id, agesSet), 0, 0)
		}
		return nil
	})
	if err != nil {
		return Backlog{}, fmt.Errorf("read unfinished runs: %w", err)
	}
	var b Backlog
	var waiting []noted
	for i, id := range ids {
		m := metas[i].Val()
		run := s.info(id, m)
		if m["created"] == "" || run.Finished() {
			continue
		}
		b.Runs++
		b.Waiting += run.Counts.Waiting
		b.Begun = earlier(b.Begun, run.Created)
		if run.Counts.Waiting == 0 {
			continue
		}
		n := noted{run: id, at: run.Created} // a run whose hashes are not noted yet
		if first := ages[i].Val(); m["ages"] != "" && len(first) > 0 {
			n.at = time.UnixMilli(int64(first[0].Score))
		}
		waiting = append(waiting, n)
	}
	b.Queued, err = s.oldestAmong(ctx, waiting)
	return b, err
}

// noted is a run and when its oldest waiting row was queued, or before.
type noted struct {
	run string
	at  time.Time
}

// oldestAmong looks into runs until no other can have an older row.
func (s *Store) oldestAmong(ctx context.Context, all []noted) (oldest time.Time, err error) {
	slices.SortFunc(all, func(a, b noted) int { return a.at.Compare(b.at) })
	for i, n := range all {
		if i == mostLooks || !oldest.IsZero() && !n.at.Before(oldest) {
			break
		}
		at, err := s.OldestWaiting(ctx, n.run)
		if err != nil {
			return time.Time{}, err
		}
		oldest = earlier(oldest, at)
	}
	return oldest, nil
}

// earlier is the earlier of two times, where zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// unfinished are the ids of runs that may be unfinished, at most limit of them.
func (s *Store) unfinished(ctx context.Context, limit int) ([]string, error) {
	var ids []string
	for cursor := uint64(0); len(ids) < limit; {
		page, next, err := s.rdb.SScan(ctx, openKey, cursor, "", indexPage).Result()
		if err != nil {
			return nil, fmt.Errorf("find unfinished runs: %w", err)
		}
		ids = append(ids, page...)
		if cursor = next; cursor == 0 {
			break
		}
	}
	slices.Sort(ids) // a scan may tell of one twice
	ids = slices.Compact(ids)
	return ids[:min(limit, len(ids))], nil
}

// noteUnfinished puts runs among the unfinished ones, and takes others away.
func (s *Store) noteUnfinished(ctx context.Context, open, ended []string) error {
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for ids := range slices.Chunk(open, indexPage) {
			p.SAdd(ctx, openKey, ids)
		}
		for ids := range slices.Chunk(ended, indexPage) {
			p.SRem(ctx, openKey, ids)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note which runs are unfinished: %w", err)
	}
	return nil
}
