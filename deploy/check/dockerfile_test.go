// The Dockerfile, as BuildKit reads it.

package check

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// noRegistry answers for the base images: an empty one each.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}})
	return ref, digest.FromBytes(config), config, err
}

// parsed are the stages and the arguments before the first of them.
func parsed(t *testing.T) ([]instructions.Stage, []instructions.ArgCommand) {
	t.Helper()
	file, err := parser.Parse(strings.NewReader(read(t, deploy, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	stages, args, err := instructions.Parse(file.AST, linter.New(&linter.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	return stages, args
}

func TestBuildKitTakesTheDockerfile(t *testing.T) {
	amd64 := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	arm64 := ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	for _, target := range []ocispecs.Platform{amd64, arm64} {
		opt := dockerfile2llb.ConvertOpt{
			MetaResolver: noRegistry{}, TargetPlatform: &target,
			Warn: func(rule, _, _, msg string, _ []parser.Range) { t.Errorf("%s: %s", rule, msg) },
		}
		opt.BuildPlatforms = []ocispecs.Platform{amd64}
		caps := pb.Caps.CapSet(pb.Caps.All())
		opt.LLBCaps = &caps
		result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), []byte(read(t, deploy, "Dockerfile")), opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := result.State.Marshal(t.Context(), llb.Platform(target)); err != nil {
			t.Fatal(err)
		}
		checkImage(t, result.Image.Config.ImageConfig, result.Image.Config.Healthcheck.Test)
	}
}

// checkImage checks what the image says of how it is run.
func checkImage(t *testing.T, c ocispecs.ImageConfig, health []string) {
	t.Helper()
	if c.User != "65532:65532" {
		t.Errorf("it runs as %q", c.User)
	}
	if _, ok := c.ExposedPorts["8080/tcp"]; !ok || len(c.ExposedPorts) != 1 {
		t.Errorf("exposes %v", c.ExposedPorts)
	}
	if !slices.Contains(c.Env, "HTTP_ADDR=0.0.0.0:8080") || !slices.Contains(c.Env, "PATH=/usr/local/bin") {
		t.Errorf("sets %q", c.Env)
	}
	if !slices.Equal(c.Cmd, []string{"worker"}) || len(c.Entrypoint) != 0 || c.StopSignal != "SIGTERM" {
		t.Errorf("runs %q %q until %s", c.Entrypoint, c.Cmd, c.StopSignal)
	}
	// No shell is in it, so the command stands for itself.
	if !slices.Equal(health, []string{"CMD", "worker", "health"}) {
		t.Errorf("health by %q", health)
	}
	for _, name := range []string{"title", "description", "licenses", "version", "revision", "created"} {
		if _, ok := c.Labels["org.opencontainers.image."+name]; !ok {
			t.Errorf("no label %s", name)
		}
	}
}

// The toolchain is the one that go.mod names, and the last stage begins with nothing.
func TestBases(t *testing.T) {
	stages, args := parsed(t)
	_, version, _ := strings.Cut(read(t, top, "go.mod"), "\ngo ")
	version, _, _ = strings.Cut(version, "\n")
	base := *args[0].Args[0].Value
	if !pinned(base) || !strings.HasPrefix(base, "golang:"+version+"-") {
		t.Errorf("built with %s; go.mod wants %s", base, version)
	}
	if last := stages[len(stages)-1]; last.BaseName != "scratch" {
		t.Errorf("the image begins with %s", last.BaseName)
	}
}
