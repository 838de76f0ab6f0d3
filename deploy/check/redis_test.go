// The Redis servers of the deployments: their configurations, run.

package check

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// checkRedisService checks the Redis of the compose file, and runs its command.
func checkRedisService(t *testing.T, p *types.Project) {
	t.Helper()
	r := p.Services["redis"]
	if len(r.Ports) > 0 || len(r.Networks) != 1 || !p.Networks["store"].Internal {
		t.Error("Redis can be reached by others than its users")
	}
	if len(r.Entrypoint) > 0 || len(r.Command) != 3 || !slices.Equal(r.Command[:2], []string{"sh", "-c"}) {
		t.Fatalf("Redis is started by %q %q", r.Entrypoint, r.Command)
	}
	script := r.Command[2]
	for _, line := range []string{"appendonly yes\n", "maxmemory-policy noeviction\n", "maxmemory 1gb\n"} {
		if !strings.Contains(script, line) {
			t.Errorf("Redis is not told %q", line)
		}
	}
	runRedisService(t, script, *r.Environment["REDISCLI_AUTH"])
}

// runRedisService runs the command of the compose file's Redis: it wants the password,
// and is the process that a stop reaches.
func runRedisService(t *testing.T, script, password string) {
	t.Helper()
	_, port, _ := strings.Cut(freeAddr(t), ":")
	script = strings.ReplaceAll(script, "dir /data", "dir "+t.TempDir())
	script = strings.Replace(script, "bind * -::*", "bind 127.0.0.1\nport "+port, 1)
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
	said, done := awaitRedis(t, cmd)
	if title := read(t, "/proc", strconv.Itoa(cmd.Process.Pid), "cmdline"); !strings.HasPrefix(title, "redis-server") {
		t.Errorf("what a stop reaches is %q, and not Redis", title)
	}
	for auth, want := range map[string]string{password: "PONG", "": "NOAUTH"} {
		ping := exec.Command("redis-cli", "-p", port, "ping")
		ping.Env = append(os.Environ(), "REDISCLI_AUTH="+auth)
		if out, err := ping.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("redis-cli ping: %s, %v; want %s", out, err, want)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
	}
	if !strings.Contains(said.String(), "ready to exit") {
		t.Errorf("Redis does not stop by itself: %s", said)
	}
}

// checkRedisConfig starts a redis-server with a configuration, in a folder and on a port of this test's own.
func checkRedisConfig(t *testing.T, config string) {
	t.Helper()
	_, port, _ := strings.Cut(freeAddr(t), ":")
	cmd := exec.Command("redis-server", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(config, "dir /data", "dir "+t.TempDir()) + "\nbind 127.0.0.1\nport " + port + "\n")
	awaitRedis(t, cmd)
}

// awaitRedis starts a Redis and waits until it is ready. What it says is in the first
// result, and the second is closed when it has ended, as it has with the test.
func awaitRedis(t *testing.T, cmd *exec.Cmd) (*output, <-chan struct{}) {
	t.Helper()
	said, done := &output{}, make(chan struct{})
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end whatever the command has started
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(done); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); <-done })
	deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(said.String(), "eady to accept connections") {
		select {
		case <-tick.C:
		case <-done:
			t.Fatalf("redis-server refuses its configuration: %s", said)
		case <-deadline:
			t.Fatalf("redis-server does not start: %s", said)
		}
	}
	return said, done
}
