// Rows that wait for their portals: woken, queued again, ended with a portal
// that is gone, refused for want of room; and what runs want of existing bots.

package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

func TestWakeMakesAPortalsRowsDue(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		hold := &ratelimit.Hold{Reason: "OVERLOAD_LIMIT", Since: time.Now()}
		held := true
		f.do = func(job dispatch.Job, _ int) dispatch.Result {
			if held {
				return dispatch.Result{Deferred: &dispatch.Deferral{Until: time.Now().Add(10 * time.Minute), Reason: ratelimit.Held, Hold: hold}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
		}
		other := reg("other")
		other.Portal = "oauth.bitrix24.ru"
		submit(t, f, "r1", reg("a"), reg("b"), reg("c"), other)
		f.work(t, "r1", func() bool { return len(f.calls()) == 4 })
		eventually(t, func() bool {
			n, err := f.redis.ZCard(t.Context(), "asynq:{"+queue+"}:retry").Result()
			return err == nil && n == 4
		})
		held = false
		n, err := tasks.Wake(t.Context(), f.redis, queue, []string{"p1"}, time.Now())
		if err != nil || n != 3 {
			t.Fatalf("woke %d, %v", n, err)
		}
		f.work(t, "r1", func() bool { return len(f.outcomes(t, "r1")) == 3 })
		if _, ok := f.outcomes(t, "r1")[4]; ok {
			t.Error("the other portal's row was woken too")
		}
		n, err = tasks.Wake(t.Context(), f.redis, queue, []string{"p1", "p2", "p3"}, time.Now())
		if err != nil || n != 1 {
			t.Fatalf("woke %d, %v", n, err)
		}
		f.work(t, "r1", nil)
	})
}

func TestRequeueRestoresALostTask(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		st, err := f.runs.Load(t.Context(), "r1", 1)
		if err != nil {
			t.Fatal(err)
		}
		p := portals.Portal{ID: "p1", Name: portal, Queue: queue}
		if err := f.Requeue(t.Context(), "r1", st.Row, p); !errors.Is(err, tasks.ErrTaskExists) {
			t.Fatalf("beside a living task: %v", err)
		}
		before, err := f.inspector.GetTaskInfo(queue, st.Row.Ident)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.inspector.DeleteTask(queue, st.Row.Ident); err != nil {
			t.Fatal(err)
		}
		if err := f.Requeue(t.Context(), "r1", st.Row, p); err != nil {
			t.Fatal(err)
		}
		after, err := f.inspector.GetTaskInfo(queue, st.Row.Ident)
		if err != nil {
			t.Fatal(err)
		}
		if string(before.Payload) != string(after.Payload) || before.MaxRetry != after.MaxRetry || before.Timeout != after.Timeout || before.Retention != after.Retention {
			t.Errorf("%+v is not %+v", after, before)
		}
		f.work(t, "r1", nil)
		if o := f.outcomes(t, "r1")[1]; o.Status != runs.StatusRegistered {
			t.Errorf("%+v", o)
		}
	})
}

func TestRowsOfAGonePortalAreDead(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		dir, _ := f.handler.Portals.(directory)
		p := dir[portal]
		p.Gone = &portals.Gone{Reason: "the portal has uninstalled the application", Since: time.Now()}
		dir[portal] = p
		f.work(t, "r1", nil)
		o := f.outcomes(t, "r1")[1]
		if o.Status != runs.StatusDead || o.Class != "blocked" || o.Error.Code != tasks.CodePortalGone || o.Error.Description != p.Gone.Reason || o.Attempts != 0 {
			t.Errorf("%+v", o)
		}
		if got := submit(t, f, "r2", reg("b")); got[0].Status != tasks.ReceiptRefused || got[0].Problems[0].Code != tasks.CodePortalGone {
			t.Errorf("%+v", got)
		}
	})
}

func TestNoRoomForNewRuns(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		full := errors.Join(tasks.ErrFull, errors.New("90% used"))
		var asked []bool
		dir, _ := f.handler.Portals.(directory)
		c := tasks.NewClient(tasks.ClientConfig{
			Queue: f.queue, Inspector: f.inspector, Portals: dir, Runs: f.runs,
			Room: func(_ context.Context, newRun bool) error {
				asked = append(asked, newRun)
				if newRun {
					return full
				}
				return nil
			},
		})
		got, err := c.Submit(t.Context(), "new", reg("a"))
		if !errors.Is(err, tasks.ErrFull) || got[0].Status != "" {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := f.runs.Get(t.Context(), "new"); !errors.Is(err, runs.ErrUnknownRun) {
			t.Errorf("the run was begun all the same: %v", err)
		}
		submit(t, f, "old", reg("a"))
		if got, err := c.Submit(t.Context(), "old", reg("b")); err != nil || got[0].Status != tasks.ReceiptQueued {
			t.Errorf("%+v, %v", got, err)
		}
		if !slices.Equal(asked, []bool{true, true, false}) {
			t.Error(asked)
		}
	})
}

// began opens a run that wants something of existing bots.
func began(t *testing.T, f *fleet, run string, wish runs.OnExisting) {
	t.Helper()
	if err := f.runs.Open(t.Context(), run, runs.Begin{OnExisting: wish}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatRunsWantOfExistingBots(t *testing.T) {
	for _, c := range []struct {
		wish   runs.OnExisting
		result dispatch.Result
		want   string
	}{
		{runs.Keep, dispatch.Result{Registered: &dispatch.Registered{BotID: 7, Existed: true}}, "registered 7 true skipped"},
		{runs.Update, dispatch.Result{Registered: &dispatch.Registered{BotID: 7, Existed: true, Updated: true}}, "registered 7 true updated"},
		{runs.Update, dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}, "registered 7 false created"},
		{runs.Update, dispatch.Result{Registered: &dispatch.Registered{BotID: 7, Existed: true, Updated: true, Recovered: true}}, "registered 7 true recovered"},
		{runs.Update, dispatch.Result{Err: &bitrix.Error{Class: bitrix.Conflict, Code: "APP_ID_ERROR", BotID: 7}}, "dead 7 true conflict APP_ID_ERROR"},
		{runs.Fail, dispatch.Result{Registered: &dispatch.Registered{BotID: 7, Existed: true}}, "dead 7 true conflict BOT_EXISTS"},
		{runs.Fail, dispatch.Result{Registered: &dispatch.Registered{BotID: 7, Recovered: true}}, "registered 7 false recovered"},
		{runs.Fail, dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}, "registered 7 false created"},
	} {
		t.Run(string(c.wish)+" "+c.want, func(t *testing.T) {
			both(t, func(t *testing.T, f *fleet) {
				f.do = func(dispatch.Job, int) dispatch.Result { return c.result }
				began(t, f, "r1", c.wish)
				submit(t, f, "r1", reg("a"))
				f.work(t, "r1", nil)
				if f.calls()[0].Bot.Update != (c.wish == runs.Update) {
					t.Error("Bot.Update is wrong")
				}
				o := f.outcomes(t, "r1")[1]
				got := fmt.Sprint(o.Status, " ", o.BotID, " ", o.Existed, " ", o.How+o.Class)
				if o.Error != nil {
					got += " " + o.Error.Code
				}
				if strings.TrimSpace(got) != c.want {
					t.Errorf("%s; want %s", got, c.want)
				}
			})
		})
	}
}

// What an earlier run has registered is answered from memory only where existing
// bots are to be kept.
func TestOnlyKeepSkipsWhatAnEarlierRunHasRegistered(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "first", reg("a"))
		f.work(t, "first", nil)
		for wish, want := range map[runs.OnExisting]tasks.ReceiptStatus{
			runs.Keep: tasks.ReceiptRegistered, runs.Update: tasks.ReceiptQueued, runs.Fail: tasks.ReceiptQueued,
		} {
			run := "then-" + string(wish)
			began(t, f, run, wish)
			// The first worker's acknowledgement may still be on its way.
			if got := submit(t, f, run, reg("a")); got[0].Status != want {
				t.Errorf("%s: %+v", wish, got)
			}
			f.work(t, run, nil)
		}
		if n := len(f.calls()); n != 3 {
			t.Errorf("%d calls", n)
		}
	})
}
