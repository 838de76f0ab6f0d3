// The pages that a worker serves.

package e2e

import (
	"io"
	"net/http"
	"regexp"
	"testing"
)

// page gets a page of a worker.
func page(t *testing.T, w *process, path string) string {
	t.Helper()
	found := regexp.MustCompile(`http=(\S+)`).FindStringSubmatch(w.stderr.String())
	if found == nil {
		t.Fatal("the worker does not say where it serves")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+found[1]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
