// Package built runs the module's commands as processes, as they are released,
// for the tests and programs that look at them from outside.
//
// Build builds them, Command prepares one with an environment of its own, Start
// starts it, or any other program, and Process says when it has ended. How long
// to wait for anything is the caller's context.
package built

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds commands into a folder: each by its folder under cmd, as "worker".
// With race they have the race detector in them.
func Build(ctx context.Context, dir string, race bool, commands ...string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
	}
	for _, c := range commands {
		args = append(args, "botfleet/cmd/"+c)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil { //nolint:gosec // words of our own
		return fmt.Errorf("build the commands: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Command is a program that has not been started, with nothing in its environment
// but what is given and what a process needs: a setting of whoever runs it changes
// nothing. It is killed when ctx ends.
func Command(ctx context.Context, path string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // words of our own
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(),
		"GORACE=halt_on_error=1", // so that a race is seen by its exit status
	}, env...)
	return cmd
}
