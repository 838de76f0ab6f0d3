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

// The steps install what the runbook calls, and a Redis of any kind can be reached.
func TestUnitIsEnough(t *testing.T) {
	text := read(t, deploy, unit)
	for _, where := range []string{text, read(t, top, "README.md"), read(t, top, "README.ru.md")} {
		if !strings.Contains(where, "install -m 755 bin/worker bin/enqueue /usr/local/bin/") {
			t.Error("the steps do not install both programs")
		}
	}
	m := regexp.MustCompile(`(?m)^RestrictAddressFamilies=(.*)$`).FindStringSubmatch(text)
	if offered := strings.Contains(read(t, top, "README.md"), "`unix:///"); m == nil || strings.Contains(m[1], "AF_UNIX") != offered {
		t.Errorf("a Redis of unix:// is offered: %v; the unit may use %q", offered, m)
	}
}

// What systemd takes from the files is what a shell takes that reads them as the runbook
// says; one that is not quoted is not read at all.
func TestShellReadsWhatSystemdReads(t *testing.T) {
	const url, password = `rediss-sentinel://u:p%2Fw@s1,s2/mymaster?sentinel_username=watch&sentinel_password=x;y#`, "ab$cd;`ef` \"gh\\"
	_, block, _ := strings.Cut(read(t, deploy, "RUNBOOK.md"), "\n# systemd, as root")
	_, block, _ = strings.Cut(block, "\n")
	block, _, ok := strings.Cut(block, "\n# compose")
	if !ok || strings.Count(block, "/etc/botfleet/") != 3 {
		t.Fatalf("the runbook reads the files by %q", block)
	}
	for _, c := range []struct{ name, quote, want string }{
		{"quoted", "'", url + "\n" + password + "\n1024\n"},
		{"not quoted", "", "secrets.env\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			filled := read(t, deploy, "systemd/secrets.env")
			for name, value := range map[string]string{"REDIS_URL": url, "DASHBOARD_PASSWORD": password} {
				line := regexp.MustCompile(`(?m)^` + name + `=.*$`)
				filled = line.ReplaceAllLiteralString(filled, name+"="+c.quote+value+c.quote)
			}
			write(t, dir, "secrets.env", filled)
			write(t, dir, "worker.env", read(t, deploy, "systemd/worker.env"))
			script := `enqueue() { printf '%s\n' "$REDIS_URL" "$DASHBOARD_PASSWORD" "$CONCURRENCY"; }` + "\n" + block
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(script, "/etc/botfleet/", dir+"/"))
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			if got := strings.ReplaceAll(string(out), dir+"/", ""); err != nil || got != c.want {
				t.Errorf("%v: %q, want %q", err, got, c.want)
			}
		})
	}
}
