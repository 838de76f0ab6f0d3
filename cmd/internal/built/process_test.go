// Processes of this test's own program, in the roles that commands play.

package built

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const role = "BUILT_TEST_ROLE"

func TestMain(m *testing.M) {
	if r := os.Getenv(role); r != "" {
		os.Exit(play(r))
	}
	goleak.VerifyTestMain(m)
}

// play is what the program does as a process of a test.
func play(r string) int {
	_, _ = os.Stderr.WriteString("begun\n")
	if r == "hang" {
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // which nobody writes
	}
	if r == "environment" {
		_, _ = os.Stdout.WriteString(strings.Join(os.Environ(), "\n"))
	}
	return 3
}

// playing starts a process in a role, with a bound on all that is waited for.
func playing(t *testing.T, r string) (ctx context.Context, p *Process, stdout, stderr *Output) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = &Output{}, &Output{}
	cmd := Command(ctx, path, []string{role + "=" + r})
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if r == "hang" {
		held, hold, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = held.Close(), hold.Close() })
		cmd.Stdin = held
	}
	if p, err = Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return ctx, p, stdout, stderr
}

func TestProcessThatEnds(t *testing.T) {
	t.Setenv("BUILT_TEST_STRAY", "1")
	ctx, p, stdout, stderr := playing(t, "environment")
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if p.Code() != 3 || p.Err() == nil || stderr.String() != "begun\n" {
		t.Errorf("exit status %d, %v: %s", p.Code(), p.Err(), stderr)
	}
	if got := stdout.String(); strings.Contains(got, "STRAY") || !strings.Contains(got, role+"=environment") || !strings.Contains(got, "PATH=") {
		t.Errorf("its environment:\n%s", got)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("a process that has ended is signalled: %v", err)
	}
	p.Kill()
	p.Quit()
	if err := p.Await(ctx, func() bool { return false }); err == nil || !strings.Contains(err.Error(), "has ended: exit status 3") {
		t.Errorf("waited for what an ended process may do: %v", err)
	}
}

func TestProcessThatHangs(t *testing.T) {
	ctx, p, _, stderr := playing(t, "hang")
	if err := p.Await(ctx, func() bool { return stderr.String() == "begun\n" }); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	late := errors.New("late")
	soon, cancel := context.WithTimeoutCause(ctx, 20*time.Millisecond, late)
	defer cancel()
	for what, err := range map[string]error{
		"Wait":          p.Wait(soon),
		"Process.Await": p.Await(soon, func() bool { return false }),
		"Await":         Await(soon, func() bool { return false }),
	} {
		if !errors.Is(err, late) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.Quit()
	if text := stderr.String(); !strings.Contains(text, "goroutine ") || !strings.Contains(text, "built.play(") {
		t.Errorf("where it hangs is not said:\n%s", text)
	}
	dump := strings.TrimPrefix(stderr.String(), "begun\n")
	before := strings.Repeat("0123456789", 500)
	if got := Tail(before + dump); got != "…"+before[1000:]+dump {
		t.Errorf("the end of it:\n%s", got)
	}
}

// A process that is stopped cannot say anything more.
func TestProcessThatIsStopped(t *testing.T) {
	ctx, p, _, stderr := playing(t, "hang")
	if err := p.Await(ctx, func() bool { return stderr.String() == "begun\n" }); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Quit()
	if p.Code() != -1 || strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("exit status %d: %s", p.Code(), stderr)
	}
}

func TestTail(t *testing.T) {
	long := strings.Repeat("0123456789", 500)
	if Tail(long[:4000]) != long[:4000] || Tail(long) != "…"+long[1000:] {
		t.Error(Tail(long))
	}
}

func TestProcessEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := Command(ctx, "sleep", nil, "60")
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Err(); !errors.Is(err, context.Canceled) && p.Code() != -1 {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nothing")
	if _, err := Start(Command(t.Context(), path, nil)); err == nil || !strings.Contains(err.Error(), "start nothing: ") {
		t.Error(err)
	}
	if err := Build(t.Context(), t.TempDir(), false, "nothing"); err == nil || !strings.Contains(err.Error(), "botfleet/cmd/nothing") {
		t.Error(err)
	}
}
