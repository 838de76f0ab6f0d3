// The handler: one task from the queue to its verdict.

package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// Doer takes one registration to its portal; [dispatch.Dispatcher] is one.
type Doer interface {
	Do(ctx context.Context, job dispatch.Job) dispatch.Result
}

// PortalByID finds a portal by its permanent id; [portals.Cache] is one. It
// returns an error for which errors.Is(err, portals.ErrUnknown) holds when
// there is none, and portals.ErrSealed when its credentials do not open.
type PortalByID interface {
	Get(ctx context.Context, id string) (portals.Portal, error)
}

// Handler works on the tasks of [TypeName]. It implements [asynq.Handler].
type Handler struct {
	Runs    *runs.Store
	Portals PortalByID
	Do      Doer
	Policy  Policy
	Log     *slog.Logger
	Now     func() time.Time
	Meter   Meter  // nil: nothing is measured
	Tracer  Tracer // nil: nothing is followed
	// ArchiveSize says how many tasks a queue's archive holds. Dead rows end there
	// until it is nearly full. Nil: all of them do.
	ArchiveSize func(ctx context.Context, queue string) (int64, error)

	wishes   wishes
	archives archives
	sealed   sealedRows
}

// Meter hears of the outcomes that a handler has recorded, and of the rows that it
// has handed back. It is called from many goroutines and must neither block nor
// keep or change what it is given.
type Meter interface {
	Outcome(o *runs.Outcome)
	// Deferred tells of rows that were handed back without an attempt and that the
	// dispatcher does not tell of: it had none of them, or called for them. One
	// meter can be both's.
	Deferred(why ratelimit.Reason, rows int)
}

// Reasons to hand rows back that a handler has beside the dispatcher's.
const (
	// Sealed: the credentials of the row's portal do not open.
	Sealed ratelimit.Reason = "sealed"
	// RedisTrouble: Redis did not do what it was asked.
	RedisTrouble ratelimit.Reason = "redis"
)

// ProcessTask registers the task's bot. Its errors are for asynq: one that
// [IsFailure] denies puts the task back without an attempt spent, and one that
// wraps [asynq.SkipRetry] archives it.
func (h *Handler) ProcessTask(ctx context.Context, t *asynq.Task) error {
	p, err := DecodePayload(t.Payload())
	if err != nil {
		return archive("this task cannot be worked on: " + err.Error())
	}
	if h.Tracer != nil {
		return h.traced(ctx, t, p)
	}
	return h.process(ctx, t, p)
}

// process works on the task of a row.
func (h *Handler) process(ctx context.Context, t *asynq.Task, p Payload) error {
	retried, _ := asynq.GetRetryCount(ctx)
	st, err := h.Runs.Load(ctx, p.Run, p.Row)
	switch {
	case errors.Is(err, runs.ErrUnknownRun):
		return archive(fmt.Sprintf("row %d of run %s is gone: the run has expired or was deleted", p.Row, p.Run))
	case errors.Is(err, runs.ErrBroken):
		return h.unreadable(ctx, p, st, err)
	case err != nil:
		return h.redisTrouble(err)
	}
	if !ownTask(ctx, st) {
		return archive(fmt.Sprintf("row %d of run %s has become another bot, which has a task of its own", p.Row, p.Run))
	}
	// The row's own generation counts, not the payload's: a row has one task,
	// and if it was queued anew while this one lay in the queue, this one is it.
	row, done := rowOf(st, p)
	if done {
		return h.acknowledge(ctx, t, st.Outcome.BotID)
	}
	v, err := h.work(ctx, p.Run, row, retried)
	if err != nil {
		return h.redisTrouble(err)
	}
	attempts := retried
	if v.Registered != nil || v.Dead != nil && v.Dead.Attempt {
		attempts++
	}
	return h.carryOut(ctx, t, p.Run, row, v, attempts)
}

// ownTask reports whether the task in work is that of the bot for which the row
// stands now. A dead row may have been mended into another bot; the first one's
// task, run again from the archive, would register the new bot beside its own
// task, and would end with that bot's id as if it were the first one's.
func ownTask(ctx context.Context, st runs.State) bool {
	ident := st.Row.Ident
	if st.Outcome != nil {
		ident = st.Outcome.Ident
	}
	id, ok := asynq.GetTaskID(ctx)
	return !ok || id == ident
}

// unreadable ends a row that waits but cannot be read, if the task is its own,
// and archives the task.
func (h *Handler) unreadable(ctx context.Context, p Payload, st runs.State, broken error) error {
	if st.Outcome == nil && ownTask(ctx, st) {
		o := runs.Outcome{
			Row: p.Row, Portal: p.Portal, Code: p.Code, PortalID: p.PortalID, Status: runs.StatusDead, DoneAt: h.Now(),
			Class: string(bitrix.Validation), Error: &runs.Failure{Code: runs.CodeUnreadable, Description: "the stored row cannot be read: submit it again"},
		}
		err := h.Runs.Record(ctx, p.Run, st.Gen, o)
		if err != nil && !errors.Is(err, runs.ErrUnknownRun) && !errors.Is(err, runs.ErrBroken) {
			return h.redisTrouble(err)
		}
		h.tell(ctx, p.Run, &o, err)
	}
	return archive(fmt.Sprintf("row %d of run %s cannot be read: %v", p.Row, p.Run, broken))
}

// rowOf returns what is to be registered: the waiting row, or the dead one
// that somebody has told the queue to run again. done is set when there is
// nothing left to do.
func rowOf(st runs.State, p Payload) (row runs.Row, done bool) {
	if st.Outcome == nil {
		return st.Row, false
	}
	o := st.Outcome
	if o.Status != runs.StatusDead || len(o.Bot) == 0 || cancelled(o) {
		return runs.Row{}, true
	}
	return runs.Row{
		Number: p.Row, Gen: st.Gen, Ident: o.Ident, ID: o.ID, Portal: o.Portal, PortalID: o.PortalID,
		Code: o.Code, QueuedAt: o.QueuedAt, Bot: o.Bot, Photo: o.Photo,
	}, false
}

// work does what the row asks for. An error means that it could not even be
// found out what that is.
func (h *Handler) work(ctx context.Context, run string, row runs.Row, retried int) (Verdict, error) {
	if retried > h.Policy.MaxAttempts {
		// Even the last look was not survived: the worker dies of the row.
		return dead(string(bitrix.Transient), "WORKER_LOST", fmt.Sprintf("the worker was lost in the last of %d attempts", retried)), nil
	}
	portal, err := h.Portals.Get(ctx, row.PortalID)
	if errors.Is(err, portals.ErrUnknown) {
		return dead(string(bitrix.Blocked), CodeUnknownPortal, "the portal has been removed"), nil
	}
	if errors.Is(err, portals.ErrSealed) {
		h.deferred(Sealed)
		now := h.Now()
		return later(now.Add(h.sealed.wait(now, draw())), err.Error()), nil
	}
	if err != nil {
		return Verdict{}, err
	}
	if portal.Gone != nil {
		return dead(string(bitrix.Blocked), CodePortalGone, portal.Gone.Reason), nil
	}
	var bot bitrix.Bot
	if err := json.Unmarshal(row.Bot, &bot); err != nil {
		return dead(string(bitrix.Validation), runs.CodeUnreadable, "the stored row cannot be read: "+err.Error()), nil //nolint:nilerr // the verdict tells of it
	}
	if row.Photo != "" {
		bot.Properties.PersonalPhoto, err = h.Runs.Photo(ctx, row.Photo)
		if errors.Is(err, runs.ErrPhotoGone) {
			return dead(string(bitrix.Validation), "PHOTO_GONE", "its photo is no longer kept: submit the row again"), nil
		}
		if err != nil {
			return Verdict{}, err
		}
	}
	if portal.Kind == portals.Webhook && bot.ClientID == "" {
		bot.ClientID = portal.ClientID
	}
	wish, err := h.wishes.of(ctx, h.Runs, run)
	if err != nil {
		return Verdict{}, err
	}
	bot.Update = wish == runs.Update
	r := h.Do.Do(ctx, dispatch.Job{Portal: &portal, Bot: &bot, Order: orderOf(row.QueuedAt), Retried: retried > 0, Last: retried >= h.Policy.MaxAttempts})
	if wish == runs.Fail {
		r = unwanted(r)
	}
	v := h.Policy.judge(r, retried+1, h.Now(), draw())
	if v.Later != nil && !v.Later.Attempt && r.Deferred == nil {
		h.deferred(ratelimit.Held) // by this row's own call
	}
	return v, nil
}

// deferred tells the meter of one row that is handed back.
func (h *Handler) deferred(why ratelimit.Reason) {
	if h.Meter != nil {
		h.Meter.Deferred(why, 1)
	}
}

// carryOut records a verdict in the run and then tells asynq. The order
// matters: what asynq forgets, or trims, is known to the run.
func (h *Handler) carryOut(ctx context.Context, t *asynq.Task, run string, row runs.Row, v Verdict, attempts int) error {
	if v.Later != nil {
		return v.Later
	}
	o := runs.Outcome{
		Row: row.Number, ID: row.ID, Portal: row.Portal, Code: row.Code, Attempts: min(attempts, h.Policy.MaxAttempts),
		QueuedAt: row.QueuedAt, DoneAt: h.Now(), PortalID: row.PortalID, Bot: row.Bot, Photo: row.Photo,
	}
	if v.Registered != nil {
		o.Status, o.BotID, o.Existed, o.How = runs.StatusRegistered, v.Registered.BotID, v.Registered.Existed, runs.HowCreated
		switch {
		case v.Registered.Recovered:
			o.How = runs.HowRecovered
		case v.Registered.Updated:
			o.How = runs.HowUpdated
		case v.Registered.Existed:
			o.How = runs.HowSkipped // the call changed nothing
		}
	} else {
		o.Status, o.Class, o.Error = runs.StatusDead, v.Dead.Class, &v.Dead.Error
		o.BotID, o.Existed = v.Dead.BotID, v.Dead.BotID != 0
	}
	gone, err := h.record(ctx, run, row.Gen, o)
	if err != nil {
		return h.redisTrouble(err)
	}
	h.tell(ctx, run, &o, gone)
	if v.Dead != nil {
		return h.bury(ctx, t, fmt.Sprintf("dead (%s): %s: %s", o.Class, o.Error.Code, o.Error.Description))
	}
	return h.acknowledge(ctx, t, o.BotID)
}

// recordFirst and recordMost bound how long a handler waits before it tells an
// outcome once more that Redis did not take, doubling.
const (
	recordFirst = time.Second
	recordMost  = 4 * time.Second
)

// record tells the run of an outcome, for as long as the task is this handler's: a
// full Redis refuses at once, and one that is told nothing has the row
// registered again. A run that is gone needs to know nothing: record returns why
// nothing keeps the outcome, nil when the run does.
func (h *Handler) record(ctx context.Context, run string, gen int, o runs.Outcome) (gone, err error) {
	for again := recordFirst; ; again = min(2*again, recordMost) {
		err := h.Runs.Record(ctx, run, gen, o)
		if err == nil || errors.Is(err, runs.ErrUnknownRun) || errors.Is(err, runs.ErrBroken) {
			return err, nil
		}
		if pause(ctx, again) != nil {
			return nil, err
		}
	}
}

// tell tells those who watch of an outcome. gone is why the run does not keep it.
func (h *Handler) tell(ctx context.Context, run string, o *runs.Outcome, gone error) {
	if h.Meter != nil {
		h.Meter.Outcome(o)
	}
	if h.Tracer != nil {
		h.Tracer.Outcome(ctx, o)
	}
	h.logOutcome(ctx, run, o, gone)
}

// logOutcome writes the one line of each outcome. Where the run is gone, as after
// Redis has lost its data, the line is all that is left of it, and warns.
func (h *Handler) logOutcome(ctx context.Context, run string, o *runs.Outcome, gone error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("run", run), slog.Int("row", o.Row), slog.String("portal", o.Portal), slog.String("code", o.Code),
		slog.String("status", string(o.Status)), slog.Int("attempts", o.Attempts),
	}
	if o.Error != nil {
		attrs = append(attrs, slog.String("class", o.Class), slog.String("error", o.Error.Code), slog.String("description", o.Error.Description))
	} else {
		attrs = append(attrs, slog.Int64("bot_id", o.BotID), slog.String("how", o.How))
	}
	if gone != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Bool("recorded", false), slog.String("reason", goneWords(gone)))
	}
	h.Log.LogAttrs(ctx, level, "outcome", attrs...)
}

func goneWords(gone error) string {
	if errors.Is(gone, runs.ErrUnknownRun) {
		return "its run is gone"
	}
	return gone.Error()
}

// acknowledge keeps the BOT_ID as the task's result, where the dashboard and
// later submissions find it.
func (h *Handler) acknowledge(ctx context.Context, t *asynq.Task, botID int64) error {
	if botID == 0 || t.ResultWriter() == nil {
		return nil
	}
	if _, err := t.ResultWriter().Write(strconv.AppendInt(nil, botID, 10)); err != nil && ctx.Err() == nil {
		return h.redisTrouble(err)
	}
	return nil
}

// troubleWait is how long a task is put back for when Redis did not do what it
// was asked. No attempt is spent: the registration itself is not at fault.
const troubleWait = 5 * time.Second

func (h *Handler) redisTrouble(err error) error {
	h.deferred(RedisTrouble)
	return &Later{Until: h.Now().Add(troubleWait), Reason: "waits for Redis: " + err.Error()}
}
