// What is read, and that everything bad is named at once.

package config

import (
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c, err := Load(nil, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if c.RequestTimeout != 65*time.Second || c.Concurrency != 1024 || !c.Keys.Empty() || len(c.Given) != 0 {
		t.Fatalf("%+v", c)
	}
}

// A value that cannot be read hides none that can, and is named once.
func TestEveryBadValueIsNamedOnce(t *testing.T) {
	const key = "bm90IDMyIGJ5dGVz"
	_, err := Load([]string{
		"REQUEST_TIMEOUT=65", "CONCURRENCY=many", "MAX_ATTEMPTS=-1", "BATCH=maybe", "LOG_LEVEL=loud",
		"REDIS_URL=htp://x", "SECRETS_KEY=" + key, "ALLOW_INSECURE_PORTALS=http://",
	}, Flags{})
	if err == nil {
		t.Fatal("accepted")
	}
	if strings.Contains(err.Error(), key) {
		t.Error("the key is shown")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, name := range []string{
		"REQUEST_TIMEOUT", "CONCURRENCY", "MAX_ATTEMPTS", "BATCH", "LOG_LEVEL", "REDIS_URL", "SECRETS_KEY", "ALLOW_INSECURE_PORTALS",
	} {
		n := 0
		for _, l := range lines {
			if strings.HasPrefix(l, name+": ") {
				n++
			}
		}
		if n != 1 || strings.Contains(err.Error(), name+": "+name) {
			t.Errorf("%s: in %d lines of\n%v", name, n, err)
		}
	}
	if len(lines) != 8 {
		t.Errorf("%d lines:\n%v", len(lines), err)
	}
}

func TestAnEmptyValueIsNone(t *testing.T) {
	c, err := Load([]string{"REQUEST_TIMEOUT= ", "MAX_RPS=2.5"}, Flags{})
	if err != nil || c.RequestTimeout != 65*time.Second || c.MaxRPS != 2.5 {
		t.Fatalf("%+v, %v", c, err)
	}
	if c.Given["REQUEST_TIMEOUT"] || !c.Given["MAX_RPS"] {
		t.Errorf("given: %v", c.Given)
	}
}

func TestTheDashboardsUserAndPassword(t *testing.T) {
	for _, c := range []struct{ name, user, password, want string }{
		{"both", "ops", "open sesame 77", ""},
		{"neither", "", "", ""},
		{"just long enough", "ops", "пароль-двена", ""},
		{"no password", "ops", "", "DASHBOARD_PASSWORD: is missing beside DASHBOARD_USER"},
		{"no user", "", "open sesame 77", "DASHBOARD_USER: is missing beside DASHBOARD_PASSWORD"},
		{"short", "ops", "sesame-7777", "DASHBOARD_PASSWORD: is shorter than 12 characters"},
		{"a colon", "o:ps", "open sesame 77", "DASHBOARD_USER: a browser cannot send a name with a colon or a control character in it"},
		{"a file's last line", "ops", "open sesame 77\n", "DASHBOARD_PASSWORD: has a control character in it, perhaps the end of a line"},
	} {
		_, err := Load([]string{"DASHBOARD_USER=" + c.user, "DASHBOARD_PASSWORD=" + c.password}, Flags{})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
