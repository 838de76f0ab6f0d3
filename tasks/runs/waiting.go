// How many rows of a run wait for each portal.

package runs

import (
	"context"
	"fmt"
	"strconv"
)

const (
	// portalsHash is the key of a run's waiting rows by portal id. The scripts
	// that count a run's rows keep it; a portal for which none waits is not in it.
	portalsHash = "portals"
	// waitingPage is about how many portals are read with one question.
	waitingPage = 1000
)

// Waiting calls yield with the permanent id of every portal that rows of the
// run wait for, and how many do, in no order, until yield returns an error,
// which it then returns. A portal whose last row ends meanwhile may be missing,
// and one may be told of twice.
func (s *Store) Waiting(ctx context.Context, run string, yield func(portal string, rows int) error) error {
	for cursor := uint64(0); ; {
		page, next, err := s.rdb.HScan(ctx, key(run, portalsHash), cursor, "", waitingPage).Result()
		if err != nil {
			return fmt.Errorf("read what rows of run %s wait for: %w", run, err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			rows, err := strconv.Atoi(page[i+1])
			if err != nil || rows <= 0 {
				continue // not written by the scripts
			}
			if err := yield(page[i], rows); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
