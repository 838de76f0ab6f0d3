// What the log says of an authorization server that gives no tokens.

package signin

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
)

func TestTroubleOfTheServerIsToldOnceAndItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var log bytes.Buffer
		config := w.config()
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		c := w.callerOf(config)
		told := func(warnings, ends int) {
			t.Helper()
			const began, over = `level=WARN msg="the authorization server gives no tokens" code=invalid_client`, `level=INFO msg="the authorization server gives tokens again"`
			if b, o := strings.Count(log.String(), began), strings.Count(log.String(), over); b != warnings || o != ends {
				t.Errorf("told %d times, and %d times of its end; want %d and %d:\n%s", b, o, warnings, ends, &log)
			}
		}
		fails := func(context.Context, int) error { return authError(bitrix.Transient, "invalid_client") }
		w.before = fails
		for range 3 {
			_ = mustBe(t, register(c, w.portal()), bitrix.Transient, "invalid_client")
			elapse(30 * time.Second)
		}
		told(1, 0)
		if !strings.Contains(log.String(), "BITRIX_CLIENT_SECRET of every worker") {
			t.Errorf("not said what to do:\n%s", &log)
		}
		again := func(generation int64) {
			t.Helper()
			w.put(generation, "https://"+oldHost, "expired-again", "refresh-0")
			w.change(func() { w.refresh = "refresh-0" })
		}
		w.change(func() { w.before = nil })
		if err := register(c, w.portal()); err != nil {
			t.Fatal(err)
		}
		told(1, 1)
		again(20)
		w.change(func() { w.before = fails })
		_ = register(c, w.portal())
		told(2, 1)
		w.change(func() { w.before = nil })
		elapse(10 * time.Second)
		_ = register(c, w.portal())
		told(2, 2)
		again(30)
		w.change(func() { w.before = fails })
		_ = register(c, w.portal()) // within a minute of the last
		told(2, 2)
		elapse(time.Minute)
		_ = register(c, w.portal())
		told(3, 2)
	})
}
