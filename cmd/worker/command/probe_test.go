// What the health command asks, and what it says.

package command

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("/readyz", func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(rw, "Redis does not answer\nmore of it")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	addr := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	elsewhere := httptest.NewServer(http.RedirectHandler(server.URL+"/healthz", http.StatusFound))
	defer elsewhere.Close()
	gone := httptest.NewServer(mux)
	gone.Close()
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		code    int
		says    string
	}{
		{"alive", []string{"--live"}, []string{"HTTP_ADDR=" + addr}, 0, "ok\n"},
		{"alive, all addresses", []string{"--live"}, []string{"HTTP_ADDR=0.0.0.0:" + port}, 0, "ok\n"},
		{"alive, no host", []string{"--live"}, []string{"HTTP_ADDR=:" + port}, 0, "ok\n"},
		{"a flag", []string{"--live", "--http-addr", addr}, []string{"HTTP_ADDR=127.0.0.1:1"}, 0, "ok\n"},
		{"a redirect is not followed", []string{"--live"}, []string{"HTTP_ADDR=" + elsewhere.Listener.Addr().String()}, 1, "worker: HTTP 302: "},
		{"other settings are bad", []string{"--live"}, []string{"HTTP_ADDR=" + addr, "CONCURRENCY=many", "REDIS_URL=htp:"}, 0, "ok\n"},
		{"cannot work", nil, []string{"HTTP_ADDR=" + addr}, 1, "worker: HTTP 503: Redis does not answer\n"},
		{"nobody there", nil, []string{"HTTP_ADDR=" + gone.Listener.Addr().String()}, 1, "worker: no answer: "},
		{"no address", nil, []string{"HTTP_ADDR=8080"}, 1, "worker: HTTP_ADDR: "},
		{"no port", nil, []string{"HTTP_ADDR=127.0.0.1:0"}, 1, "worker: HTTP_ADDR: its port"},
		{"an argument too many", []string{"now"}, []string{"HTTP_ADDR=" + addr}, 1, "worker: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Options{}.run(append([]string{"health"}, c.args...), c.environ, nil, &out, &errs)
			said := out.String() + errs.String()
			if code != c.code || !strings.HasPrefix(said, c.says) || strings.Count(said, "\n") != 1 {
				t.Errorf("exit status %d, says %q; want %d, %q", code, said, c.code, c.says)
			}
		})
	}
}

// Go asks no proxy for loopback addresses, but a worker may have another one.
func TestNoProxyIsAsked(t *testing.T) {
	if transport, ok := probeClient().Transport.(*http.Transport); !ok || transport.Proxy != nil {
		t.Error("the environment's proxy would be asked in the worker's place")
	}
}

func TestWhereAWorkerIsAsked(t *testing.T) {
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "[::1]:8080",
		"127.0.0.1:1": "127.0.0.1:1", "10.0.0.5:80": "10.0.0.5:80", "worker:8080": "worker:8080",
	} {
		if got, err := askable(addr); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", addr, got, err, want)
		}
	}
}
