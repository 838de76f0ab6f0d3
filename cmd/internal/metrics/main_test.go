// What the tests share.

package metrics

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"botfleet/cmd/internal/redisconn"
)

func TestMain(m *testing.M) {
	redisconn.LogTo(slog.New(slog.DiscardHandler)) // tests take the server away
	goleak.VerifyTestMain(m)
}

// made returns metrics that the test closes.
func made(t *testing.T, from Sources) *Metrics {
	t.Helper()
	m := New(Config{Version: "1.2.3"})
	t.Cleanup(m.Close)
	if err := m.Watch(from); err != nil {
		t.Fatal(err)
	}
	return m
}

// scrape returns what a Prometheus would get.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("HTTP %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// says fails the test unless the scrape holds all these lines.
func says(t *testing.T, scraped string, lines ...string) {
	t.Helper()
	have := map[string]bool{}
	for line := range strings.Lines(scraped) {
		have[strings.TrimSpace(line)] = true
	}
	for _, line := range lines {
		if !have[line] {
			name, _, _ := strings.Cut(line, "{")
			name, _, _ = strings.Cut(name, " ")
			t.Errorf("no line %q; of it there is:\n%s", line, family(scraped, name))
		}
	}
}

// family is what a scrape says of one metric.
func family(scraped, name string) string {
	var b strings.Builder
	for line := range strings.Lines(scraped) {
		if strings.HasPrefix(line, name) {
			b.WriteString(line)
		}
	}
	return b.String()
}
