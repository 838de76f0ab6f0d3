// Verdicts, case by case.

package tasks

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"pgregory.net/rapid"

	"botfleet/bitrix"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

func TestVerdicts(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	failed := func(c bitrix.Class) dispatch.Result {
		return dispatch.Result{Err: &bitrix.Error{Class: c, Code: "SOME_CODE", Description: "text"}}
	}
	put := func(r ratelimit.Reason, h *ratelimit.Hold) dispatch.Result {
		return dispatch.Result{Deferred: &dispatch.Deferral{Until: now.Add(time.Minute), Reason: r, Hold: h}}
	}
	held := &ratelimit.Hold{Reason: "OVERLOAD_LIMIT: blocked", Since: now.Add(-2 * time.Hour)}
	silent := func(probes int) *ratelimit.Hold {
		return &ratelimit.Hold{Since: now.Add(-2 * time.Hour), Probes: probes}
	}
	for _, c := range []struct {
		name     string
		result   dispatch.Result
		attempts int
		holdTTL  time.Duration
		want     string
	}{
		{"registered", dispatch.Result{Registered: &dispatch.Registered{BotID: 39}}, 1, 0, "registered 39"},
		{"validation", failed(bitrix.Validation), 1, time.Hour, "dead validation SOME_CODE"},
		{"blocked, held", failed(bitrix.Blocked), 1, time.Hour, "later"},
		{"blocked, nobody to release it", failed(bitrix.Blocked), 1, 0, "dead blocked SOME_CODE"},
		{"token", failed(bitrix.Token), 1, 0, "dead blocked SOME_CODE"},
		{"transient, first", failed(bitrix.Transient), 1, 0, "attempt"},
		{"transient, last", failed(bitrix.Transient), 8, 0, "dead transient SOME_CODE"},
		{"ambiguous, first", failed(bitrix.Ambiguous), 7, 0, "attempt"},
		{"ambiguous, last", failed(bitrix.Ambiguous), 8, 0, "attempt"}, // a look follows
		{"ambiguous, after the last look", failed(bitrix.Ambiguous), 9, 0, "dead ambiguous SOME_CODE"},
		{"not found by the last look", dispatch.Result{Err: &bitrix.Error{Class: bitrix.Ambiguous, Code: dispatch.CodeAnswerLost}}, 8, 0, "dead ambiguous ANSWER_LOST"},
		{"rate", put(ratelimit.Rate, nil), 8, 0, "later"},
		{"mark", put(ratelimit.Marked, nil), 8, 0, "later"},
		{"held long", put(ratelimit.Held, held), 1, time.Hour, "dead blocked OVERLOAD_LIMIT"},
		{"held by a person", put(ratelimit.Held, &ratelimit.Hold{Reason: "customer asked us: to wait", Since: now}), 1, 0, "dead blocked PORTAL_HELD"},
		{"held, still time", put(ratelimit.Held, held), 1, 3 * time.Hour, "later"},
		{"silent, few probes", put(ratelimit.Silent, silent(7)), 1, time.Hour, "later"},
		{"silent, many probes", put(ratelimit.Silent, silent(8)), 1, time.Hour, "dead transient PORTAL_SILENT"},
		{"silent, still time", put(ratelimit.Silent, silent(80)), 1, 3 * time.Hour, "later"},
	} {
		v := Policy{MaxAttempts: 8, HoldTTL: c.holdTTL}.judge(c.result, c.attempts, now, 0.5)
		if got := describe(v); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if v.Dead != nil && v.Dead.Attempt != (c.result.Err != nil) {
			t.Errorf("%s: counted as an attempt: %t", c.name, v.Dead.Attempt)
		}
	}
}

func describe(v Verdict) string {
	switch {
	case v.Registered != nil:
		return fmt.Sprintf("registered %d", v.Registered.BotID)
	case v.Dead != nil:
		return "dead " + v.Dead.Class + " " + v.Dead.Error.Code
	case v.Later.Attempt:
		return "attempt"
	}
	return "later"
}

func TestBackoffDoublesWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1000).Draw(t, "attempts")
		d := backoff(n, rapid.Float64Range(0, 0.999999).Draw(t, "draw"))
		if d < firstRetry/2 || d > lastRetry {
			t.Fatalf("backoff(%d) = %s", n, d)
		}
		if n == 1 && d > firstRetry {
			t.Fatalf("the first wait is %s", d)
		}
	})
	if backoff(2, 0.999999) <= backoff(1, 0.999999) || backoff(30, 0.999999) < lastRetry-time.Second {
		t.Error("it does not grow")
	}
}

func TestAttemptsCountAndPostponementsDoNot(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{&Later{Attempt: true}, true},
		{&Later{}, false},
		{fmt.Errorf("wrapped: %w", &Later{}), false},
		{archive("dead"), true},
		{asynq.ErrLeaseExpired, true},
	} {
		if got := IsFailure(c.err); got != c.want {
			t.Errorf("IsFailure(%v) = %v", c.err, got)
		}
	}
	if !errors.Is(archive("x"), asynq.SkipRetry) {
		t.Error("a dead row would be retried")
	}
}

// asynq cuts due times to whole seconds. A task must never come early.
func TestRetryDelayEndsOnAWholeSecondNotBeforeItsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_800_000_000, rapid.Int64Range(0, 1e9-1).Draw(t, "now"))
		until := now.Add(time.Duration(rapid.Int64Range(-1e9, 3600e9).Draw(t, "wait")))
		d := RetryDelay(func() time.Time { return now })(0, &Later{Until: until}, nil)
		due := now.Add(d).Truncate(time.Second)
		if due.Before(until) && until.After(now) {
			t.Fatalf("due at %s, asked for %s", due, until)
		}
		if now.Add(d).After(until.Add(time.Second)) && d > 0 {
			t.Fatalf("due %s late", now.Add(d).Sub(until))
		}
	})
}

func TestReasonsAreInWords(t *testing.T) {
	for _, r := range []ratelimit.Reason{
		ratelimit.Rate, ratelimit.InFlight, ratelimit.Budget, ratelimit.Silent, ratelimit.Refused,
		ratelimit.Marked, ratelimit.Held, ratelimit.Egress, dispatch.ShuttingDown,
	} {
		if text := waitText(r); !strings.Contains(text, " ") {
			t.Errorf("%s: %q", r, text)
		}
	}
}
