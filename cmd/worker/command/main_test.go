// Signals that come before the worker works.

package command

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// output is what a worker writes, readable while it does.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// say waits until the output says text, for at most 20 s.
func (o *output) say(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(o.String(), text) {
		select {
		case <-deadline:
			t.Fatalf("it never said %q:\n%s", text, o)
		case <-tick.C:
		}
	}
}

// TestSignalsDuringTheStart gives the worker a dead one's claim to wait out, or
// not, and signals from the first moment on.
func TestSignalsDuringTheStart(t *testing.T) {
	for _, c := range []struct {
		name    string
		claimed bool
		early   []os.Signal
		then    os.Signal // once it works
	}{
		{"stopped while it waits for a dead worker", true, []os.Signal{syscall.SIGTERM}, nil},
		{"stopped at once", false, []os.Signal{syscall.SIGTERM}, nil},
		{"paused before it works, then stopped", false, []os.Signal{syscall.SIGTSTP}, syscall.SIGTERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := redistest.Start(t)
			if c.claimed {
				rdb := redistest.Client(t, server.URL)
				if err := rdb.Set(t.Context(), "botfleet:worker", "dead|1", time.Hour).Err(); err != nil {
					t.Fatal(err)
				}
			}
			environ := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=5s"}
			signals := make(chan os.Signal, 4)
			for _, s := range c.early {
				signals <- s
			}
			var errs output
			ended := make(chan int, 1)
			go func() { ended <- Options{}.run([]string{}, environ, signals, &errs, &errs) }()
			if c.then != nil {
				errs.say(t, "worker takes no")
				errs.say(t, "worker started")
				signals <- c.then
			}
			select {
			case code := <-ended:
				if code != 0 {
					t.Errorf("exit status %d: %s", code, errs.String())
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("it does not stop: %s", errs.String())
			}
		})
	}
}
