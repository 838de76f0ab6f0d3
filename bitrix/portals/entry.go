// One portal as an operator or a service hands it in.

package portals

import (
	"fmt"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// Plans, as they decide a portal's default limits.
const (
	Standard   = "standard"
	Enterprise = "enterprise"
)

// DefaultServerTimeout is how long a cloud portal works on one request before
// it is cut off: 60 s, public REST documentation.
const DefaultServerTimeout = time.Minute

// Entry is a portal to be stored. [Read] makes them of a file; a service fills
// them itself, with Limits from [PlanLimits] and what it knows better.
type Entry struct {
	File string // where it came from, for messages; may be empty
	Line int    // 0 when it came from no file

	Name     string // host, or host:port; that of Access
	MemberID string // optional
	ClientID string // optional, for webhooks: the CLIENT_ID for registrations that give none
	Plan     string // Standard or Enterprise
	Limits   ratelimit.Limits
	// ServerTimeout is how long the portal may work on one request.
	ServerTimeout time.Duration
	Access        bitrix.Access
	RefreshToken  Secret // optional, for OAuth
}

// PlanLimits are the limits of a plan: 2 requests/s and 50 at once on standard
// plans, 5 and 250 on Enterprise, 480 s of work per 600 s: public REST limits
// page. An unknown plan counts as standard.
func PlanLimits(plan string) ratelimit.Limits {
	l := ratelimit.Limits{Rate: 2, Burst: 50, Operating: 480 * time.Second, OperatingWindow: 600 * time.Second}
	if plan == Enterprise {
		l.Rate, l.Burst = 5, 250
	}
	return l
}

// Ranges of what may be given. Generous: a test shortens all periods, and a
// self-hosted portal sets its own limits.
const (
	minRate, maxRate       = 0.01, 10_000 // below, a single wait is minutes
	maxBurst               = 1_000_000
	minWindow, maxWindow   = time.Second, 24 * time.Hour
	minTimeout, maxTimeout = 100 * time.Millisecond, time.Hour
	minOperating           = 10 * time.Millisecond
	// mostAtOnce is how many requests may be on their way to one portal at most:
	// the largest PORTAL_PARALLEL.
	mostAtOnce = 64
	maxText    = 200 // bytes of a CLIENT_ID or member_id
)

// fieldProblem is a problem of an entry, not yet placed in a file.
type fieldProblem struct{ field, text string }

// problems finds all that is wrong with an entry.
func (e *Entry) problems() []fieldProblem {
	var all []fieldProblem
	add := func(field, text string) {
		if text != "" {
			all = append(all, fieldProblem{field, text})
		}
	}
	if text := nameProblem(e.Name); text != "" {
		add("portal", text)
	} else {
		add(accessProblem(e))
	}
	add("plan", planProblem(e.Plan))
	add("client_id", textProblem(e.ClientID))
	add("member_id", textProblem(e.MemberID))
	if e.ClientID != "" && !e.Access.IsZero() && !e.Access.Webhook() {
		add("client_id", "is for webhooks; an OAuth application is known by its token")
	}
	return append(all, limitProblems(e.Limits, e.ServerTimeout)...)
}

// accessProblem says what is wrong with the credentials of a well-named portal.
func accessProblem(e *Entry) (field, text string) {
	field = "client_endpoint"
	if e.Access.Webhook() {
		field = "webhook"
	}
	switch host := e.Access.Host(); {
	case e.Access.IsZero():
		return "webhook", missingAccess
	case host != e.Name && !isDefaultPort(e.Access, e.Name):
		return field, fmt.Sprintf("is not on the portal %s but on %s", e.Name, showHost(host))
	case e.Access.Webhook() && e.RefreshToken.Reveal() != "":
		return "refresh_token", "is given beside a webhook; give one of the two"
	}
	return "", ""
}

const missingAccess = "is missing; give the webhook's URL, or access_token and refresh_token"

// isDefaultPort says whether name is the access's host with the port that its
// scheme has anyway.
func isDefaultPort(a bitrix.Access, name string) bool {
	return a.Scheme() == "https" && name == a.Host()+":443" || a.Scheme() == "http" && name == a.Host()+":80"
}

func showHost(host string) string {
	if nameProblem(host) != "" || !strings.Contains(host, ".") {
		return "another host"
	}
	return host
}

func planProblem(plan string) string {
	if plan == Standard || plan == Enterprise {
		return ""
	}
	return fmt.Sprintf("%s is not one of standard, enterprise", show(plan))
}

func textProblem(s string) string {
	if len(s) > maxText {
		return fmt.Sprintf("is longer than %d bytes", maxText)
	}
	if strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return "holds a space, a control character or a letter outside ASCII"
	}
	return ""
}

// limitProblems checks numbers against their ranges and each other. Every
// comparison is written so that NaN fails it.
func limitProblems(l ratelimit.Limits, timeout time.Duration) (all []fieldProblem) {
	add := func(ok bool, field, text string) {
		if !ok {
			all = append(all, fieldProblem{field, text})
		}
	}
	add(l.Rate >= minRate && l.Rate <= maxRate, "rate", rangeRate)
	add(l.Burst >= 1 && l.Burst <= maxBurst, "burst", rangeBurst)
	add(l.Headroom >= 0 && l.Headroom < 1, "headroom", rangeHeadroom)
	add(l.Operating == 0 || l.Operating >= minOperating && l.Operating <= maxWindow, "operating_limit", rangeOperating)
	add(l.OperatingWindow >= minWindow && l.OperatingWindow <= maxWindow, "operating_window", rangeWindow)
	add(timeout >= minTimeout && timeout <= maxTimeout, "server_timeout", rangeTimeout)
	if len(all) > 0 {
		return all // what follows compares numbers that make sense by themselves
	}
	add(float64(l.Burst)*(1-l.Headroom) >= 1, "headroom",
		fmt.Sprintf("%v of a burst of %d leaves no whole request: lower the one or raise the other", l.Headroom, l.Burst))
	add(l.Rate*(1-l.Headroom) >= minRate, "headroom",
		fmt.Sprintf("%v of %v requests a second leaves fewer than %v: lower the one or raise the other", l.Headroom, l.Rate, minRate))
	add(l.Operating <= mostAtOnce*l.OperatingWindow, "operating_limit",
		fmt.Sprintf("of %v cannot be used up in operating_window of %v, not by %d requests at once: give both, or 0 for a portal that counts none",
			l.Operating, l.OperatingWindow, mostAtOnce))
	return all
}

// The ranges in words.
const (
	rangeRate      = "must be a number of requests a second from 0.01 to 10000"
	rangeBurst     = "must be a whole number of requests from 1 to 1000000"
	rangeHeadroom  = "must be a share from 0 to below 1"
	rangeOperating = "must be 0 (the portal counts none) or a number of seconds from 0.01 to 86400"
	rangeWindow    = "must be a number of seconds from 1 to 86400"
	rangeTimeout   = "must be a number of seconds from 0.1 to 3600"
)
