// Runs what the image would run: its files alone, read-only, as its user.

package check

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestContents lists the image, and holds it to what it may hold.
func TestContents(t *testing.T) {
	root := builtImage(t)
	may := map[string]int64{ // most bytes
		"usr/local/bin/worker": 40 << 20, "usr/local/bin/enqueue": 24 << 20,
		"etc/ssl/certs/ca-certificates.crt": 1 << 20, "licenses/botfleet": 2 << 10,
	}
	var sum int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		path, _ = filepath.Rel(root, path)
		t.Logf("%10d  %v  /%s", info.Size(), info.Mode(), path)
		sum += info.Size()
		if info.Size() == 0 || info.Size() > may[path] {
			t.Errorf("/%s has %d bytes, at most %d are expected", path, info.Size(), may[path])
		}
		delete(may, path)
		checkSizeInReadme(t, path, info.Size())
		return nil
	})
	if err != nil || len(may) > 0 {
		t.Errorf("missing: %v, %v", may, err)
	}
	t.Logf("%10d  in all", sum)
	for _, folder := range []string{"tmp", "data"} {
		if info, err := os.Stat(filepath.Join(root, folder)); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("/%s: %v, %v", folder, info, err)
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(read(t, root, "etc/ssl/certs/ca-certificates.crt"))) {
		t.Error("no certificates of authorities")
	}
}

// checkSizeInReadme checks the size that the README gives a program, in whole MB: one more
// or less is no reason to change it.
func checkSizeInReadme(t *testing.T, path string, size int64) {
	t.Helper()
	if !strings.HasPrefix(path, "usr/local/bin/") {
		return
	}
	m := regexp.MustCompile("(?m)^\\| `/" + path + "` \\| (\\d+) MB \\|$").FindStringSubmatch(read(t, top, "README.md"))
	if m == nil {
		t.Errorf("README.md gives /%s no size in MB", path)
		return
	}
	if said, _ := strconv.ParseFloat(m[1], 64); math.Abs(said-float64(size)/1e6) > 1.5 {
		t.Errorf("README.md gives /%s %s MB; it has %d bytes", path, m[1], size)
	}
}

func TestVersion(t *testing.T) {
	for _, name := range []string{"worker", "enqueue"} {
		out, err := exec.Command(filepath.Join(builtImage(t), "usr/local/bin", name), "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), version) || !strings.Contains(string(out), revision[:12]) {
			t.Errorf("%s --version: %v: %s", name, err, out)
		}
	}
}

// inImage is a command as a container would run it: in the image's files, which it
// cannot change, with /tmp and /data of its own, as the image's user. It stays one
// process, so that a signal to it is a signal to the command.
func inImage(t *testing.T, data string, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	const script = `set -e
mount=$1; chroot=$2; root=$3; data=$4; shift 4
$mount --bind "$root" "$root"
$mount -o remount,bind,ro "$root"
$mount --bind "$data" "$root/data"
$mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec $chroot --userspec=65532:65532 "$root" "$@"`
	tool := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	line := []string{tool("unshare"), "--mount", "--", "/bin/sh", "-c", script, "sh", tool("mount"), tool("chroot"), builtImage(t), data}
	if os.Geteuid() != 0 { // only root may mount and change the user
		line = append([]string{tool("sudo"), "--non-interactive", "--preserve-env"}, line...)
	}
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append([]string{"PATH=/usr/local/bin"}, environ...)
	return cmd
}

// TestTheImageWorks registers one bot on a portal that speaks TLS, with a worker and
// commands that have nothing but the image.
func TestTheImageWorks(t *testing.T) {
	portal := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		result := `{}`
		if strings.Contains(r.URL.Path, "imbot.register") {
			result = `39`
		}
		_, _ = fmt.Fprintf(rw, `{"result":%s,"time":{"start":1,"finish":1.1,"duration":0.1,"processing":0.1,"operating":0.1,"operating_reset_at":0}}`, result)
	}))
	defer portal.Close()
	data := t.TempDir()
	for dir := data; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755) //nolint:gosec // the image's user is another one
	}
	host := portal.Listener.Addr().String()
	write(t, data, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: portal.Certificate().Raw})))
	write(t, data, "portals.csv", "portal,webhook,client_id\n"+host+",https://"+host+"/rest/1/secretsecret/,app\n")
	write(t, data, "bots.csv", "portal,CODE,NAME,EVENT_HANDLER\n"+host+",helper,Helper,https://bots.example.com/events\n")
	environ := []string{
		"REDIS_URL=" + startRedis(t), "SECRETS_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"HTTP_ADDR=" + freeAddr(t), "ALLOW_INSECURE_PORTALS=127.0.0.1", "SHUTDOWN_TIMEOUT=20s", "SSL_CERT_FILE=/data/ca.pem",
	}
	if out, err := inImage(t, data, environ, "worker", "health").CombinedOutput(); err == nil {
		t.Errorf("healthy before it runs: %s", out)
	}
	worker, said := inImage(t, data, environ, "worker"), &output{}
	worker.Stdout, worker.Stderr = said, said
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() })
	awaitHealth(t, data, environ, said)

	out, err := inImage(t, data, environ, "enqueue", "submit", "--wait", "--portals", "/data/portals.csv", "/data/bots.csv").CombinedOutput()
	if err != nil || !regexp.MustCompile(`"status":"registered","bot_id":39`).Match(out) {
		t.Errorf("submit: %v: %s\nthe worker: %s", err, out, said)
	}
	// Standard input is kept in /tmp meanwhile.
	check := inImage(t, data, environ, "enqueue", "check", "--input-format", "csv", "-")
	check.Stdin = strings.NewReader(read(t, data, "bots.csv"))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("check: %v: %s", err, out)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = worker.Process.Kill() })
	defer late.Stop()
	if err := worker.Wait(); err != nil {
		t.Errorf("stopped with %v: %s", err, said)
	}
}

// awaitHealth waits until the image's own health check says yes.
func awaitHealth(t *testing.T, data string, environ []string, said fmt.Stringer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := inImage(t, data, environ, "worker", "health").CombinedOutput()
		if err == nil && strings.TrimSpace(string(out)) == "ok" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never healthy: %v: %s\n%s", err, out, said)
		}
	}
}

// startRedis starts a redis-server of this test's own, and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	server := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return "redis://" + addr + "/0"
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("redis-server does not start")
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// output is what a process writes, readable while it does.
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
