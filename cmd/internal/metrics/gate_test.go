// What the portals' states are summed to.

package metrics

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"botfleet/ratelimit"
)

func valueOf(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	return testutil.ToFloat64(c)
}

func TestTheGateIsSummedUp(t *testing.T) {
	left := func(share float64) ratelimit.BudgetSnapshot {
		return ratelimit.BudgetSnapshot{Limit: 480 * time.Second, Operating: time.Duration((1 - share) * float64(480*time.Second))}
	}
	closed := left(0.9)
	closed.ClosedUntil = time.Now().Add(time.Hour)
	reserved := left(0.3)
	reserved.Reserved = 60 * time.Second // an eighth
	m := made(t, Sources{Gate: gateFunc(func(context.Context) ([]ratelimit.Snapshot, error) {
		return []ratelimit.Snapshot{
			{Portal: "one", InFlight: 3, Tokens: 10.5, Rate: 2, Planned: 2, Waiting: 100, Budgets: []ratelimit.BudgetSnapshot{left(1), left(0.02), left(-3), closed, {}}},
			{Portal: "two", InFlight: 1, Tokens: 0.5, Rate: 1.4, Planned: 2, Budgets: []ratelimit.BudgetSnapshot{left(0.1), left(0.11), reserved, left(0.6), left(1.5)}},
			{Portal: "three", Closed: ratelimit.Held, Rate: 1, Planned: 2},
			{Portal: "four", Closed: ratelimit.Silent, Rate: 5, Planned: 5},
			{Portal: "five", Closed: "something new", Rate: 5, Planned: 5},
		}, nil
	})})
	text := scrape(t, m)
	says(t, text,
		`botfleet_gate_portals{state="open"} 2`, `botfleet_gate_portals{state="held"} 1`, `botfleet_gate_portals{state="silent"} 1`,
		`botfleet_gate_portals{state="refused"} 0`, `botfleet_gate_portals{state="other"} 1`,
		`botfleet_gate_portals_slowed 2`, `botfleet_gate_lowest_rate_ratio 0.5`, `botfleet_gate_portals_without_tokens 1`,
		`botfleet_gate_tokens 11`, `botfleet_gate_requests_in_flight 4`, `botfleet_gate_rows_in_line 100`,
		`botfleet_gate_operating_budgets{left="spent"} 3`, `botfleet_gate_operating_budgets{left="10"} 1`,
		`botfleet_gate_operating_budgets{left="25"} 2`, `botfleet_gate_operating_budgets{left="50"} 0`,
		`botfleet_gate_operating_budgets{left="75"} 1`, `botfleet_gate_operating_budgets{left="100"} 2`,
	)
}

// TestSeriesAreBounded gives the gate many portals.
func TestSeriesAreBounded(t *testing.T) {
	series := func(portals int) int {
		m := made(t, Sources{Gate: gateFunc(func(context.Context) ([]ratelimit.Snapshot, error) {
			all := make([]ratelimit.Snapshot, portals)
			for i := range all {
				all[i] = ratelimit.Snapshot{Portal: fmt.Sprint("portal", i), Rate: 2, Planned: 2, Budgets: []ratelimit.BudgetSnapshot{{Limit: time.Minute}}}
			}
			return all, nil
		})})
		return strings.Count(scrape(t, m), "\nbotfleet_")
	}
	if few, many := series(1), series(5000); few != many {
		t.Errorf("%d series with 1 portal, %d with 5000", few, many)
	}
}
