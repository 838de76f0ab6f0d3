// Asking many portals: in time, once each, within their limits.

package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/ratelimit"
)

// ward answers for portals, by their ids.
type ward struct {
	answer func(ctx context.Context, id string, n int) error // n counts the portal's requests from 1

	mu      sync.Mutex
	asked   map[string]int
	now     int
	most    int
	changed map[string]*portals.Portal // as the registry has them
}

func (w *ward) Bots(ctx context.Context, p *portals.Portal, _ string) ([]bitrix.ListedBot, bitrix.Time, error) {
	w.mu.Lock()
	w.asked[p.ID]++
	n := w.asked[p.ID]
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	err := w.answer(ctx, p.ID, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	return []bitrix.ListedBot{{ID: 1}}, bitrix.Time{}, err
}

func (w *ward) Get(_ context.Context, id string) (portals.Portal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.changed[id]
	if !ok {
		return portals.Portal{}, &portals.UnknownError{Name: id}
	}
	return *p, nil
}

func (w *ward) Release(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[id].Held = nil
	return nil
}

// newWard makes a checker of n portals that answer like that.
func newWard(n int, answer func(ctx context.Context, id string, n int) error) (*ward, *checker, []portals.Portal) {
	w := &ward{answer: answer, asked: map[string]int{}, changed: map[string]*portals.Portal{}}
	list := make([]portals.Portal, n)
	for i := range list {
		id := fmt.Sprintf("%03d", i)
		list[i] = portals.Portal{ID: id, Name: id + ".bitrix24.ru", Kind: portals.Webhook, ClientID: "x", Limits: portals.PlanLimits(portals.Standard)}
		w.changed[id] = new(list[i])
	}
	c := &checker{
		gate: ratelimit.NewLocal(ratelimit.Config{}), signer: w, registry: w, timeout: 20 * time.Second,
		open: func(_ context.Context, p *portals.Portal) (portals.Portal, error) { return *p, nil },
	}
	return w, c, list
}

// silent waits for an answer that does not come.
func silent(ctx context.Context) error {
	<-ctx.Done()
	code := bitrix.CodeTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		code = bitrix.CodeCancelled
	}
	return &bitrix.Error{Class: bitrix.Ambiguous, Code: code}
}

func after(ctx context.Context, d time.Duration) error {
	_ = pause(ctx, d)
	return nil
}

// 200 silent portals stand before 800 that answer in 100 ms.
func TestSilentPortalsHoldUpNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, list := newWard(1000, func(ctx context.Context, id string, _ int) error {
			if id < "200" {
				return silent(ctx)
			}
			return after(ctx, 100*time.Millisecond)
		})
		began := time.Now()
		var lastQuick time.Duration
		quiet, quick := 0, 0
		err := c.all(t.Context(), list, 32, func(r *checked) error {
			if r.verdict.status == statusUnreachable {
				quiet++
			} else if r.verdict.fine() {
				quick, lastQuick = quick+1, time.Since(began)
			}
			return nil
		})
		if err != nil || quiet != 200 || quick != 800 {
			t.Fatalf("%d silent, %d quick, %v", quiet, quick, err)
		}
		// 200/32 turns of 2 s, and 800/32 of 100 ms, in which silent ones take no part.
		if lastQuick > 18*time.Second {
			t.Errorf("the last quick portal came after %v", lastQuick)
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("it took %v", took)
		}
		if w.most > 32*crowd || w.most <= 32 {
			t.Errorf("%d portals asked at once", w.most)
		}
		for id, n := range w.asked {
			if n != 1 {
				t.Errorf("portal %s was asked %d times", id, n)
			}
		}
	})
}

// A portal that refuses for its rate is asked again when the gate says so.
func TestARateRefusalIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, list := newWard(1, func(_ context.Context, _ string, n int) error {
			if n < 3 {
				return &bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503}
			}
			return nil
		})
		began := time.Now()
		r := c.one(t.Context(), &list[0])
		if !r.verdict.fine() || w.asked["000"] != 3 || time.Since(began) < 3*time.Second {
			t.Errorf("%+v after %d requests and %v", r.verdict, w.asked["000"], time.Since(began))
		}
	})
}

// What does not pass is told as busy within a bounded time.
func TestABusyPortalIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, list := newWard(1, func(context.Context, string, int) error {
			return &bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503}
		})
		began := time.Now()
		r := c.one(t.Context(), &list[0])
		if r.verdict.status != statusBusy || w.asked["000"] > 7 || time.Since(began) > c.timeout {
			t.Errorf("%+v after %d requests and %v", r.verdict, w.asked["000"], time.Since(began))
		}
	})
}

// A token that is being renewed elsewhere is waited for; one that cannot be is no fault of the portal.
func TestATokenUnderWayIsWaitedFor(t *testing.T) {
	for _, tc := range []struct {
		times int
		want  checkStatus
	}{{3, statusOK}, {1000, statusNotRenewed}} {
		synctest.Test(t, func(t *testing.T) {
			w, c, list := newWard(1, func(_ context.Context, _ string, n int) error {
				if n <= tc.times {
					return &bitrix.Error{Class: bitrix.Transient, Code: "TOKEN_RENEWAL_PENDING", Wait: &bitrix.Wait{Until: time.Now().Add(2 * time.Second)}}
				}
				return nil
			})
			if r := c.one(t.Context(), &list[0]); r.verdict.status != tc.want || w.asked["000"] > 20 {
				t.Errorf("%+v after %d requests", r.verdict, w.asked["000"])
			}
		})
	}
}

// What is asked of a held portal whose token is being renewed, or by an
// application that the authorization server refuses, is asked once.
func TestWhatIsNotWaitedFor(t *testing.T) {
	since := time.Now()
	for _, tc := range []struct {
		name, code string
		hold       bool
		says       string
	}{
		{"held, pending", signin.CodePending, true, "why; whether it works now cannot be told before"},
		{"held, refused application", "invalid_client", true, "cannot be told: its token cannot be renewed: the authorization server refuses the application (invalid_client)"},
		{"refused application", "invalid_client", false, "(invalid_client): check BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c, list := newWard(1, func(context.Context, string, int) error {
				return &bitrix.Error{Class: bitrix.Transient, Code: tc.code, Wait: &bitrix.Wait{Until: time.Now().Add(2 * time.Second)}}
			})
			if tc.hold {
				list[0].Held = &portals.Hold{Reason: "why", Since: since}
				w.changed["000"] = new(list[0])
			}
			began := time.Now()
			r := c.one(t.Context(), &list[0])
			rec := recordOf(&r, false)
			if w.asked["000"] != 1 || time.Since(began) != 0 || rec.Fine || rec.Works != nil ||
				!strings.Contains(rec.Problem, tc.says) || strings.Contains(rec.Problem, "nothing is known") {
				t.Errorf("%s: %+v after %d requests and %v", tc.name, rec, w.asked["000"], time.Since(began))
			}
		})
	}
}

// A hold of which a renewal's answer was lost cannot be judged while that
// renewal's lock lasts.
func TestAHeldTokensTime(t *testing.T) {
	now := time.Now()
	pending := &bitrix.Error{Code: signin.CodePending, Wait: &bitrix.Wait{Until: now.Add(time.Second)}}
	for ago, want := range map[time.Duration]time.Time{0: now.Add(signin.LockTime), time.Hour: now.Add(time.Second)} {
		if got := tokenAgain(&portals.Hold{Since: now.Add(-ago)}, pending); !got.Equal(want) {
			t.Errorf("held %v ago: %v, want %v", ago, got, want)
		}
	}
	if at := tokenAgain(&portals.Hold{Since: now}, &bitrix.Error{Code: "invalid_grant"}); !at.IsZero() {
		t.Error(at)
	}
}

// --timeout is for all of a check, but for the line at the authorization server.
func TestTheWholeCheckIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  *bitrix.Error
		most time.Duration
	}{
		{"pending", &bitrix.Error{Class: bitrix.Transient, Code: signin.CodePending}, 20 * time.Second},
		{"in line", &bitrix.Error{Class: bitrix.Transient, Code: bitrix.CodeNotSent}, 20*time.Second + patience},
		{"server", &bitrix.Error{Class: bitrix.Transient, Code: "HTTP_502"}, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c, list := newWard(1, func(ctx context.Context, _ string, _ int) error {
				deadline, _ := ctx.Deadline() // a renewal uses half of the time
				_ = pause(ctx, time.Until(deadline)/2)
				e := *tc.err
				e.Wait = &bitrix.Wait{Until: time.Now().Add(5 * time.Second)}
				return &e
			})
			began := time.Now()
			r := c.one(t.Context(), &list[0])
			if took := time.Since(began); r.verdict.status != statusNotRenewed || took > tc.most || took < 10*time.Second || w.asked["000"] > 10 {
				t.Errorf("%s: %+v after %v and %d requests", tc.name, r.verdict, took, w.asked["000"])
			}
		})
	}
}

// A held portal is asked although the gate lets nobody call it, once; what
// works is released, but for what an operator holds.
func TestHeldPortalsAreAskedAndReleased(t *testing.T) {
	for _, tc := range []struct {
		name       string
		works      bool
		byOperator bool
		release    bool
		want       bool // released
	}{
		{"works", true, false, true, true},
		{"works, not asked to release", true, false, false, false},
		{"does not work", false, false, true, false},
		{"an operator's", true, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, c, list := newWard(1, func(context.Context, string, int) error {
				if tc.works {
					return nil
				}
				return &bitrix.Error{Class: bitrix.Blocked, Code: "INVALID_CREDENTIALS", Status: 401}
			})
			c.release = tc.release
			list[0].Held = &portals.Hold{Reason: "why", Since: time.Now(), ByOperator: tc.byOperator}
			w.changed["000"] = new(list[0])
			if err := c.gate.Hold(t.Context(), "000", ratelimit.Hold{Reason: "why"}); err != nil {
				t.Fatal(err)
			}
			r := c.one(t.Context(), &list[0])
			if r.err != nil || r.released != tc.want || r.works != tc.works || w.asked["000"] != 1 || (w.changed["000"].Held == nil) != tc.want {
				t.Errorf("%+v after %d requests", r, w.asked["000"])
			}
			s, _, err := c.gate.State(t.Context(), "000")
			if err != nil || (s.Hold == nil) != tc.want {
				t.Errorf("the gate: %+v, %v", s, err)
			}
			if rec := recordOf(&r, false); rec.Fine != tc.want || (rec.Status == statusHeld) == tc.want || !strings.Contains(rec.Problem, "why") {
				t.Errorf("%+v", rec)
			}
		})
	}
}

// Another hold that came while the portal was asked stands.
func TestANewHoldIsNotReleased(t *testing.T) {
	w, c, list := newWard(1, func(context.Context, string, int) error { return nil })
	c.release = true
	list[0].Held = &portals.Hold{Reason: "old", Since: time.Now()}
	newer := list[0]
	newer.Held = &portals.Hold{Reason: "OVERLOAD_LIMIT", Since: time.Now().Add(time.Second)}
	w.changed["000"] = &newer
	if r := c.one(t.Context(), &list[0]); r.released || w.changed["000"].Held == nil {
		t.Errorf("%+v", r)
	}
}

// The command is broken off: what was found out stays, the rest is not told of.
func TestInterruptedChecksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, list := newWard(400, func(ctx context.Context, id string, _ int) error {
			if id > "001" {
				return silent(ctx)
			}
			return nil
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		var got []string
		began := time.Now()
		stop := time.AfterFunc(5*time.Second, func() { cancel(errInterrupted) })
		defer stop.Stop()
		err := c.all(ctx, list, 4, func(r *checked) error { got = append(got, r.portal.ID); return nil })
		slices.Sort(got)
		if err != nil || !slices.Equal(got, []string{"000", "001"}) || time.Since(began) > 6*time.Second {
			t.Errorf("%v, %v after %v", got, err, time.Since(began))
		}
	})
}

// Redis that is gone ends the check with its error; a portal that was removed
// or does not open does not.
func TestWhatIsNoPortalsFaultEndsTheCheck(t *testing.T) {
	_, c, list := newWard(3, func(context.Context, string, int) error { return nil })
	gone := errors.New("redis is gone")
	open := c.open
	for _, tc := range []struct {
		err  error
		want checkStatus // "": the error ends it
	}{
		{gone, ""},
		{&portals.UnknownError{Name: "001"}, statusRemoved},
		{&portals.SealedError{Portal: "001", KeyID: "abcd0123"}, statusSealed},
		{&portals.SealedError{Portal: "001"}, statusSealed},
	} {
		c.open = func(ctx context.Context, p *portals.Portal) (portals.Portal, error) {
			if p.ID == "001" {
				return portals.Portal{}, tc.err
			}
			return open(ctx, p)
		}
		statuses := map[string]checkStatus{}
		err := c.all(t.Context(), list, 1, func(r *checked) error { statuses[r.portal.ID] = r.verdict.status; return nil })
		if tc.want == "" && !errors.Is(err, gone) || tc.want != "" && (err != nil || statuses["001"] != tc.want || statuses["002"] != statusOK) {
			t.Errorf("%v: %v, %v", tc.err, statuses, err)
		}
	}
}

// A disk that is full ends the check too, and nothing is left behind.
func TestOutputThatFailsEndsTheCheck(t *testing.T) {
	_, c, list := newWard(500, func(context.Context, string, int) error { return nil })
	full, n := errors.New("disk full"), 0
	err := c.all(t.Context(), list, 8, func(*checked) error {
		if n++; n == 3 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || n != 3 {
		t.Errorf("%v after %d", err, n)
	}
}
