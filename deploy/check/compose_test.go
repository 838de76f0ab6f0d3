// The compose file, as Docker Compose loads it.

package check

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// written is the .env that env.sh writes.
func written(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"env.sh", ".env.example"} {
		write(t, dir, name, read(t, deploy, name))
	}
	script := func() ([]byte, error) { return exec.Command("/bin/sh", filepath.Join(dir, "env.sh")).CombinedOutput() }
	if out, err := script(); err != nil {
		t.Fatalf("env.sh: %v: %s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, ".env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf(".env: %v, %v", info.Mode(), err)
	}
	first := read(t, dir, ".env")
	if out, err := script(); err == nil || read(t, dir, ".env") != first {
		t.Errorf("env.sh has overwritten a .env: %s", out)
	}
	return envFile(t, false, dir, ".env")
}

func load(t *testing.T, env map[string]string, profiles ...string) (*types.Project, error) {
	t.Helper()
	details := types.ConfigDetails{
		WorkingDir: deploy, Environment: env,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(deploy, "compose.yaml")}},
	}
	return loader.LoadWithContext(t.Context(), details, func(o *loader.Options) { o.Profiles = profiles })
}

func TestEnvScript(t *testing.T) {
	env := written(t)
	key, err := base64.StdEncoding.DecodeString(env["SECRETS_KEY"])
	if err != nil || len(key) != 32 {
		t.Errorf("SECRETS_KEY: %d bytes, %v", len(key), err)
	}
	for _, name := range []string{"REDIS_PASSWORD", "DASHBOARD_PASSWORD", "GRAFANA_PASSWORD"} {
		if !regexp.MustCompile(`^[0-9a-f]{24,}$`).MatchString(env[name]) {
			t.Errorf("%s is %q", name, env[name])
		}
	}
	if !regexp.MustCompile(`^[1-9]\d*:\d+$`).MatchString(env["RUN_AS"]) {
		t.Errorf("RUN_AS is %q", env["RUN_AS"])
	}
	for name := range envFile(t, false, deploy, ".env.example") {
		if _, ok := env[name]; !ok {
			t.Errorf("env.sh leaves out %s", name)
		}
	}
}

// Without the .env nothing starts, and what is missing is said.
func TestComposeNeedsItsSecrets(t *testing.T) {
	for _, name := range []string{"SECRETS_KEY", "REDIS_PASSWORD", "DASHBOARD_PASSWORD", "GRAFANA_PASSWORD"} {
		env := written(t)
		delete(env, name)
		if _, err := load(t, env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestCompose(t *testing.T) {
	env := written(t)
	p, err := load(t, env, "*")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range p.Services {
		if s.Build == nil && !pinned(s.Image) {
			t.Errorf("%s: %s is no exact version", name, s.Image)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s may do more than it needs", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s is open to the network on %s", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == "bind" && !strings.HasSuffix(v.Source, "/data") {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if !v.ReadOnly {
					t.Errorf("%s may change %s", name, v.Source)
				}
			}
		}
		checkFilesOf(t, p, s)
		for _, value := range slices.Concat(s.Command, s.Entrypoint) {
			for _, secret := range []string{"SECRETS_KEY", "REDIS_PASSWORD", "DASHBOARD_PASSWORD", "GRAFANA_PASSWORD"} {
				if strings.Contains(value, env[secret]) {
					t.Errorf("%s has %s on its command line", name, secret)
				}
			}
		}
		for needed := range s.DependsOn {
			if p.Services[needed].HealthCheck == nil {
				t.Errorf("%s waits for %s, which has no health check", name, needed)
			}
		}
	}
	checkWorkerService(t, p.Services["worker"])
	checkRedisService(t, p)
	if needed := p.Services["enqueue"].DependsOn; len(needed) > 0 {
		t.Errorf("a command starts %v, which somebody may have stopped on purpose", needed)
	}
	started, err := load(t, env)
	if err != nil {
		t.Fatal(err)
	}
	if got := started.ServiceNames(); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"grafana", "prometheus", "redis", "worker"}) {
		t.Errorf("starts %v", got)
	}
}

func checkWorkerService(t *testing.T, w types.ServiceConfig) {
	t.Helper()
	set := map[string]string{}
	for name, value := range w.Environment {
		set[name] = ""
		if value != nil && !slices.Contains(secrets, name) {
			set[name] = *value
		}
	}
	shutdown := checkSettings(t, "compose.yaml", set)
	if w.StopGracePeriod == nil {
		t.Fatal("the worker has no stop_grace_period")
	}
	checkGrace(t, "compose.yaml", time.Duration(*w.StopGracePeriod), shutdown)
	if set["HTTP_ADDR"] != "0.0.0.0:8080" || w.Ports[0].Target != 8080 || set["DASHBOARD_USER"] == "" {
		t.Errorf("it serves %s, and %d is published", set["HTTP_ADDR"], w.Ports[0].Target)
	}
	if !slices.Equal(w.HealthCheck.Test, types.HealthCheckTest{"CMD", "worker", "health"}) {
		t.Errorf("health by %q", w.HealthCheck.Test)
	}
	if w.DependsOn["redis"].Condition != "service_healthy" {
		t.Error("it does not wait for Redis")
	}
}

// Every setting that .env has reaches the workers and the commands, but for those that
// are none of theirs; and .env.example offers it.
func TestSettingsReachServices(t *testing.T) {
	env := written(t)
	// compose.yaml makes the first itself, and the other two fit its ports and stop_grace_period.
	made := []string{"REDIS_URL", "HTTP_ADDR", "SHUTDOWN_TIMEOUT"}
	served := []string{"DASHBOARD_USER", "DASHBOARD_PASSWORD", "INSTALL_ADDR", "BOTS_FILE"}
	offered := envFile(t, true, deploy, ".env.example")
	for name := range variables(t) {
		if _, ok := offered[name]; !ok && !slices.Contains(made, name) {
			t.Errorf(".env.example has no %s", name)
		}
		env[name] = "as set for " + name
	}
	p, err := load(t, env, "*")
	if err != nil {
		t.Fatal(err)
	}
	for service, without := range map[string][]string{"worker": made, "enqueue": slices.Concat(made, served)} {
		for name := range variables(t) {
			value := p.Services[service].Environment[name]
			if passed := value != nil && *value == env[name]; passed == slices.Contains(without, name) {
				t.Errorf("%s gets the %s of .env: %v", service, name, passed)
			}
		}
	}
}

// checkFilesOf checks that Compose can give a service its configs and secrets: into a
// read-only container it copies none, and those that are no files it would have to copy.
func checkFilesOf(t *testing.T, p *types.Project, s types.ServiceConfig) {
	t.Helper()
	for _, c := range s.Configs {
		if s.ReadOnly && p.Configs[c.Source].File == "" {
			t.Errorf("%s is read-only, and Compose starts no such service with the config %s", s.Name, c.Source)
		}
	}
	for _, c := range s.Secrets {
		if s.ReadOnly && p.Secrets[c.Source].File == "" {
			t.Errorf("%s is read-only, and Compose starts no such service with the secret %s", s.Name, c.Source)
		}
	}
}
