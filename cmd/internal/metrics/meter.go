// What the worker counts as it happens.

package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"botfleet/bitrix"
	"botfleet/bitrix/portals/signin"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/onboard"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

var (
	_ dispatch.Meter = (*Metrics)(nil)
	_ tasks.Meter    = (*Metrics)(nil)
	_ signin.Meter   = (*Metrics)(nil)
	_ onboard.Meter  = (*Metrics)(nil)
	_ sweep.Meter    = (*Metrics)(nil)
)

// counts are the metrics that the worker keeps itself.
type counts struct {
	registered, dead, deferred, requests *prometheus.CounterVec
	renewals, moves, installs, mended    *prometheus.CounterVec
	duration, rows, wait, completion     *prometheus.HistogramVec
	codes                                *codes
}

// The labels that are known beforehand: their series are there from the start,
// at 0, so that the first event of a kind is seen as an increase.
var (
	methods  = []string{bitrix.MethodRegister, bitrix.MethodBatch, bitrix.MethodBotList, bitrix.MethodUpdate}
	outcomes = labels[ratelimit.Outcome]{
		ratelimit.Answered: "answered", ratelimit.RateRefused: "rate_refused", ratelimit.WorkRefused: "work_refused",
		ratelimit.NoAnswer: "no_answer", ratelimit.NotSent: "not_sent", ratelimit.BlockedByBX: "blocked",
	}
	reasons = labels[ratelimit.Reason]{
		ratelimit.Rate: "rate", ratelimit.InFlight: "in_flight", ratelimit.Budget: "operating", ratelimit.Silent: "silent",
		ratelimit.Refused: "refused", ratelimit.Marked: "sending", ratelimit.Held: "held", ratelimit.Egress: "egress",
		dispatch.ShuttingDown: "shutdown", dispatch.SignIn: "sign_in",
		tasks.Sealed: "sealed", tasks.RedisTrouble: "redis",
	}
	hows = labels[string]{
		runs.HowCreated: "created", runs.HowRecovered: "recovered", runs.HowUpdated: "updated", runs.HowSkipped: "skipped",
	}
	classes = labels[bitrix.Class]{
		bitrix.Validation: "validation", bitrix.Conflict: "conflict", bitrix.Limit: "limit", bitrix.Token: "token",
		bitrix.Blocked: "blocked", bitrix.Ambiguous: "ambiguous", bitrix.Transient: "transient",
		sweep.ClassOperator: "operator",
	}
)

// renewalOutcomes are those of a request to the authorization server.
var renewalOutcomes = []string{signin.Renewed, signin.Refused, signin.Lost, signin.PutOff}

// other is the label of what has none of its own.
const other = "other"

// labels are the values that a label has, by what they stand for.
type labels[K comparable] map[K]string

func (l labels[K]) of(k K) string {
	if s, ok := l[k]; ok {
		return s
	}
	return other
}

func newCounts() counts {
	c := counts{
		registered: newCounter(rowsRegistered), dead: newCounter(rowsDead),
		deferred: newCounter(rowsDeferred), requests: newCounter(requests),
		renewals: newCounter(renewals), moves: newCounter(moves), installs: newCounter(installs), mended: newCounter(mended),
		// A portal answers in a tenth of a second, or works for up to 60 s.
		duration: newHistogram(requestDuration, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60),
		// A batch carries at most 50.
		rows: newHistogram(requestRows, 1, 2, 5, 10, 20, 30, 40, 50),
		// Rows wait for some seconds at most; then they are handed back.
		wait:       newHistogram(rowWait, .001, .005, .02, .1, .5, 1, 2, 5, 10),
		completion: newHistogram(rowCompletion, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 4*3600, 24*3600),
		codes:      newCodes(),
	}
	c.wait.WithLabelValues()
	c.moves.WithLabelValues()
	for _, outcome := range renewalOutcomes {
		c.renewals.WithLabelValues(outcome)
	}
	for _, kind := range sweep.Kinds() {
		c.mended.WithLabelValues(kind)
	}
	for _, outcome := range onboard.Outcomes() {
		for _, event := range []string{onboard.InstallEvent, onboard.UninstallEvent, onboard.OtherEvent} {
			c.installs.WithLabelValues(event, outcomeLabel(outcome))
		}
	}
	c.completion.WithLabelValues()
	for _, how := range hows {
		c.registered.WithLabelValues(how)
	}
	for _, reason := range reasons {
		c.deferred.WithLabelValues(reason)
	}
	for _, method := range methods {
		c.duration.WithLabelValues(method)
		c.rows.WithLabelValues(method)
		for _, outcome := range outcomes {
			c.requests.WithLabelValues(method, outcome)
		}
	}
	return c
}

func (c *counts) all() []prometheus.Collector {
	return []prometheus.Collector{c.registered, c.dead, c.deferred, c.requests, c.renewals, c.moves, c.installs, c.mended, c.duration, c.rows, c.wait, c.completion}
}

// Request implements [dispatch.Meter].
func (m *Metrics) Request(method string, rows int, outcome ratelimit.Outcome, took time.Duration) {
	m.counts.requests.WithLabelValues(method, outcomes.of(outcome)).Inc()
	if outcome == ratelimit.NotSent {
		return // it carried nothing anywhere
	}
	m.counts.duration.WithLabelValues(method).Observe(took.Seconds())
	m.counts.rows.WithLabelValues(method).Observe(float64(rows))
}

// Waited implements [dispatch.Meter].
func (m *Metrics) Waited(d time.Duration) { m.counts.wait.WithLabelValues().Observe(d.Seconds()) }

// Deferred implements [dispatch.Meter] and [tasks.Meter].
func (m *Metrics) Deferred(why ratelimit.Reason, rows int) {
	m.counts.deferred.WithLabelValues(reasons.of(why)).Add(float64(rows))
}

// Refreshed implements [signin.Meter].
func (m *Metrics) Refreshed(outcome string) { m.counts.renewals.WithLabelValues(outcome).Inc() }

// Moved implements [signin.Meter].
func (m *Metrics) Moved() { m.counts.moves.WithLabelValues().Inc() }

// Event implements [onboard.Meter].
func (m *Metrics) Event(event, outcome string) {
	m.counts.installs.WithLabelValues(event, outcomeLabel(outcome)).Inc()
}

func outcomeLabel(outcome string) string { return strings.ReplaceAll(outcome, " ", "_") }

// Mended implements [sweep.Meter].
func (m *Metrics) Mended(kind string, n int) { m.counts.mended.WithLabelValues(kind).Add(float64(n)) }

// Outcome implements [tasks.Meter] and [sweep.Meter].
func (m *Metrics) Outcome(o *runs.Outcome) {
	switch o.Status {
	case runs.StatusRegistered:
		m.counts.registered.WithLabelValues(hows.of(o.How)).Inc()
	case runs.StatusDead:
		code := other
		if o.Error != nil {
			code = m.counts.codes.label(o.Error.Code)
		}
		m.counts.dead.WithLabelValues(classes.of(bitrix.Class(o.Class)), code).Inc()
	case runs.StatusRefused, runs.StatusDuplicate: // their own end: neither of both
	}
	if !o.QueuedAt.IsZero() {
		m.counts.completion.WithLabelValues().Observe(max(0, o.DoneAt.Sub(o.QueuedAt).Seconds())) // clocks differ
	}
}
