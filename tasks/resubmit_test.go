// Rows that are submitted again while something of their past is still about.

package tasks_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

func invalid(dispatch.Job, int) dispatch.Result {
	return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "NAME_ERROR"}}
}

// onOutcome is a log handler that tells of each outcome, which the handler logs
// when it has recorded it and before asynq hears of it.
type onOutcome struct {
	slog.Handler
	do func()
}

func (o onOutcome) Enabled(context.Context, slog.Level) bool      { return true }
func (o onOutcome) Handle(_ context.Context, r slog.Record) error { o.do(); return nil }

// A row submitted again at the moment between its death and its task's end must
// not count on that task.
func TestARowSubmittedAgainWhileItsTaskDiesIsNotLost(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		f.do = func(job dispatch.Job, nth int) dispatch.Result {
			if nth == 1 {
				return invalid(job, nth)
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		r := reg("a")
		r.Row = 1
		submit(t, f, "r1", r)
		again := make(chan error, 1)
		first := true
		f.handler.Log = slog.New(onOutcome{slog.DiscardHandler, func() {
			if !first {
				return
			}
			first = false
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err := f.Submit(t.Context(), "r1", r)
				again <- err
			}()
			select { // the task may not end before the other submission has met it
			case <-done:
			case <-time.After(500 * time.Millisecond):
			}
		}})
		f.work(t, "r1", func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Counts.Registered == 1
		})
		if err := <-again; err != nil {
			t.Error(err)
		}
	})
}

// A death that was recorded, but whose recording seemed to fail, leaves the task
// in the queue. The row may be queued anew meanwhile: the task works on it.
func TestATaskWorksOnTheNewestGenerationOfItsRow(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := reg("a")
		r.Row = 1
		submit(t, f, "r1", r)
		dead := runs.Outcome{Row: 1, Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "NAME_ERROR"}}
		if err := f.runs.Record(t.Context(), "r1", 0, dead); err != nil {
			t.Fatal(err)
		}
		if got := submit(t, f, "r1", r); got[0].Status != tasks.ReceiptQueued {
			t.Fatalf("%+v", got)
		}
		f.work(t, "r1", func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Counts == runs.Counts{Queued: 1, Registered: 1}
		})
	})
}

// One row that stands for another bot must not leave the others without tasks.
func TestARowOfAnotherBotHindersNoOthers(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		first := reg("a")
		first.Row = 1
		submit(t, f, "r1", first)
		other, next := reg("b"), reg("c")
		other.Row, next.Row = 1, 2
		got, err := f.Submit(t.Context(), "r1", other, next)
		if err == nil || got[0].Status != "" || got[1].Status != tasks.ReceiptQueued {
			t.Fatalf("%+v, %v", got, err)
		}
		f.work(t, "r1", nil)
		if o := f.outcomes(t, "r1"); o[1].Code != "a" || o[2].BotID != 39 {
			t.Errorf("%+v", o)
		}
	})
}

// Registrations may share the array behind their problems.
func TestProblemsOfOneRowDoNotReachAnother(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		shared := append(make([]bitrix.Problem, 0, 10), bitrix.Problem{Field: "x", Code: "X", Problem: "of both"})
		noCode, noName := reg(""), reg("b")
		noName.Bot.Properties.Name = ""
		noCode.Problems, noName.Problems = shared, shared
		got := submit(t, f, "r1", noCode, noName)
		if got[0].Problems[1].Code != "CODE_ERROR" || got[1].Problems[1].Code != "NAME_ERROR" {
			t.Errorf("%+v", got)
		}
	})
}

// A photo that is no longer kept ends its row: waiting brings it back no more.
func TestARowWhosePhotoIsGoneIsDead(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := reg("a")
		r.Bot.Properties.PersonalPhoto = onePixel
		submit(t, f, "r1", r)
		keys, err := f.redis.Keys(t.Context(), "botfleet:{photo:*").Result()
		if err != nil || len(keys) == 0 {
			t.Fatal(keys, err)
		}
		for _, k := range keys {
			if err := f.redis.Del(t.Context(), k).Err(); err != nil {
				t.Fatal(err)
			}
		}
		// The worker is another process than the producer, which knows the photo.
		f.handler.Runs = runs.New(f.redis, runs.Options{TTL: time.Hour})
		f.work(t, "r1", nil)
		o := f.outcomes(t, "r1")[1]
		if o.Status != runs.StatusDead || o.Error.Code != "PHOTO_GONE" {
			t.Errorf("%+v", o)
		}
	})
}

// A stored row that cannot be read will not be readable later.
func TestABrokenRowGoesIntoTheArchive(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		if err := f.redis.HSet(t.Context(), "botfleet:{run:r1}:rows:0", "1", "w0|ident|{broken").Err(); err != nil {
			t.Fatal(err)
		}
		f.work(t, "r1", func() bool {
			list, err := f.inspector.ListArchivedTasks(queue)
			return err == nil && len(list) == 1
		})
		if len(f.calls()) != 0 {
			t.Error("it was sent all the same")
		}
	})
}
