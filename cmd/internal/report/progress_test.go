package report

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screen is a writer that may be read while it is written.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		p := NewProgress(&out, ProgressOptions{Total: 60_000})
		p.Update(Counts{Registered: 3_150, Dead: 12, Refused: 38})
		wait(10 * time.Second)
		p.Update(Counts{Registered: 6_350, Dead: 12, Refused: 38})
		wait(10 * time.Second)
		p.Done()
		p.Done()
		const want = "3,200 of 60,000 rows · registered 3,150 · dead 12 · refused 38 · 320/s · about 2m57s left\n" +
			"6,400 of 60,000 rows · registered 6,350 · dead 12 · refused 38 · 320/s · about 2m47s left\n"
		if got := out.String(); got != want {
			t.Errorf("got:\n%s", got)
		}
	})
}

// wait lets the bubble's clock run on.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestProgressBarAndLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		p := NewProgress(&out, ProgressOptions{Terminal: true, Total: 100, Width: 80})
		p.Update(Counts{Registered: 50})
		wait(time.Second)
		shown := lastLine(out.String())
		if !strings.Contains(shown, "50%") || !strings.Contains(shown, "registered 50 · ") || len([]rune(shown)) >= 80 {
			t.Errorf("bar: %q", shown)
		}
		if _, err := io.WriteString(p.Log(), "a log line\n"); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), "\r\x1b[2Ka log line\n") {
			t.Errorf("the log line is garbled: %q", out.String())
		}
		p.Update(Counts{Registered: 120}) // more than announced
		wait(time.Second)
		if shown := lastLine(out.String()); !strings.Contains(shown, "100%") || !strings.Contains(shown, "registered 120") {
			t.Errorf("bar: %q", shown)
		}
		p.SetTotal(240)
		wait(time.Second)
		if shown := lastLine(out.String()); !strings.Contains(shown, "50%") {
			t.Errorf("bar after SetTotal: %q", shown)
		}
		p.Done()
		if !strings.HasSuffix(out.String(), "\r\x1b[2K") {
			t.Error("the bar stays")
		}
		if _, err := io.WriteString(p.Log(), "after\n"); err != nil || !strings.HasSuffix(out.String(), "\x1b[2Kafter\n") {
			t.Errorf("%v %q", err, out.String())
		}
	})
}

// lastLine is what stands in the line of the bar.
func lastLine(out string) string { return out[strings.LastIndex(out, "\x1b[2K")+len("\x1b[2K"):] }

func TestProgressOfUnknownLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		p := NewProgress(&out, ProgressOptions{Terminal: true, Width: 30})
		p.Update(Counts{Duplicate: 1_000})
		wait(time.Second)
		p.Done()
		shown := strings.TrimSuffix(out.String(), "\r\x1b[2K")
		if shown = lastLine(shown); shown != "1,000 rows · registered 0 · d…" && len([]rune(shown)) >= 30 {
			t.Errorf("%q", shown)
		}
	})
}

func TestQuietProgressIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		p := NewProgress(&out, ProgressOptions{Quiet: true, Total: 5})
		p.Update(Counts{Registered: 1})
		wait(time.Minute)
		p.Done()
		if out.String() != "" {
			t.Errorf("%q", out.String())
		}
	})
}

func TestProgressManyCallers(t *testing.T) {
	var out screen
	p := NewProgress(&out, ProgressOptions{Terminal: true, Total: 1000})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				p.Update(Counts{Registered: i})
				p.show(time.Now())
				_, _ = io.WriteString(p.Log(), "line\n")
			}
			p.Done()
		})
	}
	all.Wait()
	if got := strings.Count(out.String(), "line\n"); got != 800 {
		t.Errorf("%d of 800 log lines", got)
	}
}

func TestPaceFollowsTheWindow(t *testing.T) {
	var p pace
	start := time.Unix(0, 0)
	for i := range 1000 {
		p.add(start.Add(time.Duration(i)*200*time.Millisecond), i*100) // 500/s
	}
	if got := p.rate(); got < 490 || got > 510 || len(p.samples) > 40 {
		t.Errorf("rate %v of %d samples", got, len(p.samples))
	}
	p.add(start.Add(time.Hour), 999*100)
	if got := p.rate(); got != 0 {
		t.Errorf("rate %v after an hour of nothing", got)
	}
}
