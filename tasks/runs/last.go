// When rows ended last.

package runs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// deepLook is how many outcomes of a stream are looked through for one that counts.
const deepLook = 100

// LastEnd tells when, by Redis' clock, a row of any of these runs was last
// registered or ended dead, as far as their live streams still tell; zero when
// none of them does. Rows that were refused, or repeat others, were never worked on.
func (s *Store) LastEnd(ctx context.Context, ids []string) (time.Time, error) {
	var last time.Time
	for part := range slices.Chunk(ids, indexPage) {
		newest, err := s.newest(ctx, part, 1)
		if err != nil {
			return last, err
		}
		var deeper []string
		for i, entries := range newest {
			if at := endedIn(entries); at.After(last) {
				last = at
			} else if at.IsZero() && len(entries) > 0 {
				deeper = append(deeper, part[i])
			}
		}
		if newest, err = s.newest(ctx, deeper, deepLook); err != nil {
			return last, err
		}
		for _, entries := range newest {
			if at := endedIn(entries); at.After(last) {
				last = at
			}
		}
	}
	return last, nil
}

// newest reads the newest entries of the runs' streams.
func (s *Store) newest(ctx context.Context, ids []string, count int64) ([][]redis.XMessage, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.XMessageSliceCmd, len(ids))
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.XRevRangeN(ctx, key(id, "out"), "+", "-", count)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for the newest outcomes: %w", err)
	}
	all := make([][]redis.XMessage, len(ids))
	for i, cmd := range cmds {
		all[i] = cmd.Val()
	}
	return all, nil
}

// endedIn is when the first of these entries was made that tells of a row that was
// worked on; zero: none does.
func endedIn(entries []redis.XMessage) time.Time {
	for _, e := range entries {
		for _, v := range e.Values {
			if text, _ := v.(string); text != "" && (text[0] == StatusRegistered.letter() || text[0] == StatusDead.letter()) {
				return streamTime(e.ID)
			}
		}
	}
	return time.Time{}
}
