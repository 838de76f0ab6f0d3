// Batches of which a part was refused.

package signin

import (
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
)

// bots are n bots whose codes tell their numbers.
func bots(n int) []*bitrix.Bot {
	all := make([]*bitrix.Bot, n)
	for i := range all {
		all[i] = &bitrix.Bot{Code: string(rune('a' + i))}
	}
	return all
}

// expiresMidway is a portal whose token is refused for all but the first row.
func expiresMidway(w *world, asked *[]string) {
	w.rows = func(a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
		_, token := a.Reveal()
		codes := ""
		ans := bitrix.BatchAnswer{Rows: make([]bitrix.BatchRow, len(bots))}
		for i, b := range bots {
			codes += b.Code
			ans.Rows[i] = bitrix.BatchRow{Ran: true, Registered: bitrix.Registered{BotID: int64(b.Code[0])}}
			if token != w.access && i > 0 {
				ans.Rows[i] = bitrix.BatchRow{Ran: true, Err: &bitrix.Error{Class: bitrix.Token, Code: "expired_token"}}
			}
		}
		ans.Time = bitrix.Time{HasOperating: true, Operating: time.Duration(len(*asked)+1) * time.Second}
		*asked = append(*asked, codes)
		return ans, nil
	}
}

func TestBatchRepeatsRefusedRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked []string
		expiresMidway(w, &asked)
		p := w.portal()
		ans, err := w.caller().RegisterBatch(t.Context(), &p, bots(4))
		if err != nil || len(asked) != 2 || asked[0] != "abcd" || asked[1] != "bcd" || w.see().trades != 1 {
			t.Fatalf("%v, asked %v, %d trades", err, asked, w.see().trades)
		}
		for i, row := range ans.Rows {
			if row.Err != nil || row.Registered.BotID != int64('a'+i) {
				t.Errorf("row %d is %+v", i, row)
			}
		}
		if ans.Time.Operating != 2*time.Second {
			t.Errorf("operating %v, want the worse", ans.Time.Operating)
		}
	})
}

func TestBatchRowsThatCannotBeRepeated(t *testing.T) {
	for name, test := range map[string]struct {
		set   func(w *world)
		class bitrix.Class
		code  string
		asked int
	}{
		"no new token":      {func(w *world) { w.refresh = "another" }, bitrix.Blocked, "invalid_grant", 1},
		"none now":          {func(w *world) { w.broken["Get"] = -1 }, bitrix.Transient, CodePending, 1},
		"new token refused": {func(w *world) { w.answer = wrongAnswer(w) }, bitrix.Blocked, "expired_token", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var asked []string
				expiresMidway(w, &asked)
				test.set(w)
				p := w.portal()
				ans, err := w.caller().RegisterBatch(t.Context(), &p, bots(3))
				if err != nil || len(asked) != test.asked || ans.Rows[0].Err != nil {
					t.Fatalf("%v, asked %v", err, asked)
				}
				e := mustBe(t, ans.Rows[2].Err, test.class, test.code)
				if !ans.Rows[2].Ran || e.Method != bitrix.MethodRegister {
					t.Errorf("row is %+v", ans.Rows[2])
				}
			})
		})
	}
}

// wrongAnswer trades for a token that the portal does not take.
func wrongAnswer(w *world) func(bitrix.Tokens) (bitrix.Tokens, error) {
	return func(tokens bitrix.Tokens) (bitrix.Tokens, error) { w.access = "other"; return tokens, nil }
}

// The second batch fails as a whole: its rows have that error, the others stand.
func TestBatchRepeatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked []string
		expiresMidway(w, &asked)
		first := w.rows
		w.rows = func(a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
			if len(bots) == 2 {
				return bitrix.BatchAnswer{}, &bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeReset}
			}
			return first(a, bots)
		}
		p := w.portal()
		ans, err := w.caller().RegisterBatch(t.Context(), &p, bots(3))
		if err != nil || ans.Rows[0].Err != nil {
			t.Fatal(err)
		}
		_ = mustBe(t, ans.Rows[1].Err, bitrix.Ambiguous, bitrix.CodeReset)
		_ = mustBe(t, ans.Rows[2].Err, bitrix.Ambiguous, bitrix.CodeReset)
	})
}

func TestBatchRefusedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.portal()
		if _, err := w.caller().RegisterBatch(t.Context(), &p, bots(2)); err != nil || len(w.see().sent) != 2 {
			t.Errorf("%v, %d calls", err, len(w.see().sent))
		}
	})
}

// Commands may refer to each other: those refused are handed back, and the next
// call has the new token.
func TestCommandsAreHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.caller()
		p := w.portal()
		commands := []bitrix.Command{{Method: "ran"}, {Method: "refused"}}
		answers, _, err := c.Batch(t.Context(), &p, commands)
		if err != nil || answers[0].Err != nil {
			t.Fatal(err)
		}
		e := mustBe(t, answers[1].Err, bitrix.Transient, CodePending)
		if wait(e) != 0 || e.Method != "refused" {
			t.Errorf("waits %v, method %s", wait(e), e.Method)
		}
		if answers, _, err = c.Batch(t.Context(), &p, commands); err != nil || answers[1].Err != nil {
			t.Errorf("%v, %v", err, answers[1].Err)
		}
		w.change(func() { w.access, w.refresh = "other", "another" })
		answers, _, err = c.Batch(t.Context(), &p, commands)
		if err != nil {
			t.Fatal(err)
		}
		_ = mustBe(t, answers[1].Err, bitrix.Blocked, "invalid_grant")
	})
}
