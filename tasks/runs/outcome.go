// What became of a row, and how it is recorded.

package runs

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Status is how a row ended.
type Status string

const (
	StatusRegistered Status = "registered"
	StatusDead       Status = "dead"
	StatusRefused    Status = "refused"
	StatusDuplicate  Status = "duplicate"
)

func (s Status) letter() byte {
	switch s {
	case StatusRegistered:
		return 'r'
	case StatusDead:
		return 'd'
	case StatusRefused:
		return 'f'
	default:
		return 'u'
	}
}

// How a row came to be registered.
const (
	HowCreated   = "created"   // by its own call
	HowRecovered = "recovered" // its call's answer was lost; the bot was found afterwards
	HowUpdated   = "updated"   // it existed and was brought up to date
	HowSkipped   = "skipped"   // it was there before, by an earlier submission or otherwise
)

// Outcome is the one end of a row.
type Outcome struct {
	// Retried is set when the row was dead before and was queued again. The
	// scripts carry it along, and expect it in the first place.
	Retried  *Retried  `json:"retried,omitempty"`
	Row      int       `json:"row"`
	ID       string    `json:"id,omitempty"`
	Portal   string    `json:"portal"`
	Code     string    `json:"code"`
	Status   Status    `json:"status"`
	BotID    int64     `json:"bot_id,omitempty"`
	Existed  bool      `json:"existed,omitempty"`
	How      string    `json:"how,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	QueuedAt time.Time `json:"queued_at,omitzero"`
	DoneAt   time.Time `json:"done_at,omitzero"`
	// Class and Error say why a row is dead.
	Class string   `json:"class,omitempty"`
	Error *Failure `json:"error,omitempty"`
	// Errors say why a row was refused.
	Errors []Problem `json:"errors,omitempty"`
	// Of is the row that a duplicate repeats.
	Of *Ref `json:"of,omitempty"`
	// PortalID, Bot and Photo keep what was asked for, so that a row without
	// a bot can be mended and queued again.
	PortalID string          `json:"pid,omitempty"`
	Bot      json.RawMessage `json:"bot,omitempty"`
	Photo    string          `json:"photo,omitempty"`

	Ident string `json:"-"`
	Gen   int    `json:"-"`
}

// Failure is the error a row died of: the portal's code and text.
type Failure struct {
	Code        string `json:"code"`
	Description string `json:"description"`
}

// Problem is one reason for which a row was refused.
type Problem struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Problem string `json:"problem"`
}

// Ref names a row of a run.
type Ref struct {
	Run string `json:"run"`
	Row int    `json:"row"`
}

//go:embed record.lua
var recordOnly string

// recordLua is whole by itself, so that a condition may stand before it.
var recordLua = carryLua + recordOnly

var recordScript = redis.NewScript(recordLua)

// Record gives a row of generation gen its outcome. It may be repeated. A
// registered row stays registered, and a later generation's state stands. It
// returns [ErrUnknownRun] when there is no such row any more, and [ErrBroken] when
// what stands in its place is no row.
func (s *Store) Record(ctx context.Context, run string, gen int, o Outcome) error {
	_, err := s.record(ctx, recordScript, run, gen, o)
	return err
}

// record runs a script that ends as record.lua does, and sees to the run's end.
// It returns the script's answer: "ok" when the row has its outcome from this call.
func (s *Store) record(ctx context.Context, script *redis.Script, run string, gen int, o Outcome) (string, error) {
	if o.Status == StatusRegistered || o.Status == StatusDuplicate {
		o.Bot, o.Photo = nil, ""
	}
	body, err := json.Marshal(&o)
	if err != nil {
		return "", fmt.Errorf("encode row %d: %w", o.Row, err)
	}
	keys := []string{key(run, "meta"), chunkKey(run, o.Row), key(run, "out"), key(run, portalsHash)}
	answer, err := script.Run(ctx, s.rows, keys, o.Row, gen, string(o.Status.letter()), body, streamLength).Text()
	if err != nil {
		return "", fmt.Errorf("record row %d of run %s: %w", o.Row, run, err)
	}
	switch answer {
	case "gone":
		return answer, fmt.Errorf("record row %d: %w: %s", o.Row, ErrUnknownRun, run)
	case "broken":
		return answer, fmt.Errorf("record row %d of run %s: %w", o.Row, run, ErrBroken)
	}
	answer, last := strings.CutSuffix(answer, "!")
	if last {
		return answer, s.finish(ctx, run)
	}
	return answer, nil
}
