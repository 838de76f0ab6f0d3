package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const revision = "b462825cafe00b462825cafe00b462825cafe00b"
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: revision},
			{Key: "vcs.time", Value: "2026-11-22T19:58:11Z"}, {Key: "vcs.modified", Value: modified},
		}
	}
	on := " go1.26.0 " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	for _, c := range []struct {
		name        string
		main        string
		settings    []debug.BuildSetting
		told        Build
		short, long string
	}{
		{"of a tag", "v1.2.0", vcs("false"), Build{}, "v1.2.0", "v1.2.0 (commit b462825cafe0, 2026-11-22T19:58:11Z,"},
		{"of a tag, modified", "v1.2.0+dirty", vcs("true"), Build{}, "v1.2.0-modified", "v1.2.0 (commit b462825cafe0, 2026-11-22T19:58:11Z, modified,"},
		{
			"between tags", "v1.2.1-0.20261122195811-b462825cafe0", vcs("false"), Build{},
			"v1.2.1-0.20261122195811-b462825cafe0", "v1.2.1-0.20261122195811-b462825cafe0 (commit b462825cafe0, 2026-11-22T19:58:11Z,",
		},
		{"installed by version", "v1.2.0", nil, Build{}, "v1.2.0", "v1.2.0 (commit not known,"},
		{
			"installed by commit", "v0.0.0-20261122195811-b462825cafe0", nil, Build{},
			"v0.0.0-20261122195811-b462825cafe0", "v0.0.0-20261122195811-b462825cafe0 (commit b462825cafe0,",
		},
		{"without a repository", "(devel)", nil, Build{}, "devel", "devel (commit not known,"},
		{"with a repository, and no version", "(devel)", vcs("true"), Build{}, "devel-b462825cafe0-modified", "devel (commit b462825cafe0, 2026-11-22T19:58:11Z, modified,"},
		{"nothing recorded", "", nil, Build{}, "devel", "devel (commit not known,"},
		{
			"an image", "(devel)", nil, Build{Version: "v1.2.0", Commit: revision, Date: "2026-11-22T20:58:11+01:00"},
			"v1.2.0", "v1.2.0 (commit b462825cafe0, 2026-11-22T20:58:11+01:00,",
		},
		{"an image of a commit", "(devel)", nil, Build{Commit: revision}, "devel-b462825cafe0", "devel (commit b462825cafe0,"},
		{"what is recorded beats what was told", "v1.2.0", vcs("false"), Build{Version: "v1.3.0", Commit: "0123456", Date: "2020-01-01"}, "v1.3.0", "v1.3.0 (commit b462825cafe0, 2026-11-22T19:58:11Z,"},
		{"told badly", "(devel)", nil, Build{Version: " v1 (x)\r\nSet-Cookie: a=b; \x00é", Commit: "\n"}, "v1xSet-Cookie:ab", "v1xSet-Cookie:ab (commit not known,"},
		{"a short commit", "(devel)", nil, Build{Commit: "b462"}, "devel-b462", "devel (commit b462,"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := read(&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: c.main}, Settings: c.settings}, c.told)
			if got := b.String(); got != c.short {
				t.Errorf("short: %q, want %q", got, c.short)
			}
			if got := b.Long(); got != c.long+on {
				t.Errorf("long: %q, want %q", got, c.long+on)
			}
		})
	}
}

// built builds show in dir and returns what it prints: a short and a long version.
func built(t *testing.T, dir string, args ...string) (short, long string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "show")
	tool(t, dir, "go", append(append([]string{"build", "-o", path}, args...), "./cmd/internal/version/testdata/show")...)
	short, long, _ = strings.Cut(strings.TrimSpace(tool(t, dir, path)), "\n")
	return short, long
}

func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	// Nobody's own settings of git or go decide here.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "HOME="+t.TempDir(), "GOCACHE="+goEnv(t, "GOCACHE"), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// checkout is a copy of this package alone, in a module of the same name.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "cmd", "internal", "version")
	if err := os.MkdirAll(filepath.Join(at, "testdata", "show"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"version.go", "testdata/show/main.go"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(at, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module botfleet\n\ngo 1.26\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBuilds builds as people and images do.
func TestBuilds(t *testing.T) {
	dir := checkout(t)
	if short, long := built(t, dir, "-trimpath"); short != "devel" || !strings.HasPrefix(long, "devel (commit not known, go") {
		t.Errorf("without a repository: %q, %q", short, long)
	}
	const x = "-X botfleet/cmd/internal/version."
	short, long := built(t, dir, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w "+x+"release=v1.2.0 "+x+"commit=b462825cafe00b46 "+x+"date=2026-11-22T19:58:11Z")
	if short != "v1.2.0" || !strings.HasPrefix(long, "v1.2.0 (commit b462825cafe0, 2026-11-22T19:58:11Z, go") {
		t.Errorf("as an image is built: %q, %q", short, long)
	}
	tool(t, dir, "git", "init", "-q")
	tool(t, dir, "git", "add", ".")
	tool(t, dir, "git", "commit", "-q", "-m", "first")
	tool(t, dir, "git", "tag", "v1.2.0")
	head := strings.TrimSpace(tool(t, dir, "git", "rev-parse", "HEAD"))[:12]
	if short, long = built(t, dir); short != "v1.2.0" || !strings.HasPrefix(long, "v1.2.0 (commit "+head+", 20") || strings.Contains(long, "modified") {
		t.Errorf("of a tag: %q, %q", short, long)
	}
	if short, long = built(t, dir, "-buildvcs=false"); short != "devel" || !strings.HasPrefix(long, "devel (commit not known, go") {
		t.Errorf("told not to look: %q, %q", short, long)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module botfleet\n\ngo 1.26 // changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if short, long = built(t, dir, "-trimpath"); short != "v1.2.0-modified" || !strings.HasPrefix(long, "v1.2.0 (commit "+head+", 20") || !strings.Contains(long, ", modified, go") {
		t.Errorf("modified: %q, %q", short, long)
	}
}
