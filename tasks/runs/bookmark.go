// Bookmarks: which run a command is to go on with when it is given again.

package runs

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

func bookmarkKey(name string) string { return "botfleet:bookmark:" + name }

// Bookmark remembers a run under a name for as long as runs are kept.
func (s *Store) Bookmark(ctx context.Context, name, run string) error {
	if err := s.rdb.Set(ctx, bookmarkKey(name), run, s.ttl).Err(); err != nil {
		return fmt.Errorf("bookmark run %s: %w", run, err)
	}
	return nil
}

// Bookmarked returns the run under a name, and "" when there is none.
func (s *Store) Bookmarked(ctx context.Context, name string) (string, error) {
	run, err := s.rdb.Get(ctx, bookmarkKey(name)).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for an interrupted run: %w", err)
	}
	return run, nil
}

// DropBookmark forgets a name.
func (s *Store) DropBookmark(ctx context.Context, name string) error {
	if err := s.rdb.Del(ctx, bookmarkKey(name)).Err(); err != nil {
		return fmt.Errorf("forget a bookmark: %w", err)
	}
	return nil
}
