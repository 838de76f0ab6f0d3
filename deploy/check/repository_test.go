// The repository that is checked, and what its worker says of itself.

package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// top is the repository, deploy the folder with what is checked.
const top, deploy = "../..", ".."

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// variables are the names that `worker --help` lists, with their defaults.
func variables(t *testing.T) map[string]string {
	t.Helper()
	help, err := exec.Command(filepath.Join(builtImage(t), "usr/local/bin/worker"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(help), "\nEnvironment")
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  ([A-Z][A-Z_]+) +(\S+)`).FindAllStringSubmatch(table, -1) {
		names[m[1]] = m[2]
	}
	if len(names) < 20 {
		t.Fatalf("worker --help lists %d variables:\n%s", len(names), help)
	}
	return names
}

// secrets are the variables that no file of the repository may give a value.
var secrets = []string{"REDIS_URL", "SECRETS_KEY", "DASHBOARD_PASSWORD", "BITRIX_CLIENT_SECRET"}

// checkSettings checks variables that a manifest sets: the worker knows them, and
// none is a secret with a value. It returns the time that a stop may take.
func checkSettings(t *testing.T, where string, set map[string]string) time.Duration {
	t.Helper()
	known := variables(t)
	for name, value := range set {
		if _, ok := known[name]; !ok {
			t.Errorf("%s sets %s, which no worker knows", where, name)
		}
		if slices.Contains(secrets, name) && value != "" {
			t.Errorf("%s has a value for %s", where, name)
		}
	}
	shutdown := set["SHUTDOWN_TIMEOUT"]
	if shutdown == "" {
		shutdown = known["SHUTDOWN_TIMEOUT"]
	}
	d, err := time.ParseDuration(shutdown)
	if err != nil {
		t.Errorf("%s: SHUTDOWN_TIMEOUT: %v", where, err)
	}
	return d
}

// checkGrace checks that whoever stops a worker waits longer than it takes.
func checkGrace(t *testing.T, where string, grace, shutdown time.Duration) {
	t.Helper()
	if grace < shutdown+5*time.Second || grace > 4*shutdown {
		t.Errorf("%s: a worker that may take %v to stop is killed after %v", where, shutdown, grace)
	}
}

// envFile reads the lines NAME=value or NAME='value' of a file; with commented, also those that a # switches off.
func envFile(t *testing.T, commented bool, path ...string) map[string]string {
	t.Helper()
	set := map[string]string{}
	for line := range strings.Lines(read(t, path...)) {
		if commented {
			line = strings.TrimPrefix(line, "#")
		}
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && regexp.MustCompile(`^[A-Z_]+$`).MatchString(name) {
			set[name] = strings.Trim(value, "'")
		}
	}
	return set
}

// pinned reports whether an image is named by an exact version: three numbers, or a digest.
func pinned(image string) bool {
	return regexp.MustCompile(`^[a-z0-9./-]+(:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?|@sha256:[0-9a-f]{64})$`).MatchString(image)
}

// served are the paths that the worker answers to everybody.
func served(t *testing.T) []string {
	t.Helper()
	var paths []string
	files, err := filepath.Glob(filepath.Join(top, "cmd/worker/command/*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("no sources of the worker", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`"GET (/[a-z]+)"`).FindAllStringSubmatch(read(t, file), -1) {
			paths = append(paths, m[1])
		}
	}
	return paths
}
