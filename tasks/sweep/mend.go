// Waiting rows without their task: the second look, and what follows from it.

package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

const (
	// hands is how many rows are mended side by side.
	hands = 8
	// mendCost is what the mending of a row counts for: the questions it takes.
	mendCost = 4
)

// mendRows looks at the suspects again and mends them.
func (p *pass) mendRows(ctx context.Context) error {
	if len(p.rowsToMend) == 0 {
		return nil
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	all, within := errgroup.WithContext(ctx)
	all.SetLimit(hands)
	for _, x := range p.rowsToMend {
		if err := p.pace(within, mendCost); err != nil {
			_ = all.Wait()
			return err
		}
		all.Go(func() error {
			kind, err := p.mendRow(within, x)
			p.add(kind)
			if err == nil || within.Err() != nil {
				return within.Err()
			}
			p.spare(fmt.Errorf("row %d of run %s: %w", x.row.Number, x.run, err))
			return nil
		})
	}
	p.rowsToMend = nil
	return all.Wait()
}

// suspectRow is all that is known of a row at the second look.
type suspectRow struct {
	rowRef

	portal portals.Portal
	task   *asynq.TaskInfo // nil: there is none
	state  runs.Row
}

// mendRow sees to one row, and returns what it needed.
func (p *pass) mendRow(ctx context.Context, x rowRef) (kind string, err error) {
	s := suspectRow{rowRef: x}
	s.portal, err = p.portals.Get(ctx, x.row.PortalID)
	unknown := errors.Is(err, portals.ErrUnknown)
	if err != nil && !unknown {
		return "", err
	}
	if !unknown {
		if s.task, err = p.taskOf(ctx, s.portal.Queue, x.row.Ident); err != nil {
			return "", err
		}
	}
	// The row is looked at after its task: a handler tells the row's end before
	// it lets the task go, so a row that waits now was waiting then.
	now, err := p.runs.Load(ctx, x.run, x.row.Number)
	broken := errors.Is(err, runs.ErrBroken)
	switch {
	case errors.Is(err, runs.ErrUnknownRun) || now.Outcome != nil || (err == nil || broken) && now.Gen != x.row.Gen:
		return "", nil // it has ended, or begun anew
	case err != nil && !broken:
		return "", err
	}
	s.state = now.Row
	s.state.Number, s.state.Gen, s.state.Ident = x.row.Number, x.row.Gen, x.row.Ident
	switch {
	case broken && s.task == nil:
		return p.dead(ctx, s, Unreadable, string(bitrix.Validation), runs.CodeUnreadable, "the stored row cannot be read")
	case broken:
		return "", nil // its handler tells of it
	case unknown:
		return p.dead(ctx, s, PortalUnknown, string(bitrix.Blocked), tasks.CodeUnknownPortal, "the portal has been removed")
	case s.task == nil:
		return p.restore(ctx, s)
	}
	return p.judge(ctx, s)
}

// taskOf returns the task under an id, after mending what was wrong with it;
// nil when there is none. Ids without a task were removed from among the pending
// ones before, so that these need no search for each row.
func (p *pass) taskOf(ctx context.Context, queue, id string) (*asynq.TaskInfo, error) {
	kinds, err := p.look(ctx, queue, []string{id}, true, false)
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		p.add(kind)
	}
	task, err := p.inspector.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look at task %s: %w", id, err)
	}
	return task, nil
}

// CodeArchived is the code of a row whose task was archived although the row
// had not ended.
const CodeArchived = "TASK_ARCHIVED"

// ClassOperator is the class of rows that a person, or asynq itself, has ended
// from outside.
const ClassOperator = tasks.ClassOperator

// judge decides by the task that stands in a row's place.
func (p *pass) judge(ctx context.Context, s suspectRow) (string, error) {
	ref, err := tasks.DecodePayload(s.task.Payload)
	unreadable := err != nil
	own := !unreadable && ref.Run == s.run && ref.Row == s.row.Number
	switch s.task.State {
	case asynq.TaskStateArchived:
		switch {
		case unreadable:
			return p.dead(ctx, s, Archived, string(bitrix.Validation), "PAYLOAD_UNREADABLE", err.Error())
		case own && ref.Gen >= s.row.Gen:
			return p.dead(ctx, s, Archived, ClassOperator, CodeArchived, archivedText(s.task.LastErr))
		}
		return p.replace(ctx, s)
	case asynq.TaskStateCompleted:
		id, err := strconv.ParseInt(string(s.task.Result), 10, 64)
		if err != nil || id <= 0 {
			return p.replace(ctx, s)
		}
		if !own {
			// As where a submission meets the task of another one: who wants
			// existing bots brought up to date, or refused, is not served by it.
			info, err := p.runs.Get(ctx, s.run)
			if err != nil {
				return "", err
			}
			if info.OnExisting != runs.Keep {
				return p.replace(ctx, s)
			}
		}
		return p.registered(ctx, s, id, own)
	case asynq.TaskStateActive, asynq.TaskStatePending, asynq.TaskStateScheduled, asynq.TaskStateRetry, asynq.TaskStateAggregating:
	}
	if !unreadable && !own {
		return p.duplicate(ctx, s, runs.Ref{Run: ref.Run, Row: ref.Row})
	}
	return "", nil //nolint:nilerr // its handler sees to it
}

func archivedText(last string) string {
	if last == "" {
		return "its task was archived in the queue's dashboard"
	}
	return "its task was archived in the queue; the last it said: " + last
}

// restore queues a row again.
func (p *pass) restore(ctx context.Context, s suspectRow) (string, error) {
	err := p.requeue.Requeue(ctx, s.run, s.state, s.portal)
	if errors.Is(err, tasks.ErrTaskExists) {
		return "", nil // somebody was faster
	}
	if err != nil {
		return "", err
	}
	return Restored, nil
}

// dropScript deletes a task that has ended, unless it has been taken up again.
// KEYS: task, the set of its state. ARGV: state, id.
var dropScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= ARGV[1] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])`)

// replace queues a row again in the place of a task that has ended, and has
// nothing to say about the row.
func (p *pass) replace(ctx context.Context, s suspectRow) (string, error) {
	state := s.task.State.String()
	keys := []string{taskKey(s.portal.Queue, s.row.Ident), prefix(s.portal.Queue) + state}
	n, err := dropScript.Run(ctx, p.redis, keys, state, s.row.Ident).Int()
	if err != nil {
		return "", fmt.Errorf("delete ended task %s: %w", s.row.Ident, err)
	}
	if n == 0 {
		return "", nil
	}
	return p.restore(ctx, s)
}

// duplicate ends a row whose bot another row is registering. If that one is not
// there, or has ended, its task goes by itself: the row is seen to another time.
func (p *pass) duplicate(ctx context.Context, s suspectRow, of runs.Ref) (string, error) {
	other, err := p.runs.Load(ctx, of.Run, of.Row)
	if errors.Is(err, runs.ErrUnknownRun) || errors.Is(err, runs.ErrBroken) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if other.Outcome != nil || other.Row.Ident != s.row.Ident {
		return "", nil
	}
	o := p.outcome(s, runs.StatusDuplicate)
	o.Of = &of
	return p.end(ctx, s, Duplicate, o)
}

// registered ends a row whose bot is known to be registered, by its own task or
// another row's.
func (p *pass) registered(ctx context.Context, s suspectRow, botID int64, own bool) (string, error) {
	o := p.outcome(s, runs.StatusRegistered)
	o.BotID, o.How, o.Existed = botID, runs.HowSkipped, true
	if own {
		o.How, o.Existed = runs.HowRecovered, false
	}
	return p.end(ctx, s, Registered, o)
}

func (p *pass) dead(ctx context.Context, s suspectRow, kind, class, code, text string) (string, error) {
	o := p.outcome(s, runs.StatusDead)
	o.Class, o.Error = class, &runs.Failure{Code: code, Description: text}
	return p.end(ctx, s, kind, o)
}

func (p *pass) outcome(s suspectRow, status runs.Status) runs.Outcome {
	o := runs.Outcome{
		Row: s.row.Number, ID: s.state.ID, Portal: s.state.Portal, Code: s.state.Code, Status: status,
		QueuedAt: s.state.QueuedAt, DoneAt: p.now(), PortalID: s.state.PortalID, Bot: s.state.Bot, Photo: s.state.Photo,
	}
	if s.task != nil {
		o.Attempts = s.task.Retried
	}
	return o
}

// end gives a row its end, if it still waits.
func (p *pass) end(ctx context.Context, s suspectRow, kind string, o runs.Outcome) (string, error) {
	ended, err := p.runs.RecordWaiting(ctx, s.run, s.row.Gen, o)
	if err != nil || !ended {
		return "", err
	}
	p.meter.Outcome(&o)
	p.logOutcome(ctx, s.run, kind, &o)
	return kind, nil
}

// logOutcome writes the line that the handler writes for the rows it ends.
func (p *pass) logOutcome(ctx context.Context, run, kind string, o *runs.Outcome) {
	attrs := []slog.Attr{
		slog.String("run", run), slog.Int("row", o.Row), slog.String("portal", o.Portal), slog.String("code", o.Code),
		slog.String("status", string(o.Status)), slog.Int("attempts", o.Attempts), slog.String("mended", kind),
	}
	switch {
	case o.Error != nil:
		attrs = append(attrs, slog.String("class", o.Class), slog.String("error", o.Error.Code), slog.String("description", o.Error.Description))
	case o.Of != nil:
		attrs = append(attrs, slog.String("of_run", o.Of.Run), slog.Int("of_row", o.Of.Row))
	default:
		attrs = append(attrs, slog.Int64("bot_id", o.BotID), slog.String("how", o.How))
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "outcome", attrs...)
}
