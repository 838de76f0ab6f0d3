// What is left to happen in all runs together.

package runs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Backlog is what is left to happen in all runs together.
type Backlog struct {
	Runs    int       // unfinished ones
	Waiting int       // rows of theirs without an outcome
	Begun   time.Time // when the oldest of the runs was opened; zero: there is none
	Queued  time.Time // when about the oldest waiting row was queued; zero: none waits
}

// Backlog looks at the unfinished runs, at most limit of them. Once these are
// counted the counts stand, whatever error there is: only Queued may be missing
// then, or be that of a row that is not the oldest.
func (s *Store) Backlog(ctx context.Context, limit int) (Backlog, error) {
	all, err := s.UnfinishedRuns(ctx, limit)
	if err != nil {
		return Backlog{}, err
	}
	b := Backlog{Runs: len(all)}
	for i := range all {
		b.Waiting += all[i].Counts.Waiting
		b.Begun = earlier(b.Begun, all[i].Created)
	}
	b.Queued, err = s.OldestAmong(ctx, all)
	return b, err
}

// UnfinishedRuns returns the runs that are not finished, at most limit of them, in
// no order. It only reads.
func (s *Store) UnfinishedRuns(ctx context.Context, limit int) ([]Info, error) {
	ids, err := s.unfinished(ctx, limit)
	if err != nil {
		return nil, err
	}
	metas := make([]*redis.MapStringStringCmd, len(ids))
	_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			metas[i] = p.HGetAll(ctx, key(id, "meta"))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read unfinished runs: %w", err)
	}
	var all []Info
	for i, id := range ids {
		m := metas[i].Val()
		if run := s.info(id, m); m["created"] != "" && !run.Finished() {
			all = append(all, run)
		}
	}
	return all, nil
}

// noted is a run and when its oldest waiting row was queued, or before.
type noted struct {
	run string
	at  time.Time
}

// OldestAmong tells when about the oldest waiting row of some runs was queued; zero
// when none waits. With an error there may be a time as [Store.OldestWaiting] has it.
func (s *Store) OldestAmong(ctx context.Context, of []Info) (oldest time.Time, err error) {
	all, err := s.notes(ctx, of)
	if err != nil {
		return time.Time{}, err
	}
	slices.SortFunc(all, func(a, b noted) int { return a.at.Compare(b.at) })
	for i, n := range all {
		if i == mostLooks || !oldest.IsZero() && !n.at.Before(oldest) {
			break
		}
		at, err := s.OldestWaiting(ctx, n.run)
		oldest = earlier(oldest, at)
		if err != nil {
			return oldest, err
		}
	}
	return oldest, nil
}

// notes reads what is noted of the runs of which rows wait.
func (s *Store) notes(ctx context.Context, of []Info) ([]noted, error) {
	ages := make([]*redis.ZSliceCmd, len(of))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range of {
			if of[i].Counts.Waiting > 0 {
				ages[i] = p.ZRangeWithScores(ctx, key(of[i].ID, agesSet), 0, 0)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read how long rows wait: %w", err)
	}
	var all []noted
	for i := range of {
		if ages[i] == nil {
			continue
		}
		n := noted{run: of[i].ID, at: of[i].Created} // a run whose hashes are not noted yet
		if first := ages[i].Val(); of[i].aged && len(first) > 0 {
			n.at = time.UnixMilli(int64(first[0].Score))
		}
		all = append(all, n)
	}
	return all, nil
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
