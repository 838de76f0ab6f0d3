// Verdicts: what follows from how a registration ended.

package tasks

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// Policy says how long and how often a row is tried.
type Policy struct {
	// MaxAttempts is how many calls a row may cost before it is dead. Waiting
	// for a limit is no attempt.
	MaxAttempts int
	// HoldTTL is how long rows wait for a held portal to be released before
	// they are dead. 0: not at all.
	HoldTTL time.Duration
}

// Verdict is what happens to a task. Exactly one of its fields is set.
type Verdict struct {
	Registered *dispatch.Registered
	Dead       *Dead
	Later      *Later
}

// Dead ends a row without a bot.
type Dead struct {
	Class string
	Error runs.Failure
	// Attempt is set when a call was made and failed.
	Attempt bool
	// BotID is that of a bot that stands in the way.
	BotID int64
}

// Later puts a task back into the queue.
type Later struct {
	Until  time.Time
	Reason string // for people
	// Attempt is set when a call was made and failed.
	Attempt bool
	// Early is set when the task may come up to a second early.
	Early bool
}

const (
	// firstRetry and lastRetry bound the wait between two attempts: 5 s
	// doubling to 15 min.
	firstRetry = 5 * time.Second
	lastRetry  = 15 * time.Minute
)

// signInPatience is the least that rows wait for a new token, where they wait for
// held portals for less: an authorization server that is restarted is no reason
// to give rows up.
const signInPatience = 10 * time.Minute

// judge turns a result into a verdict. attempts is how many calls the row has
// cost, this one included if it made one; draw is a random number in [0, 1).
func (p Policy) judge(r dispatch.Result, attempts int, now time.Time, draw float64) Verdict {
	switch {
	case r.Registered != nil:
		return Verdict{Registered: r.Registered}
	case r.Deferred != nil:
		return p.judgeDeferral(r.Deferred, now)
	}
	e := r.Err
	switch e.Class {
	case bitrix.Validation:
		return failed(string(e.Class), e.Code, e.Description)
	case bitrix.Conflict:
		v := failed(string(e.Class), e.Code, conflictText(e))
		v.Dead.BotID = e.BotID
		return v
	case bitrix.Blocked, bitrix.Token:
		if p.HoldTTL <= 0 {
			return failed(string(bitrix.Blocked), e.Code, e.Description)
		}
		return later(now.Add(firstRetry), fmt.Sprintf("portal held: %s: %s", e.Code, e.Description))
	default: // tried again
	}
	// The last lost answer is followed by one more round, which only looks.
	lastLook := attempts == p.MaxAttempts && e.Class == bitrix.Ambiguous && e.Code != dispatch.CodeAnswerLost
	if attempts >= p.MaxAttempts && !lastLook {
		return failed(string(e.Class), e.Code, fmt.Sprintf("%s (tried %d times)", e.Description, min(attempts, p.MaxAttempts)))
	}
	if lastLook {
		draw = 0 // soon
	}
	v := later(now.Add(backoff(attempts, draw)), fmt.Sprintf("attempt %d: %s: %s", attempts, e.Code, e.Description))
	v.Later.Attempt = true
	return v
}

// conflictText says whose bot it is that stands in the way.
func conflictText(e *bitrix.Error) string {
	if e.Code == CodeBotExists {
		return e.Description
	}
	return fmt.Sprintf("the bot with this CODE belongs to another application (BOT_ID %d), and was not changed: choose another CODE, or have that application remove it: %s", e.BotID, e.Description)
}

// judgeDeferral ends the wait of rows whose portal nobody has released, or
// that has not answered, for too long.
func (p Policy) judgeDeferral(d *dispatch.Deferral, now time.Time) Verdict {
	h := d.Hold
	if h == nil {
		v := later(d.Until, "waits for "+waitText(d.Reason))
		v.Later.Early = d.Early
		return v
	}
	over := now.Sub(h.Since) >= p.HoldTTL
	switch {
	case d.Reason == dispatch.SignIn && now.Sub(h.Since) >= max(p.HoldTTL, signInPatience):
		code, text := holdCode(h.Reason)
		return dead(string(bitrix.Blocked), code, text)
	case d.Reason == dispatch.SignIn:
		return later(d.Until, "waits for a new token: "+h.Reason)
	case d.Reason == ratelimit.Held && over:
		code, text := holdCode(h.Reason)
		return dead(string(bitrix.Blocked), code, text)
	case d.Reason == ratelimit.Silent && over && h.Probes >= p.MaxAttempts:
		return dead(string(bitrix.Transient), "PORTAL_SILENT",
			fmt.Sprintf("the portal has not answered since %s (%d probes)", h.Since.UTC().Format(time.RFC3339), h.Probes))
	case d.Reason == ratelimit.Held:
		return later(d.Until, "portal held: "+h.Reason)
	}
	return later(d.Until, "waits for "+waitText(d.Reason))
}

// holdCode is the portal's own code that a hold began with, if it did.
func holdCode(reason string) (code, text string) {
	code, text, ok := strings.Cut(reason, ": ")
	if !ok || strings.ContainsAny(code, " \t") {
		return "PORTAL_HELD", reason
	}
	return code, text
}

// waitText says in words what a row waits for.
func waitText(r ratelimit.Reason) string {
	switch r {
	case ratelimit.Rate:
		return "the portal's request rate"
	case ratelimit.InFlight:
		return "its turn on the portal"
	case ratelimit.Budget:
		return "the portal's operating time"
	case ratelimit.Silent:
		return "the portal to answer again"
	case ratelimit.Refused:
		return "the portal, which refused for its limits"
	case ratelimit.Marked:
		return "the end of an earlier call that may still be at work"
	case ratelimit.Held:
		return "the portal's release"
	case ratelimit.Egress:
		return "this process's own request rate"
	case dispatch.ShuttingDown:
		return "another worker, as this one was stopped"
	default:
		return string(r)
	}
}

// failed is dead by a call that was made.
func failed(class, code, description string) Verdict {
	v := dead(class, code, description)
	v.Dead.Attempt = true
	return v
}

// dead is the end of a row that no call was made for now.
func dead(class, code, description string) Verdict {
	return Verdict{Dead: &Dead{Class: class, Error: runs.Failure{Code: code, Description: description}}}
}

func later(until time.Time, reason string) Verdict {
	return Verdict{Later: &Later{Until: until, Reason: reason}}
}

// backoff is the wait after the given number of attempts: full jitter between
// firstRetry and a bound that doubles from it to lastRetry.
func backoff(attempts int, draw float64) time.Duration {
	bound := lastRetry
	if n := attempts - 1; n < 16 {
		bound = min(firstRetry<<max(n, 0), lastRetry)
	}
	return firstRetry/2 + time.Duration(draw*float64(bound-firstRetry/2))
}

func draw() float64 { return rand.Float64() } //nolint:gosec // jitter needs no secrecy
