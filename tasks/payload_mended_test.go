// Tasks whose rows are not, or no longer, what they were queued for.

package tasks_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// A dead row was mended into another bot: its old task, which an operator may run
// again from the archive, registers neither bot.
func TestTheOldTaskOfAMendedRowRegistersNothing(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(job dispatch.Job, nth int) dispatch.Result {
			if job.Bot.Code == "old" {
				return invalid(job, nth)
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		r := reg("old")
		r.Row = 1
		submit(t, f, "r1", r)
		f.work(t, "r1", nil)
		if o := f.outcomes(t, "r1")[1]; o.Status != runs.StatusDead {
			t.Fatalf("%+v", o)
		}
		mended := reg("new")
		mended.Row = 1
		if got := submit(t, f, "r1", mended); got[0].Status != tasks.ReceiptQueued {
			t.Fatalf("%+v", got)
		}
		before := len(f.calls())
		old := tasks.TaskID("p1", "customapp", "old")
		if err := f.inspector.RunTask(queue, old); err != nil {
			t.Fatal(err)
		}
		// The old task first, while the new one must wait.
		fresh := tasks.TaskID("p1", "customapp", "new")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		f.work(t, "r1", func() bool {
			info, err := f.inspector.GetTaskInfo(queue, old)
			done, err2 := f.inspector.GetTaskInfo(queue, fresh)
			return ctx.Err() == nil && err == nil && err2 == nil &&
				info.State == asynq.TaskStateArchived && done.State == asynq.TaskStateCompleted
		})
		o := f.outcomes(t, "r1")[1]
		if o.Status != runs.StatusRegistered || o.Code != "new" || o.BotID != 7 {
			t.Errorf("%+v", o)
		}
		calls := f.calls()[before:]
		if len(calls) != 1 || calls[0].Bot.Code != "new" {
			t.Errorf("%d calls: %+v", len(calls), calls)
		}
		// And once more, when the new bot is registered.
		if err := f.inspector.RunTask(queue, old); err != nil {
			t.Fatal(err)
		}
		f.work(t, "r1", func() bool {
			info, err := f.inspector.GetTaskInfo(queue, old)
			return err == nil && info.State == asynq.TaskStateArchived && strings.Contains(info.LastErr, "another bot")
		})
		if n := len(f.calls()); n != before+1 {
			t.Errorf("%d calls", n)
		}
	})
}

// A waiting row that something has spoilt ends as dead, so that its run ends too.
func TestAWaitingRowThatCannotBeReadEndsDead(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"), reg("b"))
		spoilt := "w0|" + tasks.TaskID("p1", "customapp", "a") + `|{"portal":`
		if err := f.redis.HSet(t.Context(), "botfleet:{run:r1}:rows:0", "1", spoilt).Err(); err != nil {
			t.Fatal(err)
		}
		f.work(t, "r1", nil)
		all := f.outcomes(t, "r1")
		if o := all[1]; o.Status != runs.StatusDead || o.Error.Code != runs.CodeUnreadable || o.Code != "a" || o.Portal != portal {
			t.Errorf("%+v", o)
		}
		if all[2].Status != runs.StatusRegistered {
			t.Errorf("%+v", all[2])
		}
	})
}
