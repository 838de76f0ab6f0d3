// Rows of a run: adding them, and reading one that waits.

package runs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Row is one registration as it waits in a run.
type Row struct {
	// Retried is set when the row was dead before and was queued again. The
	// scripts carry it along, and expect it in the first place.
	Retried *Retried `json:"retried,omitempty"`

	Number int    `json:"-"` // 1-based
	Gen    int    `json:"-"` // 0 at first; grows when the row is queued anew
	Ident  string `json:"-"` // what the row registers: its task's id
	// ID is the user's own key, if any.
	ID       string          `json:"id,omitempty"`
	Portal   string          `json:"portal"`
	PortalID string          `json:"pid"`
	Code     string          `json:"code"`
	QueuedAt time.Time       `json:"queued_at"`
	Bot      json.RawMessage `json:"bot"` // the method's parameters, without the photo
	// Photo is the content hash of PERSONAL_PHOTO, kept by PutPhoto.
	Photo string `json:"photo,omitempty"`
}

// Added says what became of a row given to Add.
type Added struct {
	State AddState
	Gen   int
}

// AddState is what Add found.
type AddState byte

const (
	Queued     AddState = 'n' // the row was added, or queued anew after an earlier outcome
	Waiting    AddState = 'w' // the row waits already
	Registered AddState = 'r' // the row was registered already
	Other      AddState = 'x' // another bot stands under this row number
)

//go:embed add.lua
var addLua string

//go:embed carry.lua
var carryLua string // what the scripts of rows share

var addScript = redis.NewScript(carryLua + addLua)

// entry is one row on its way into a hash, waiting or with its outcome.
type entry struct {
	number int
	state  byte
	ident  string
	json   []byte
	queued time.Time // of a waiting row; zero: unknown
}

// Add puts waiting rows into a run, and says for each what stood there. Rows
// that were added before stay as they are, so that adding again is safe; a row
// with an outcome other than registered becomes waiting anew, one generation on.
// If it was dead or refused it may have become another bot meanwhile.
func (s *Store) Add(ctx context.Context, run string, rows []Row) ([]Added, error) {
	entries := make([]entry, len(rows))
	for i := range rows {
		b, err := json.Marshal(&rows[i])
		if err != nil {
			return nil, fmt.Errorf("encode row %d: %w", rows[i].Number, err)
		}
		entries[i] = entry{number: rows[i].Number, state: 'w', ident: rows[i].Ident, json: b, queued: rows[i].QueuedAt}
	}
	return s.add(ctx, run, entries)
}

// AddDone puts rows into a run that have an outcome from the start: refused
// ones. Ident and outcomes correspond by index.
func (s *Store) AddDone(ctx context.Context, run string, idents []string, outcomes []Outcome) ([]Added, error) {
	entries := make([]entry, len(outcomes))
	for i := range outcomes {
		b, err := json.Marshal(&outcomes[i])
		if err != nil {
			return nil, fmt.Errorf("encode row %d: %w", outcomes[i].Row, err)
		}
		entries[i] = entry{number: outcomes[i].Row, state: outcomes[i].Status.letter(), ident: idents[i], json: b}
	}
	return s.add(ctx, run, entries)
}

// scriptBytes bounds the arguments of one add script, so that Redis is never
// stopped for long by large rows.
const scriptBytes = 1 << 20

func (s *Store) add(ctx context.Context, run string, entries []entry) ([]Added, error) {
	added := make([]Added, len(entries))
	note, err := s.retryNote()
	if err != nil {
		return nil, fmt.Errorf("note a retry: %w", err)
	}
	groups := groupByChunk(entries)
	cmds := make([]*redis.Cmd, len(groups))
	// The first group goes alone: it reopens an ended run, and loads the script.
	for from, to := 0, 1; from < len(groups); from, to = to, len(groups) {
		part := groups[from:to]
		run1 := func(p redis.Scripter, load bool) {
			for i, g := range part {
				keys, args := s.addArgs(run, entries, g, note)
				if load {
					cmds[from+i] = addScript.Run(ctx, p, keys, args...)
				} else {
					cmds[from+i] = addScript.EvalSha(ctx, p, keys, args...)
				}
			}
		}
		if from == 0 {
			run1(s.rdb, true)
		} else if _, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { run1(p, false); return nil }); err != nil {
			return nil, fmt.Errorf("add rows to run %s: %w", run, err)
		}
	}
	for i, g := range groups {
		answers, err := cmds[i].StringSlice()
		if err != nil {
			return nil, fmt.Errorf("add rows to run %s: %w", run, err)
		}
		for j, at := range g {
			gen, err := strconv.Atoi(answers[j][1:])
			if err != nil {
				return nil, fmt.Errorf("add rows to run %s: answer %q: %w", run, answers[j], err)
			}
			added[at] = Added{State: AddState(answers[j][0]), Gen: gen}
		}
	}
	return added, nil
}

func (s *Store) addArgs(run string, entries []entry, group []int, note string) ([]string, []any) {
	now := s.now()
	largest, oldest := 0, now
	args := make([]any, 8, 8+4*len(group))
	for _, at := range group {
		e := entries[at]
		largest = max(largest, e.number)
		if !e.queued.IsZero() && e.queued.Before(oldest) {
			oldest = e.queued
		}
		args = append(args, e.number, string(e.state), e.ident, e.json)
	}
	first := entries[group[0]].number
	copy(args, []any{now.UnixMilli(), largest, key(run, "rows:"), ChunkRows, streamLength, note, chunkOf(first), oldest.UnixMilli()})
	return []string{key(run, "meta"), chunkKey(run, first), key(run, "out"), key(run, "photos"), key(run, portalsHash), key(run, agesSet)}, args
}

// groupByChunk gathers the indexes of entries that share a hash, in groups
// whose arguments stay under scriptBytes.
func groupByChunk(entries []entry) [][]int {
	var groups [][]int
	open := map[int]int{} // chunk → its newest group
	size := map[int]int{}
	for i, e := range entries {
		c := chunkOf(e.number)
		g, ok := open[c]
		if !ok || size[g]+len(e.json) > scriptBytes {
			g = len(groups)
			groups = append(groups, nil)
			open[c] = g
		}
		groups[g] = append(groups[g], i)
		size[g] += len(e.json)
	}
	return groups
}

// State is where a row of a run stands.
type State struct {
	Row     Row      // set while Waiting
	Outcome *Outcome // set otherwise
	Gen     int
}

// Load reads where a row stands. It returns [ErrUnknownRun] when the row or its
// run does not exist, and [ErrBroken] when what is stored is no row; what can be
// told of that one, a waiting row's Ident and Gen perhaps, is returned beside it.
func (s *Store) Load(ctx context.Context, run string, number int) (State, error) {
	v, err := s.rows.HGet(ctx, chunkKey(run, number), strconv.Itoa(number)).Result()
	if errors.Is(err, redis.Nil) {
		return State{}, fmt.Errorf("%w, or no row %d in it: %s", ErrUnknownRun, number, run)
	}
	if err != nil {
		return State{}, fmt.Errorf("read row %d of run %s: %w", number, run, err)
	}
	st, err := parseState(number, v)
	if err != nil {
		return st, fmt.Errorf("read row %d of run %s: %w", number, run, err)
	}
	return st, nil
}

// ErrBroken is returned for a stored value that is not a row: another program,
// or a version that nobody knows, has written it.
var ErrBroken = errors.New("the stored value is not a row")

// CodeUnreadable is the code of a row whose stored value cannot be read.
const CodeUnreadable = "ROW_UNREADABLE"

// unreadable is the outcome that is shown of a row whose value is none.
func unreadable(number int) *Outcome {
	return &Outcome{
		Row: number, Status: StatusDead, Class: "validation",
		Error: &Failure{Code: CodeUnreadable, Description: "what is stored for this row cannot be read: submit it again in a new run"},
	}
}

// sameState reports whether two stored values are of one state and generation.
func sameState(a, b string) bool {
	headA, _, _ := strings.Cut(a, "|")
	headB, _, _ := strings.Cut(b, "|")
	return headA == headB
}

// parseState reads a stored value: state letter, generation, '|', identity, '|',
// JSON. With [ErrBroken] it returns what it could make out: a Row while the row
// certainly waits, else what is shown as its outcome.
func parseState(number int, v string) (State, error) {
	head, rest, _ := strings.Cut(v, "|")
	ident, body, ok := strings.Cut(rest, "|")
	st := State{Outcome: unreadable(number)}
	if !ok || len(head) < 2 || len(head) > 10 || strings.IndexByte("wrdfu", head[0]) < 0 {
		return st, ErrBroken
	}
	gen, err := strconv.ParseUint(head[1:], 10, 31)
	if err != nil {
		return st, ErrBroken
	}
	st.Gen = int(gen)
	st.Outcome.Ident, st.Outcome.Gen = ident, st.Gen
	waiting := Row{Number: number, Gen: st.Gen, Ident: ident}
	if head[0] == 'w' {
		st.Outcome, st.Row = nil, waiting
		err = json.Unmarshal([]byte(body), &waiting)
		if err == nil {
			st.Row = waiting
		}
	} else {
		o := Outcome{Row: number}
		if err = json.Unmarshal([]byte(body), &o); err == nil && o.Status.letter() != head[0] {
			err = fmt.Errorf("its status is %.20q", o.Status)
		}
		if err == nil {
			o.Row, o.Ident, o.Gen = number, ident, st.Gen
			st.Outcome = &o
		}
	}
	if err != nil {
		return st, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return st, nil
}
