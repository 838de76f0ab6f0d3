// Forgetting portals.

package portals

import (
	"context"
	_ "embed" // the script
	"fmt"
)

//go:embed remove.lua
var removeSource string

var removeScript = changing(removeSource)

// Remove forgets a portal: its record and credentials, hold and handlers. Its
// queue stays served: tasks may wait there. An id that is not known is an
// [*UnknownError].
func (r *Registry) Remove(ctx context.Context, id string) error {
	keys := []string{keyRecords, keyNames, keyMembers, keyHolds, keyRenewals, keyHandler + id, keyVersion, keyChanges, keyMarks}
	n, err := removeScript.Run(ctx, r.redis, keys, append(r.announcing(), id)...).Int()
	if err != nil {
		return fmt.Errorf("remove portal %s: %w", id, err)
	}
	if n == 0 {
		return &UnknownError{Name: id}
	}
	return nil
}
