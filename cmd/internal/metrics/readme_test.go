// The README tells of every metric.

package metrics

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// table is the README's table of metrics.
func table() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range definitions() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, kindOf(d), strings.Join(d.labels, ", "), d.help)
	}
	return b.String()
}

func kindOf(d definition) string {
	switch d.kind {
	case prometheus.CounterValue:
		return "counter"
	case prometheus.GaugeValue:
		return "gauge"
	default:
		return "histogram"
	}
}

func TestTheREADMETellsOfEveryMetric(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), table()) {
		t.Errorf("README.md needs this table:\n%s", table())
	}
	known := map[string]bool{}
	for _, d := range definitions() {
		known[d.name] = true
	}
	for _, name := range regexp.MustCompile("`((?:botfleet|asynq)_[a-z_]+)[`{]").FindAllStringSubmatch(string(readme), -1) {
		if !known[name[1]] {
			t.Errorf("README.md tells of %s, which there is not", name[1])
		}
	}
}

// TestDefinitionsAreWhatIsServed compares the table with a scrape.
func TestDefinitionsAreWhatIsServed(t *testing.T) {
	client := redistest.Client(t, redistest.Start(t).URL)
	if err := client.SAdd(t.Context(), "asynq:queues", "portals-0").Err(); err != nil {
		t.Fatal(err)
	}
	m := made(t, sources(client))
	m.Outcome(&runs.Outcome{Status: runs.StatusDead, Class: "transient"})
	scrape(t, m) // so that durations are known
	text := scrape(t, m)
	defined := map[string]bool{}
	for _, d := range definitions() {
		says(t, text, "# TYPE "+d.name+" "+kindOf(d), "# HELP "+d.name+" "+d.help)
		defined[d.name] = true
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if f[0] != "#" || f[1] != "TYPE" || strings.HasPrefix(f[2], "go_") || strings.HasPrefix(f[2], "process_") {
			continue
		}
		if !defined[f[2]] {
			t.Errorf("%s is served and not defined", f[2])
		}
	}
}
