// Following a run through trouble.

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/cmd/internal/intake"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

func TestPatience(t *testing.T) {
	away := fmt.Errorf("read run r: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")})
	for _, c := range []struct {
		name  string
		err   error
		until time.Duration // from when on read succeeds; 0: never
		least time.Duration
		most  time.Duration
		says  string
		want  error
	}{
		{name: "nothing the matter", until: -1},
		{name: "away for a minute", err: away, until: time.Minute, least: time.Minute, most: 66 * time.Second, says: "Redis does not answer; waiting\nRedis answers again\n"},
		{name: "away for good", err: away, least: redisPatience, most: redisPatience + 6*time.Second, says: "Redis does not answer; waiting\n", want: away},
		{name: "another run's Redis", err: fmt.Errorf("%w: r", runs.ErrUnknownRun), want: runs.ErrUnknownRun},
		{name: "a full disk", err: sinkError{io.ErrShortWrite}, want: io.ErrShortWrite},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var note bytes.Buffer
				began := time.Now()
				err := patient(t.Context(), &note, func() error {
					if c.until != 0 && time.Since(began) >= c.until {
						return nil
					}
					return c.err
				})
				if took := time.Since(began); !errors.Is(err, c.want) || note.String() != c.says || took < c.least || took > c.most {
					t.Errorf("%v after %s; said %q", err, took, note.String())
				}
			})
		})
	}
}

func TestPatienceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(errInterrupted) })
		began := time.Now()
		err := patient(ctx, io.Discard, func() error { return io.EOF })
		if !errors.Is(err, errInterrupted) || time.Since(began) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// screen is a standard error that is read while it is written.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until text is on the screen.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.String(), text); {
		if time.Now().After(end) {
			t.Fatalf("not said: %q in\n%s", text, s)
		}
		if err := pause(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// A follower outlasts a restart of Redis, and gives the results afterwards. When
// it is broken off instead it says that the run goes on.
func TestSubmitWaitsForRedis(t *testing.T) {
	server := redistest.Start(t, redistest.AOF(), redistest.Set("appendfsync", "always"))
	environ := []string{"REDIS_URL=" + server.URL, secretsKey}
	portalsFile, rows := input(t, 3, "", "a.bitrix24.ru")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var errs screen
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- Options{}.run(ctx, []string{"submit", "--wait", "--portals", portalsFile, rows}, environ, stdio{strings.NewReader(""), &out, &errs})
	}()
	defer func() { cancel(nil); <-ended }()
	errs.await(t, "queued 3 rows")
	server.Kill()
	errs.await(t, "Redis does not answer; waiting\n")
	server.Restart()
	errs.await(t, "Redis answers again\n")
	_, after, _ := strings.Cut(errs.String(), "run ")
	run, _, _ := strings.Cut(after, "\n")
	if code, _, said := command(t.Context(), environ, "cancel", run, "--yes"); code != exitDone {
		t.Fatalf("exit status %d: %s", code, said)
	}
	code := <-ended
	ended <- code
	if code != exitUnfinished || strings.Count(out.String(), `"CANCELLED"`) != 3 || strings.Contains(errs.String(), "goes on") {
		t.Errorf("exit status %d\n%s%s", code, &out, &errs)
	}
}

func TestAnEndedFollowerSaysThatTheRunGoesOn(t *testing.T) {
	for _, c := range []struct {
		err  error
		over bool
		want string
	}{
		{err: io.EOF, want: "the run goes on without this command; see it with: enqueue status r1; its results: enqueue results r1\n"},
		{err: errInterrupted, want: "the run goes on without this command; see it with: enqueue status r1; its results: enqueue results r1\n"},
		{err: io.ErrShortWrite, over: true, want: "the run has ended; its results: enqueue results r1\n"},
		{err: runs.ErrUnknownRun},
	} {
		var said bytes.Buffer
		a := &app{std: stdio{err: &said}}
		a.goesOn(&delivery{run: "r1", over: c.over}, c.err)
		if said.String() != c.want {
			t.Errorf("%v: %q", c.err, said.String())
		}
	}
}

func TestAnotherInputIsNotGoneOnWith(t *testing.T) {
	d := &delivery{run: "r1", report: &intake.Report{Rows: 2}}
	if text := (&app{}).broken(d, fmt.Errorf("row 1: %w", tasks.ErrOtherBot)).Error(); strings.Contains(text, "same command") || !strings.Contains(text, "without --run") {
		t.Error(text)
	}
	if text := (&app{}).broken(d, io.EOF).Error(); !strings.Contains(text, "go on with the same command and --run r1") {
		t.Error(text)
	}
}

func TestAStandstillIsToldOnce(t *testing.T) {
	begun := time.Now()
	s := standstill{since: begun}
	for _, c := range []struct {
		after time.Duration
		c     runs.Counts
		want  bool
	}{
		{29 * time.Second, runs.Counts{}, false},
		{30 * time.Second, runs.Counts{Queued: 2, Waiting: 2}, false},
		{59 * time.Second, runs.Counts{Queued: 2, Waiting: 2}, false},
		{60 * time.Second, runs.Counts{Queued: 2, Waiting: 2}, true},
		{200 * time.Second, runs.Counts{Queued: 2, Waiting: 2}, false},
		{300 * time.Second, runs.Counts{Queued: 2, Waiting: 1}, false},
		{400 * time.Second, runs.Counts{Queued: 2, Waiting: 1}, false},
	} {
		if got := s.look(c.c, begun.Add(c.after)); got != c.want {
			t.Errorf("after %s: %v", c.after, got)
		}
	}
}
