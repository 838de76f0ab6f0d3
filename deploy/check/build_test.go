// Builds what the image would hold, with the Dockerfile's own commands.

package check

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// What `worker --version` in the image is to say.
const version, revision = "v9.8.7", "0123456789abcdef0123456789abcdef01234567"

var image struct {
	once  sync.Once
	root  string
	fault error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if image.root != "" {
		_ = os.RemoveAll(filepath.Dir(image.root))
	}
	os.Exit(code)
}

// builtImage is a folder with all files of the image; it is built once.
func builtImage(t *testing.T) string {
	t.Helper()
	stages, _ := parsed(t)
	image.once.Do(func() { image.root, image.fault = build(stages) })
	if image.fault != nil {
		t.Fatal(image.fault)
	}
	return image.root
}

// build does in a folder what the first stage does in a container, and what the
// last one copies out of it.
func build(stages []instructions.Stage) (string, error) {
	dir, err := os.MkdirTemp("", "botfleet-image-*")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // another user will run what is in it
		return "", err
	}
	source, root := filepath.Join(dir, "src"), filepath.Join(dir, "rootfs")
	for _, c := range stages[0].Commands {
		switch c := c.(type) {
		case *instructions.WorkdirCommand:
			err = os.MkdirAll(source, 0o755)
		case *instructions.ArgCommand: // their values are in the environment of the commands
		case *instructions.CopyCommand:
			err = copyContext(c.SourcePaths, source)
		case *instructions.RunCommand:
			err = run(strings.Join(c.CmdLine, " "), source, root)
		default:
			err = fmt.Errorf("a %s in the first stage: say here what it does", c.Name())
		}
		if err != nil {
			return root, fmt.Errorf("line %d of the Dockerfile: %w", c.Location()[0].Start.Line, err)
		}
	}
	for _, c := range stages[1].Commands {
		if c, ok := c.(*instructions.CopyCommand); ok && (c.From != "build" || !slices.Equal(c.SourcePaths, []string{"/rootfs/"}) || c.DestPath != "/") {
			return root, fmt.Errorf("the image is more than /rootfs: %v", c)
		}
	}
	return root, nil
}

// run runs a command of the Dockerfile. The base image's Go is the machine's, its /rootfs is root.
func run(line, source, root string) error {
	cmd := exec.Command("/bin/sh", "-c", strings.ReplaceAll(line, "/rootfs", root))
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "VERSION="+version, "REVISION="+revision, "CREATED=2026-11-22T20:00:00Z",
		"TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// copyContext copies what .dockerignore lets through: the files that are named, or all with ".".
func copyContext(names []string, into string) error {
	context, err := contextFiles()
	if err != nil {
		return err
	}
	for _, path := range context {
		if !slices.Contains(names, ".") && !slices.Contains(names, path) {
			continue
		}
		to := filepath.Join(into, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// contextFiles are the files that go to the builder.
func contextFiles() (files []string, err error) {
	f, err := os.Open(filepath.Join(top, ".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel(top, path)
		if err != nil || path == "." {
			return err
		}
		out, err := ignored.MatchesOrParentMatches(path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && out:
			return fs.SkipDir // nothing is let through below a folder that is not
		case d.Type().IsRegular() && !out:
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// No file of a user, no test and no secret goes to the builder.
func TestWhatGoesToTheBuilder(t *testing.T) {
	files, err := contextFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"go.mod", "go.sum", "LICENSE", "cmd/worker/main.go"} {
		if !slices.Contains(files, must) {
			t.Errorf("%s stays behind", must)
		}
	}
	ends := []string{".go", ".lua", ".mod", ".sum", ".md", ".css", ".js", ".html", ".tmpl", ".svg", "LICENSE"}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") || !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(f, end) }) {
			t.Errorf("%s goes to the builder", f)
		}
	}
}
