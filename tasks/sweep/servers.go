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

const (
	// serversKey holds which servers kept the data when all rows were looked at after
	// the last change of servers.
	serversKey = "botfleet:{sweep}:servers"
	// unseen stands before servers on which that is still to be done, whichever worker
	// does it.
	unseen = "unseen: "
)

// replaced reports whether the data lies with another server, or another start of
// it, than when all rows were looked at for that; now names those where it lies. A
// replica that has become the master lacks what it had not been told, a server that
// crashed lacks what was not on disk, and what workers wrote next is there: of a row
// that ended in that moment the outcome may be lost and the end of its task known.
// Nobody works on it then, and nothing but a full pass finds it.
func (s *Sweeper) replaced(ctx context.Context) (changed bool, now string, err error) {
	now, err = s.servers(ctx)
	if err != nil || now == "" {
		return false, "", err
	}
	before, err := s.redis.Get(ctx, serversKey).Result()
	if errors.Is(err, redis.Nil) {
		return false, now, s.noteServers(ctx, now)
	}
	if err != nil {
		return false, "", fmt.Errorf("read which servers there were: %w", err)
	}
	return before != now, now, nil
}

func (s *Sweeper) noteServers(ctx context.Context, text string) error {
	if err := s.redis.Set(ctx, serversKey, text, 0).Err(); err != nil {
		return fmt.Errorf("note which servers there are: %w", err)
	}
	return nil
}

// newcomers are servers on which all rows are still to be looked at, twice: writes
// that were meant for those before them are repeated for half a minute.
type newcomers struct {
	servers string // "": there are none
	once    bool   // all rows have been looked at once
}

// meet reports whether there are newcomers that were not there when it was last
// called. A worker that takes over meets those with which another was not done.
func (n *newcomers) meet(ctx context.Context, s *Sweeper) (bool, error) {
	changed, now, err := s.replaced(ctx)
	if err != nil || changed && n.servers == now {
		return false, err
	}
	if !changed {
		*n = newcomers{}
		return false, nil
	}
	if err := s.noteServers(ctx, unseen+now); err != nil {
		return false, err
	}
	*n = newcomers{servers: now}
	return true, nil
}

// looked is called when all rows have been looked at. It reports whether they are to
// be looked at once more.
func (n *newcomers) looked(ctx context.Context, s *Sweeper) (again bool, err error) {
	if n.servers == "" {
		return false, nil
	}
	if !n.once {
		n.once = true
		return true, nil
	}
	return false, s.noteServers(ctx, n.servers)
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
