// The systemd unit, by systemd's own judgement.

package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const unit = "systemd/botfleet-worker.service"

func TestSystemdTakesTheUnit(t *testing.T) {
	// A copy that names a worker which is there: otherwise that it is not is all that is said.
	dir := t.TempDir()
	path := filepath.Join(dir, filepath.Base(unit))
	text := strings.Replace(read(t, deploy, unit), "/usr/local/bin/worker", filepath.Join(builtImage(t), "usr/local/bin/worker"), 1)
	write(t, dir, filepath.Base(unit), text)
	cmd := exec.Command("systemd-analyze", "verify", "--man=no", path)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
	m := regexp.MustCompile(`exposure level for \S+ ([\d.]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("systemd-analyze security: %v: %s", err, out)
	}
	t.Logf("exposure %s", m[1])
	if level, _ := strconv.ParseFloat(string(m[1]), 64); level > 1.5 {
		t.Errorf("an exposure of %v is too much:\n%s", level, out)
	}
}

func TestUnitFits(t *testing.T) {
	settings := envFile(t, false, deploy, "systemd/worker.env")
	shutdown := checkSettings(t, "worker.env", settings)
	text := read(t, deploy, unit)
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("no TimeoutStopSec")
	}
	seconds, _ := strconv.Atoi(m[1])
	checkGrace(t, unit, time.Duration(seconds)*time.Second, shutdown)
	hidden := envFile(t, false, deploy, "systemd/secrets.env")
	if url := hidden["REDIS_URL"]; strings.Contains(url, "@") {
		t.Error("secrets.env has a password")
	}
	delete(hidden, "REDIS_URL")
	checkSettings(t, "secrets.env", hidden)
	for _, name := range secrets {
		if regexp.MustCompile(`(?m)^Environment=.*` + name).MatchString(text) {
			t.Errorf("%s can be read by every user in the unit", name)
		}
	}
	for _, file := range regexp.MustCompile(`(?m)^EnvironmentFile=/etc/botfleet/(\S+)$`).FindAllStringSubmatch(text, -1) {
		read(t, deploy, "systemd", file[1])
	}
}
