// The end of many waiting rows at once, on which nobody has worked.

package runs

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// End is what becomes of a waiting row that is given up as it is.
type End struct {
	Number   int
	Ident    string // the task's id, as in [WaitingRow]
	Attempts int    // calls that the row has cost
	Class    string
	Error    Failure
}

//go:embed end.lua
var endLua string

var endScript = redis.NewScript(carryLua + endLua)

// endsAtOnce is how many rows one script ends: some 3 ms of a Redis' time.
const endsAtOnce = 128

// EndWaiting ends rows of a run as dead, each if it still waits for the bot of its
// Ident, in whatever generation, and returns how many it ended. See to their tasks
// first: a row that is being worked on gets the end that its handler finds. What
// the rows asked for is kept, so that they can be queued again. On an error some
// may have ended; the same call goes on with the others.
func (s *Store) EndWaiting(ctx context.Context, run string, ends []End) (int, error) {
	byChunk := map[int][]End{}
	for _, e := range ends {
		byChunk[chunkOf(e.Number)] = append(byChunk[chunkOf(e.Number)], e)
	}
	total, last := 0, false
	for _, chunk := range slices.Sorted(maps.Keys(byChunk)) {
		for part := range slices.Chunk(byChunk[chunk], endsAtOnce) {
			n, left, err := s.endPart(ctx, run, part)
			total += n
			if err != nil {
				return total, err
			}
			last = last || n > 0 && left == 0
		}
	}
	if last {
		return total, s.finish(ctx, run)
	}
	return total, nil
}

// endPart ends rows of one hash. left is how many rows of the run wait after it.
func (s *Store) endPart(ctx context.Context, run string, part []End) (n, left int, err error) {
	now := s.now().UTC()
	args := make([]any, 1, 1+3*len(part))
	args[0] = streamLength
	for i := range part {
		members, err := part[i].members(now)
		if err != nil {
			return 0, 0, fmt.Errorf("encode row %d: %w", part[i].Number, err)
		}
		args = append(args, part[i].Number, part[i].Ident, members)
	}
	keys := []string{key(run, "meta"), chunkKey(run, part[0].Number), key(run, "out"), key(run, portalsHash)}
	answer, err := endScript.Run(ctx, s.rdb, keys, args...).Int64Slice()
	if err != nil || len(answer) != 2 {
		return 0, 0, fmt.Errorf("end waiting rows of run %s: %w", run, err)
	}
	return int(answer[0]), int(answer[1]), nil
}

// members are those of an [Outcome] that a waiting row has not, without braces.
func (e *End) members(now time.Time) ([]byte, error) {
	b, err := json.Marshal(struct {
		Row      int       `json:"row"`
		Status   Status    `json:"status"`
		Attempts int       `json:"attempts,omitempty"`
		DoneAt   time.Time `json:"done_at"`
		Class    string    `json:"class"`
		Error    *Failure  `json:"error"`
	}{e.Number, StatusDead, e.Attempts, now, e.Class, &e.Error})
	if err != nil {
		return nil, err
	}
	return b[1 : len(b)-1], nil
}
