// A meter hears of outcomes once they are recorded, and of rows that are handed back.

package tasks_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// heard is a meter that keeps what became of each CODE, and how many rows were
// handed back for what.
type heard struct {
	mu    sync.Mutex
	codes map[string][]string
	back  map[ratelimit.Reason]int
}

func newHeard() *heard {
	return &heard{codes: map[string][]string{}, back: map[ratelimit.Reason]int{}}
}

func (h *heard) Deferred(why ratelimit.Reason, rows int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.back[why] += rows
}

// handedBack is for what rows have been handed back.
func (h *heard) handedBack(why ratelimit.Reason) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.back[why]
}

func (h *heard) Outcome(o *runs.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := string(o.Status) + " " + o.How
	if o.Error != nil {
		said = string(o.Status) + " " + o.Class + " " + o.Error.Code
	}
	h.codes[o.Code] = append(h.codes[o.Code], said)
}

func TestTheMeterHearsOfEachOutcomeOnce(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		h := newHeard()
		f.handler.Meter = h
		f.do = func(job dispatch.Job, nth int) dispatch.Result {
			switch {
			case job.Bot.Code == "bad":
				return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "NAME_ERROR"}}
			case job.Bot.Code == "later" && nth == 1:
				return dispatch.Result{Deferred: &dispatch.Deferral{}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}
		}
		submit(t, f, "r1", reg("good"), reg("bad"), reg("later"))
		f.work(t, "r1", nil)
		h.mu.Lock()
		defer h.mu.Unlock()
		want := map[string][]string{
			"good": {"registered created"}, "bad": {"dead validation NAME_ERROR"}, "later": {"registered created"},
		}
		if diff := cmp.Diff(want, h.codes); diff != "" {
			t.Error(diff)
		}
		if len(h.back) != 0 { // the dispatcher tells of its own
			t.Errorf("%v", h.back)
		}
	})
}

func TestTheMeterHearsOfARowThatCannotBeRead(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		h := newHeard()
		f.handler.Meter = h
		submit(t, f, "r1", reg("a"))
		spoilt := "w0|" + tasks.TaskID("p1", "customapp", "a") + `|{"portal":`
		if err := f.redis.HSet(t.Context(), "botfleet:{run:r1}:rows:0", "1", spoilt).Err(); err != nil {
			t.Fatal(err)
		}
		f.work(t, "r1", nil)
		h.mu.Lock()
		defer h.mu.Unlock()
		if diff := cmp.Diff(map[string][]string{"a": {"dead validation " + runs.CodeUnreadable}}, h.codes); diff != "" {
			t.Error(diff)
		}
	})
}

// unfound finds portals as its map says: with an error, where there is one.
type unfound struct {
	tasks.PortalByID
	errs map[string]error
}

func (f unfound) Get(ctx context.Context, id string) (portals.Portal, error) {
	if err := f.errs[id]; err != nil {
		return portals.Portal{}, err
	}
	return f.PortalByID.Get(ctx, id)
}

// Rows that the dispatcher never sees, and those whose own call finds the portal
// closed, are handed back like others: nobody else would count them.
func TestTheMeterHearsOfRowsThatAreHandedBack(t *testing.T) {
	for name, c := range map[string]struct {
		finds error
		does  bitrix.Class
		want  ratelimit.Reason
	}{
		"its credentials do not open": {finds: portals.ErrSealed, want: tasks.Sealed},
		"Redis is away":               {finds: errors.New("connection refused"), want: tasks.RedisTrouble},
		"the portal is blocked":       {does: bitrix.Blocked, want: ratelimit.Held},
		"its token is dead":           {does: bitrix.Token, want: ratelimit.Held},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, f *fleet) {
				h := newHeard()
				f.handler.Meter, f.handler.Portals = h, unfound{f.handler.Portals, map[string]error{"p1": c.finds}}
				f.do = func(dispatch.Job, int) dispatch.Result {
					return dispatch.Result{Err: &bitrix.Error{Class: c.does, Code: "CLOSED"}}
				}
				submit(t, f, "r1", reg("a"))
				f.work(t, "r1", func() bool { return h.handedBack(c.want) > 0 })
				h.mu.Lock()
				defer h.mu.Unlock()
				if len(h.back) != 1 || len(h.codes) != 0 {
					t.Errorf("%v, %v", h.back, h.codes)
				}
			})
		})
	}
}
