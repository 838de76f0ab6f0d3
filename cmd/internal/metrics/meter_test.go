// What the worker counts itself.

package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/onboard"
	"botfleet/tasks/runs"
)

func TestWhatHappensIsCounted(t *testing.T) {
	m := made(t, Sources{})
	m.Request("imbot.register", 1, ratelimit.Answered, 300*time.Millisecond)
	m.Request("batch", 42, ratelimit.RateRefused, 20*time.Millisecond)
	m.Request("batch", 50, ratelimit.NotSent, 0)
	m.Request("batch", 50, "something new", time.Minute)
	m.Waited(1500 * time.Millisecond)
	m.Deferred(ratelimit.Budget, 7)
	m.Deferred(ratelimit.InFlight, 2)
	m.Deferred(dispatch.ShuttingDown, 1)
	m.Deferred(tasks.Sealed, 5)
	m.Deferred("something new", 3)
	says(t, scrape(t, m),
		`botfleet_build_info{version="1.2.3"} 1`,
		`botfleet_requests_total{method="imbot.register",outcome="answered"} 1`,
		`botfleet_requests_total{method="imbot.register",outcome="blocked"} 0`,
		`botfleet_requests_total{method="batch",outcome="rate_refused"} 1`,
		`botfleet_requests_total{method="batch",outcome="not_sent"} 1`,
		`botfleet_requests_total{method="batch",outcome="other"} 1`,
		`botfleet_request_duration_seconds_bucket{method="imbot.register",le="0.25"} 0`,
		`botfleet_request_duration_seconds_bucket{method="imbot.register",le="0.5"} 1`,
		`botfleet_request_rows_bucket{method="batch",le="40"} 0`,
		`botfleet_request_rows_bucket{method="batch",le="50"} 2`,
		`botfleet_request_rows_sum{method="batch"} 92`,
		`botfleet_row_wait_seconds_bucket{le="1"} 0`,
		`botfleet_row_wait_seconds_bucket{le="2"} 1`,
		`botfleet_rows_deferred_total{reason="operating"} 7`,
		`botfleet_rows_deferred_total{reason="in_flight"} 2`,
		`botfleet_rows_deferred_total{reason="shutdown"} 1`,
		`botfleet_rows_deferred_total{reason="sealed"} 5`,
		`botfleet_rows_deferred_total{reason="redis"} 0`,
		`botfleet_rows_deferred_total{reason="other"} 3`,
		`botfleet_rows_deferred_total{reason="held"} 0`,
	)
}

// TestInstallsAreThereFromTheStart has a series for whatever may come of an event,
// so that the first one is an increase.
func TestInstallsAreThereFromTheStart(t *testing.T) {
	m := made(t, Sources{})
	before := testutil.CollectAndCount(m.counts.installs)
	says(t, scrape(t, m), `botfleet_installs_total{event="install",outcome="refused"} 0`,
		`botfleet_installs_total{event="uninstall",outcome="put_off"} 0`, `botfleet_installs_total{event="other",outcome="malformed"} 0`)
	for _, outcome := range onboard.Outcomes() {
		m.Event(onboard.InstallEvent, outcome)
	}
	if after := testutil.CollectAndCount(m.counts.installs); after != before || after != 3*len(onboard.Outcomes()) {
		t.Errorf("%d series, and then %d", before, after)
	}
}

func TestOutcomesAreCounted(t *testing.T) {
	m := made(t, Sources{})
	queued := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration, o runs.Outcome) {
		o.QueuedAt, o.DoneAt = queued, queued.Add(d)
		m.Outcome(&o)
	}
	at(3*time.Second, runs.Outcome{Status: runs.StatusRegistered, How: runs.HowCreated})
	at(-time.Second, runs.Outcome{Status: runs.StatusRegistered, How: runs.HowSkipped}) // a clock that is behind
	at(2*time.Hour, runs.Outcome{Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "NAME_ERROR"}})
	at(time.Hour, runs.Outcome{Status: runs.StatusDead, Class: "blocked", Error: &runs.Failure{Code: "expired_token"}})
	at(time.Hour, runs.Outcome{Status: runs.StatusDead, Class: "something new", Error: &runs.Failure{Code: "a sentence, not a code"}})
	m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "transient"})
	m.Outcome(&runs.Outcome{Status: runs.StatusDuplicate}) // by the sweeper: neither of both
	says(t, scrape(t, m),
		`botfleet_rows_registered_total{how="created"} 1`,
		`botfleet_rows_registered_total{how="recovered"} 0`,
		`botfleet_rows_registered_total{how="skipped"} 1`,
		`botfleet_rows_dead_total{class="validation",code="NAME_ERROR"} 1`,
		`botfleet_rows_dead_total{class="blocked",code="EXPIRED_TOKEN"} 1`,
		`botfleet_rows_dead_total{class="other",code="other"} 1`,
		`botfleet_rows_dead_total{class="transient",code="other"} 1`,
		`botfleet_row_completion_seconds_bucket{le="0.1"} 1`,
		`botfleet_row_completion_seconds_bucket{le="5"} 2`,
		`botfleet_row_completion_seconds_bucket{le="3600"} 4`,
		`botfleet_row_completion_seconds_count 5`,
	)
}

// TestCodesAreBounded lets portals make up codes, from many goroutines.
func TestCodesAreBounded(t *testing.T) {
	m := made(t, Sources{})
	m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "CODE_ERROR"}})
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: fmt.Sprintf("MADE_UP_%d", i)}})
		})
	}
	all.Wait()
	m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "code_error"}})
	if n := testutil.CollectAndCount(m.counts.dead); n != mostCodes+1 {
		t.Errorf("%d series, want %d and other", n, mostCodes)
	}
	says(t, scrape(t, m), `botfleet_rows_dead_total{class="validation",code="CODE_ERROR"} 2`,
		fmt.Sprintf(`botfleet_rows_dead_total{class="validation",code="other"} %d`, 1000-(mostCodes-1)))
}

func TestCodesAreNoSentences(t *testing.T) {
	c := newCodes()
	for code, want := range map[string]string{
		"EVENT_MESSAGE_ADD_ERROR": "EVENT_MESSAGE_ADD_ERROR", "500": "500", "expired_token": "EXPIRED_TOKEN",
		"": other, "has space": other, "a/b?auth=secret": other, "ОШИБКА": other, "\xff": other, strings.Repeat("A", longestCode+1): other,
	} {
		if got := c.label(code); got != want {
			t.Errorf("%q: %q, want %q", code, got, want)
		}
	}
}

// BenchmarkRow is what a row costs.
func BenchmarkRow(b *testing.B) {
	m := New(Config{})
	defer m.Close()
	o := &runs.Outcome{Status: runs.StatusRegistered, How: runs.HowCreated, QueuedAt: time.Now(), DoneAt: time.Now()}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Request("imbot.register", 1, ratelimit.Answered, time.Millisecond)
			m.Waited(time.Millisecond)
			m.Outcome(o)
		}
	})
}
