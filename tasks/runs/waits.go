// Waiting rows as those see them who look after their tasks: which there are,
// and an end for one that still waits.

package runs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// WaitingRow is what of a waiting row leads to its task.
type WaitingRow struct {
	Number   int
	Gen      int
	Ident    string // the task's id
	PortalID string
	QueuedAt time.Time // zero when the row does not say
}

// indexPage is about how many runs are read with one question.
const indexPage = 500

// Unfinished calls yield with every run of which rows wait, in no order, until
// yield returns an error, which it then returns. A run may be told of twice.
func (s *Store) Unfinished(ctx context.Context, yield func(run string) error) error {
	for cursor := uint64(0); ; {
		page, next, err := s.rdb.ZScan(ctx, indexKey, cursor, "", indexPage).Result()
		if err != nil {
			return fmt.Errorf("find unfinished runs: %w", err)
		}
		waiting := make([]*redis.StringCmd, 0, len(page)/2)
		_, err = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := 0; i+1 < len(page); i += 2 {
				waiting = append(waiting, p.HGet(ctx, key(page[i], "meta"), "waiting"))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) { // Nil: a run of which nothing has waited, or that is gone
			return fmt.Errorf("find unfinished runs: %w", err)
		}
		for i, cmd := range waiting {
			if n, err := cmd.Int(); err != nil || n <= 0 {
				continue
			}
			if err := yield(page[2*i]); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

//go:embed waits.lua
var waitsLua string

var waitsScript = redis.NewScript(waitsLua)

// WaitingRows calls yield with the waiting rows of a run, those of [ChunkRows]
// rows at a time, in no order among themselves; with none where none of these
// waits. It ends with yield's first error, which it returns. It returns
// [ErrUnknownRun] when there is no such run.
func (s *Store) WaitingRows(ctx context.Context, run string, yield func([]WaitingRow) error) error {
	info, err := s.Get(ctx, run)
	if err != nil {
		return err
	}
	for first := 1; first <= info.MaxRow; first += ChunkRows {
		page, err := s.WaitingIn(ctx, run, first)
		if err != nil {
			return err
		}
		if err := yield(page); err != nil {
			return err
		}
	}
	return nil
}

// WaitingIn returns the rows that wait among those that share a row's hash, those
// of [ChunkRows] numbers, in no order.
func (s *Store) WaitingIn(ctx context.Context, run string, row int) ([]WaitingRow, error) {
	words, err := waitsScript.Run(ctx, s.rdb, []string{chunkKey(run, row)}).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("read waiting rows of run %s: %w", run, err)
	}
	page := make([]WaitingRow, 0, len(words)/5)
	for ; len(words) >= 5; words = words[5:] {
		number, err := strconv.Atoi(words[0])
		gen, genErr := strconv.Atoi(words[1])
		if err != nil || genErr != nil {
			continue // not written by the scripts
		}
		at, _ := time.Parse(time.RFC3339Nano, words[4])
		page = append(page, WaitingRow{Number: number, Gen: gen, Ident: words[2], PortalID: words[3], QueuedAt: at})
	}
	return page, nil
}

// recordWaitingScript is recordScript for a row that still waits.
var recordWaitingScript = redis.NewScript(`
local waits = 'w' .. ARGV[2] .. '|'
if string.sub(redis.call('HGET', KEYS[2], ARGV[1]) or '', 1, #waits) ~= waits then return 'past' end
` + carryLua + recordLua)

// RecordWaiting gives a row its outcome if it still waits in generation gen,
// and reports whether it did. Where [Store.Record] is for those who have worked
// on the row, this is for those who have only looked at it.
func (s *Store) RecordWaiting(ctx context.Context, run string, gen int, o Outcome) (bool, error) {
	if o.Status == StatusRegistered || o.Status == StatusDuplicate {
		o.Bot, o.Photo = nil, ""
	}
	body, err := json.Marshal(&o)
	if err != nil {
		return false, fmt.Errorf("encode row %d: %w", o.Row, err)
	}
	keys := []string{key(run, "meta"), chunkKey(run, o.Row), key(run, "out"), key(run, portalsHash)}
	answer, err := recordWaitingScript.Run(ctx, s.rdb, keys, o.Row, gen, string(o.Status.letter()), body, streamLength).Text()
	if err != nil {
		return false, fmt.Errorf("record row %d of run %s: %w", o.Row, run, err)
	}
	if answer == "ok!" {
		return true, s.finish(ctx, run)
	}
	return answer == "ok", nil
}
