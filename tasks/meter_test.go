// Outcomes are told to a meter once they are recorded.

package tasks_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// heard is a meter that keeps what became of each CODE.
type heard struct {
	mu    sync.Mutex
	codes map[string][]string
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
		h := &heard{codes: map[string][]string{}}
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
	})
}
