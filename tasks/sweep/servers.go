// A Redis that has taken another one's place, or has started anew.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// serversKey holds which servers kept the data when they were last looked at.
const serversKey = "botfleet:{sweep}:servers"

// replaced reports whether the data lies with another server, or another start of
// it, than at the last look of any worker. A replica that has become the master
// lacks what it had not been told, a server that crashed lacks what was not on disk,
// and what workers wrote next is there: of a row that ended in that moment the
// outcome may be lost and the end of its task known. Nobody works on it then, and
// nothing but a full pass finds it.
func (s *Sweeper) replaced(ctx context.Context) (bool, error) {
	now, err := s.servers(ctx)
	if err != nil || now == "" {
		return false, err
	}
	before, err := s.redis.Get(ctx, serversKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read which servers there were: %w", err)
	}
	if before == now {
		return false, nil
	}
	if err := s.redis.Set(ctx, serversKey, now, 0).Err(); err != nil {
		return false, fmt.Errorf("note which servers there are: %w", err)
	}
	return before != "", nil
}

// servers names the starts of all servers that keep data; "" when one does not
// tell: an embedded one, or one whose user may not ask.
func (s *Sweeper) servers(ctx context.Context) (string, error) {
	nodes, err := (&pass{Sweeper: s}).nodes(ctx)
	if err != nil {
		return "", err
	}
	ids := make([]string, len(nodes))
	for i, node := range nodes {
		// All of it, as an embedded Redis refuses to be asked for a part.
		info, err := node.Info(ctx).Result()
		if err != nil && !strings.HasPrefix(err.Error(), "NOPERM") {
			return "", fmt.Errorf("ask which server it is: %w", err)
		}
		_, rest, ok := strings.Cut(info, "\nrun_id:")
		if !ok {
			return "", nil
		}
		ids[i], _, _ = strings.Cut(rest, "\r")
	}
	slices.Sort(ids)
	return strings.Join(ids, " "), nil
}
