// What the settings show of themselves: help, logs, and no secret.

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"botfleet/bitrix/portals"
)

func TestSettingsShowNoSecrets(t *testing.T) {
	key := portals.NewKey()
	c, err := Load([]string{"REDIS_URL=redis://:hunter2@127.0.0.1/0", "SECRETS_KEY=" + key, "DASHBOARD_USER=ops", "DASHBOARD_PASSWORD=open sesame 77"}, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "p", &c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "p", &c)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v %+v %#v", &c, &c, &c), log.String(), string(asJSON)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "sesame") || strings.Contains(text, key) {
			t.Errorf("shows a secret: %s", text)
		}
	}
	if !strings.Contains(c.String(), "REDIS_URL SECRETS_KEY") {
		t.Error(c.String())
	}
	if c.DashboardUser != "ops" || c.DashboardPassword.Reveal() != "open sesame 77" {
		t.Error("the dashboard's user and password are not read")
	}
}

func TestFlagsBeatTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string // of CONCURRENCY, or the error
	}{
		{"none", nil, "7"},
		{"one", []string{"--concurrency=9"}, "9"},
		{"empty", []string{"--concurrency="}, "1024"},
		{"bad", []string{"--concurrency=x"}, `CONCURRENCY: "x" is not a whole number`},
		{"password", []string{"--redis-url=redis://:pw@h/0"}, "a password in a flag can be read by every user"},
		{"password, not a URL", []string{"--redis-url=redis://:p w%@h/0"}, "a password in a flag can be read by every user"},
	} {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags := AddFlags(set)
		if err := set.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		got, err := Load([]string{"CONCURRENCY=7"}, flags)
		switch {
		case err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "p w%")):
			t.Errorf("%s: %v", c.name, err)
		case err == nil && strconv.Itoa(got.Concurrency) != c.want:
			t.Errorf("%s: %d, want %s", c.name, got.Concurrency, c.want)
		}
	}
}

func TestSecretsHaveNoFlag(t *testing.T) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(set)
	HideFlags(set)
	for _, name := range []string{"secrets-key", "dashboard-password"} {
		if set.Lookup(name) != nil {
			t.Errorf("--%s would stand on the command line", name)
		}
	}
	if f := set.Lookup("request-timeout"); f == nil || !f.Hidden || !strings.Contains(f.Usage, "REQUEST_TIMEOUT; default 65s") {
		t.Errorf("%+v", f)
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	help := Help()
	for _, f := range fields() {
		if f.help == "" || !strings.Contains(help, f.name+" ") || !strings.Contains(help, f.help) {
			t.Errorf("%s: not explained", f.name)
		}
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct{ level, format, want, not string }{
		{"info", "text", "level=INFO msg=told", "hidden"},
		{"debug", "json", `"msg":"hidden"`, "level="},
		{"error", "text", "", "told"},
	} {
		cfg, err := Load([]string{"LOG_LEVEL=" + c.level, "LOG_FORMAT=" + c.format}, Flags{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		log := cfg.Logger(&b)
		log.Debug("hidden")
		log.Info("told")
		if !strings.Contains(b.String(), c.want) || strings.Contains(b.String(), c.not) {
			t.Errorf("%s %s: %s", c.level, c.format, b.String())
		}
	}
}
