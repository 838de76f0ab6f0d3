// The dashboard and the alerts ask for metrics that there are.

package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	nameInQuery   = regexp.MustCompile(`\b(botfleet|asynq|go|process)_[a-z0-9_]+`)
	selectorIn    = regexp.MustCompile(`\b((?:botfleet|asynq)_[a-z0-9_]+)\{([^}]*)\}`)
	labelIn       = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	groupingIn    = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	placeholderIn = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

// served are the labels of every series by its name: those of histograms too,
// and a few of Go's and the process's own.
func served() map[string][]string {
	all := map[string][]string{
		"go_goroutines": nil, "process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil,
		"process_open_fds": nil, "process_start_time_seconds": nil,
	}
	for _, d := range definitions() {
		if d.kind != prometheus.UntypedValue {
			all[d.name] = d.labels
			continue
		}
		all[d.name+"_sum"], all[d.name+"_count"] = d.labels, d.labels
		all[d.name+"_bucket"] = append(slices.Clone(d.labels), "le")
	}
	return all
}

// everywhere are the labels that Prometheus gives a series itself.
var everywhere = []string{"job", "instance"}

// checkQuery holds a query's metrics and labels to those that are served, and
// returns the labels that its answer may have.
func checkQuery(t *testing.T, where, query string) []string {
	t.Helper()
	known := served()
	var labels []string
	names := nameInQuery.FindAllString(query, -1)
	if len(names) == 0 && !strings.Contains(query, "up{") {
		t.Errorf("%s asks for no metric: %s", where, query)
	}
	for _, name := range names {
		if of, ok := known[name]; !ok {
			t.Errorf("%s: there is no metric %s", where, name)
		} else {
			labels = append(labels, of...)
		}
	}
	for _, s := range selectorIn.FindAllStringSubmatch(query, -1) {
		for _, l := range labelIn.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(known[s[1]], l[1]) && !slices.Contains(everywhere, l[1]) {
				t.Errorf("%s: %s has no label %s", where, s[1], l[1])
			}
		}
	}
	grouped := false
	var kept []string
	for _, g := range groupingIn.FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			l = strings.TrimSpace(l)
			if grouped = true; !slices.Contains(labels, l) && !slices.Contains(everywhere, l) {
				t.Errorf("%s: nothing in it has a label %s: %s", where, l, query)
			}
			kept = append(kept, l)
		}
	}
	if grouped {
		return kept
	}
	return append(labels, everywhere...)
}

func checkPlaceholders(t *testing.T, where, text string, labels []string) {
	t.Helper()
	for _, p := range placeholderIn.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(labels, p[1]) {
			t.Errorf("%s names {{%s}}, which its query does not keep", where, p[1])
		}
	}
}

type dashboardPanel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
	GridPos struct{ X, Y, W, H int } `json:"gridPos"`
}

func readDashboard(t *testing.T) []dashboardPanel {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/grafana/dashboards/botfleet.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID    string           `json:"uid"`
		Panels []dashboardPanel `json:"panels"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || len(d.Panels) == 0 {
		t.Fatal("no dashboard")
	}
	return d.Panels
}

func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	ids, titles, seen := map[int]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range readDashboard(t) {
		if ids[p.ID] || titles[p.Title] || p.Title == "" || p.ID == 0 {
			t.Errorf("panel %d %q is there twice, or without a name", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		if p.GridPos.W == 0 || p.GridPos.H == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q has no place: %+v", p.Title, p.GridPos)
		}
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no unit, or no query", p.Title)
		}
		for _, target := range p.Targets {
			labels := checkQuery(t, "panel "+p.Title, target.Expr)
			checkPlaceholders(t, "panel "+p.Title, target.LegendFormat, labels)
			if !strings.Contains(target.Expr, `job=~"$job"`) {
				t.Errorf("panel %q looks at every job: %s", p.Title, target.Expr)
			}
			for _, name := range nameInQuery.FindAllString(target.Expr, -1) {
				seen[strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count"), "_bucket")] = true
			}
		}
	}
	for _, d := range definitions() {
		if !seen[d.name] {
			t.Errorf("the dashboard does not show %s", d.name)
		}
	}
}

// TestSeriesThatBeginLateAreSeen looks at what is asked of the dead rows: a code's
// series begins with the first row that dies of it, perhaps of thousands at once,
// which increase() and rate() take for none.
func TestSeriesThatBeginLateAreSeen(t *testing.T) {
	const counter = "botfleet_rows_dead_total"
	n := 0
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, counter) {
				continue
			}
			n++
			if !regexp.MustCompile(counter + `\{[^}]*\} unless last_over_time\(` + counter).MatchString(target.Expr) {
				t.Errorf("panel %q does not see a series that begins: %s", p.Title, target.Expr)
			}
		}
	}
	if n == 0 {
		t.Error("no panel shows the dead rows")
	}
}

// TestTheAlertsAskForWhatThereIs reads the rules as text: promtool reads them
// as what they are.
func TestTheAlertsAskForWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.Split(string(text), "- alert: ")[1:]
	if len(rules) == 0 {
		t.Fatal("no rules")
	}
	for _, rule := range rules {
		name, rest, _ := strings.Cut(rule, "\n")
		_, rest, ok := strings.Cut(rest, "expr:")
		query, notes, ok2 := strings.Cut(rest, "labels: {severity: ")
		if !ok || !ok2 {
			t.Errorf("%s has no query, or no severity", name)
			continue
		}
		checkPlaceholders(t, name, notes, checkQuery(t, name, query))
		for _, part := range []string{"summary: ", "description: ", `runbook: "deploy/RUNBOOK.md#`} {
			if !strings.Contains(notes, part) {
				t.Errorf("%s says no %s", name, part)
			}
		}
	}
	tests, err := os.ReadFile("../../../deploy/prometheus/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := served()
	for _, s := range regexp.MustCompile(`series: '([a-z0-9_]+)\{([^}]*)\}'`).FindAllStringSubmatch(string(tests), -1) {
		for _, l := range labelIn.FindAllStringSubmatch(s[2], -1) {
			if of, ok := known[s[1]]; s[1] != "up" && (!ok || !slices.Contains(of, l[1]) && !slices.Contains(everywhere, l[1])) {
				t.Errorf("the stories have a series that there is not: %s", s[0])
			}
		}
	}
}
