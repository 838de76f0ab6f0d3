// Tokens, and bots that stand there already.

package dispatch_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks/dispatch"
)

// do does one job for a bot and returns how it ended.
func (b *bench) do(ctx context.Context, bot *bitrix.Bot) dispatch.Result {
	return b.Do(ctx, dispatch.Job{Portal: b.portal, Bot: bot})
}

func TestNoTokenToBeHadPutsOffWithoutAnAttempt(t *testing.T) {
	for name, status := range map[string]int{"after an answer": 401, "unsent": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				since, until := time.Now().Add(-time.Minute), time.Now().Add(30*time.Second)
				fake := &fakePortal{fail: func(string, int) error {
					return &bitrix.Error{
						Class: bitrix.Transient, Code: "AUTH_SERVER", Description: "it does not answer", Status: status,
						Wait: &bitrix.Wait{Until: until, Since: since},
					}
				}}
				b := newBench(t, fake, nil)
				r := b.do(t.Context(), &bitrix.Bot{Code: "a"})
				d := r.Deferred
				if d == nil || d.Reason != dispatch.SignIn || !d.Until.Equal(until) || !d.Hold.Since.Equal(since) || d.Hold.Reason != "AUTH_SERVER: it does not answer" {
					t.Fatalf("%+v %+v", r, d)
				}
				if len(b.holds.held) != 0 {
					t.Error("the portal is held for it")
				}
				fake.mu.Lock()
				fake.fail = nil
				fake.mu.Unlock()
				if r := b.do(t.Context(), &bitrix.Bot{Code: "a"}); r.Registered == nil {
					t.Errorf("neither a mark nor a closure may be left: %+v", r)
				}
			})
		})
	}
}

func TestTheRefusedCredentialIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(string, int) error {
			return &bitrix.Error{Class: bitrix.Blocked, Code: "invalid_grant", Description: "install it again", Status: 401, Credential: "newer"}
		}}
		b := newBench(t, fake, nil)
		if r := b.do(t.Context(), &bitrix.Bot{Code: "a"}); r.Err == nil {
			t.Fatalf("%+v", r)
		}
		if b.holds.credential != "newer" || b.holds.held["p1"] != "invalid_grant: install it again" {
			t.Errorf("held %q of %q", b.holds.held, b.holds.credential)
		}
	})
}

func TestTheNewestCredentialsAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{latency: time.Second}
		var used []int64
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) {
			c.Parallel, c.Batching = 1, dispatch.Always
			c.Caller = spy{fake, &used}
		})
		done := make(chan dispatch.Result, 3)
		for generation := range int64(3) {
			p := *b.portal
			p.Generation, p.Credential = generation, string(rune('a'+generation))
			go func() {
				done <- b.Do(t.Context(), dispatch.Job{Portal: &p, Bot: &bitrix.Bot{Code: p.Credential}, Order: generation})
			}()
		}
		for range 3 {
			if r := <-done; r.Registered == nil {
				t.Errorf("%+v", r)
			}
		}
		if len(used) != 1 || used[0] != 2 {
			t.Errorf("batches went with the credentials of generations %v", used)
		}
	})
}

// spy notes the generation of the portal that batches are made with.
type spy struct {
	*fakePortal
	used *[]int64
}

func (s spy) RegisterBatch(ctx context.Context, p *portals.Portal, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
	*s.used = append(*s.used, p.Generation)
	return s.fakePortal.RegisterBatch(ctx, p, bots)
}

func TestUpdateTravelsWithTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{bots: map[string]int64{"old": 7}, seen: map[string]int{}, there: map[string]bool{"old": true}}
		b := newBench(t, fake, nil)
		for code, want := range map[string]dispatch.Registered{
			"old": {BotID: 7, Existed: true, Updated: true}, "new": {BotID: 2},
		} {
			r := b.do(t.Context(), &bitrix.Bot{Code: code, Update: true})
			if r.Registered == nil || *r.Registered != want {
				t.Errorf("%s: %+v, %+v", code, r.Registered, r.Err)
			}
		}
		if n := fake.count("batch"); n != 2 || fake.count("update") != 0 || fake.count("register") != 0 {
			t.Errorf("%q", fake.calls)
		}
	})
}

// Bots too large for a batch, and those of BATCH=off, take a request of their own
// to be updated, for which the gate is asked like for any.
func TestUpdateBySingleCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{bots: map[string]int64{"old": 7}, seen: map[string]int{}, there: map[string]bool{"old": true}}
		b := newBench(t, fake, func(c *dispatch.Config, p *portals.Portal) {
			c.Batching = dispatch.Off
			p.Limits.Rate, p.Limits.Burst = 1, 5 // of which Parallel is headroom
		})
		began := time.Now()
		r := b.do(t.Context(), &bitrix.Bot{Code: "old", Update: true})
		if r.Registered == nil || *r.Registered != (dispatch.Registered{BotID: 7, Existed: true, Updated: true}) {
			t.Fatalf("%+v, %+v", r.Registered, r.Err)
		}
		if time.Since(began) < 900*time.Millisecond {
			t.Errorf("both requests in %s at one a second", time.Since(began))
		}
		if got := strings.Join(fake.calls, " "); got != "register old update 7 old" {
			t.Error(got)
		}
	})
}

func TestUpdateOfSomebodyElsesBotIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{
			bots: map[string]int64{"old": 7}, seen: map[string]int{}, there: map[string]bool{"old": true},
			update: &bitrix.Error{Class: bitrix.Conflict, Code: "APP_ID_ERROR", Status: 400},
		}
		b := newBench(t, fake, func(c *dispatch.Config, _ *portals.Portal) { c.Batching = dispatch.Off })
		r := b.do(t.Context(), &bitrix.Bot{Code: "old", Update: true})
		if r.Err == nil || r.Err.Class != bitrix.Conflict || r.Err.BotID != 7 {
			t.Fatalf("%+v", r)
		}
	})
}

// An answer was lost: the bot is found in the list, and still has to be updated.
func TestARecoveredBotIsUpdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{bots: map[string]int64{"a": 7}, seen: map[string]int{}}
		b := newBench(t, fake, nil)
		r := b.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: "a", Update: true}, Retried: true})
		if r.Registered == nil || *r.Registered != (dispatch.Registered{BotID: 7, Existed: true, Updated: true, Recovered: true}) {
			t.Fatalf("%+v, %+v", r.Registered, r.Err)
		}
		if got := strings.Join(fake.calls, " "); got != "list update 7 a" {
			t.Error(got)
		}
	})
}

// A batch of updates is full with half as many rows.
func TestUpdatesFillBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePortal{latency: time.Second}
		b := newBench(t, fake, func(c *dispatch.Config, p *portals.Portal) {
			c.Parallel, c.Batching = 1, dispatch.Always
		})
		done := make(chan dispatch.Result, 60)
		for i := range 60 {
			bot := &bitrix.Bot{Code: "b" + string(rune('A'+i)), Update: i%2 == 0}
			go func() { done <- b.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: bot, Order: int64(i)}) }()
		}
		for range 60 {
			if r := <-done; r.Registered == nil {
				t.Errorf("%+v", r)
			}
		}
		for _, call := range fake.calls {
			commands := 0
			for code := range strings.SplitSeq(strings.TrimPrefix(call, "batch "), ",") {
				commands++
				if i := int(code[1] - 'A'); i >= 0 && i%2 == 0 {
					commands++
				}
			}
			if commands > bitrix.MaxBatch {
				t.Errorf("%d commands in one batch: %s", commands, call)
			}
		}
	})
}
