// The pages of a worker that runs.

package command

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

func TestTheWorkersPages(t *testing.T) {
	server := redistest.Start(t)
	environ := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=5s"}
	signals := make(chan os.Signal, 1)
	var errs output
	ended := make(chan int, 1)
	go func() { ended <- Options{}.run(nil, environ, signals, &errs, &errs) }()
	errs.say(t, "worker started")
	base := "http://" + regexp.MustCompile(`http=(\S+)`).FindStringSubmatch(errs.String())[1]
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for path, lines := range map[string][]string{
		"/healthz": {"ok"},
		"/readyz":  {"ok"},
		"/metrics": {
			`botfleet_rows_registered_total{how="created"} 0`, `botfleet_gate_portals{state="open"} 0`,
			`botfleet_runs_unfinished 0`, `botfleet_redis_memory_max_bytes 0`,
			`botfleet_scrape_errors_total{collector="queues"} 0`,
		},
	} {
		page := get(t, client, base+path)
		for _, line := range lines {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("%s does not say %s", path, line)
			}
		}
	}
	signals <- syscall.SIGTERM
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit status %d: %s", code, errs.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not stop: %s", errs.String())
	}
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: HTTP %d, %v: %s", url, res.StatusCode, err, body)
	}
	return string(body)
}
