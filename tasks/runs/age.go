// How long the rows of a run have been waiting.

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
// row that is not quite the oldest, or that has just ended. It keeps notes: where
// Redis, being full, does not take these, there may be a time beside the error,
// of a row that waits, but need not be the oldest.
func (s *Store) OldestWaiting(ctx context.Context, run string) (time.Time, error) {
	at, err := s.oldestWaiting(ctx, run)
	if err != nil {
		return at, fmt.Errorf("find the oldest waiting row of run %s: %w", run, err)
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
			return seen, err
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
