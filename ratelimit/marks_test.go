package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// startRedis runs a real server until the test ends.
func startRedis(t *testing.T) redis.UniversalClient {
	t.Helper()
	return redistest.Client(t, redistest.Start(t).URL)
}

func TestMarks(t *testing.T) {
	m := NewMemoryMarks(nil)
	ctx := t.Context()
	set := func(portal, owner string, codes ...string) map[int]time.Time {
		t.Helper()
		taken, err := m.Set(ctx, portal, codes, owner, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for i, until := range taken {
			if left := time.Until(until); left < 50*time.Second || left > time.Minute+time.Second {
				t.Fatalf("code %d marked for %s", i, left)
			}
		}
		return taken
	}
	unmark := func(portal, owner string, codes ...string) {
		t.Helper()
		if err := m.Clear(ctx, portal, codes, owner); err != nil {
			t.Fatal(err)
		}
	}
	odd := []string{"a b", "{x}", "кот", "\x00\xff\r\n", strings.Repeat("y", 5000), ""}
	if taken := set("p", "one", odd...); len(taken) != 0 {
		t.Fatalf("taken: %v", taken)
	}
	if taken := set("p", "one", odd...); len(taken) != 0 {
		t.Fatalf("the owner's repeat met its own marks: %v", taken)
	}
	for _, portal := range []string{"q", "", "}p", "{p}", strings.Repeat("p", 5000)} {
		if taken := set(portal, "two", odd...); len(taken) != 0 {
			t.Fatalf("portal %.10q: %v", portal, taken)
		}
	}
	if taken := set("p", "two", append([]string{"new"}, odd...)...); len(taken) != len(odd) || !taken[0].IsZero() {
		t.Fatalf("taken: %v", taken)
	}
	unmark("p", "two", odd...) // not its own
	if taken := set("p", "two", odd...); len(taken) != len(odd) {
		t.Fatalf("another's marks were cleared: %v", taken)
	}
	unmark("p", "one", odd[:2]...)
	unmark("p", "", odd[2])
	if taken := set("p", "two", odd...); len(taken) != len(odd)-3 {
		t.Fatalf("taken after clearing three: %v", taken)
	}
	if taken := set("p", "two"); len(taken) != 0 {
		t.Fatal(taken)
	}
	unmark("p", "two")
}

// Of many who mark the same codes at once each code has one owner.
func TestMarksHaveOneOwner(t *testing.T) {
	m := NewMemoryMarks(nil)
	codes := []string{"a", "b", "c", "d"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	owners := map[string]int{}
	for i := range 16 {
		wg.Go(func() {
			own := codes[i%4:]
			taken, err := m.Set(context.Background(), "p", own, strconv.Itoa(i), time.Minute)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for j, code := range own {
				if _, other := taken[j]; !other {
					owners[code]++
				}
			}
		})
	}
	wg.Wait()
	for _, code := range codes {
		if owners[code] != 1 {
			t.Errorf("%q has %d owners", code, owners[code])
		}
	}
}

func TestMemoryMarksEnd(t *testing.T) {
	now := epoch
	m := NewMemoryMarks(func() time.Time { return now })
	for i := range 100_000 {
		if _, err := m.Set(t.Context(), "p", []string{strconv.Itoa(i)}, "one", time.Second); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
	}
	if n := len(m.(*memoryMarks).marks); n > 61_000 {
		t.Fatalf("%d marks kept", n)
	}
	now = now.Add(time.Second)
	if taken, _ := m.Set(t.Context(), "p", []string{"99999"}, "two", time.Second); len(taken) != 0 {
		t.Fatal("the mark did not end")
	}
}

func TestAcquireMarks(t *testing.T) {
	b := newBench(t, Config{Parallel: 10})
	first := b.granted(coded(wide, "a", "b"))
	b.pass(time.Second)
	d := b.ask(coded(wide, "c", "a", "c", "d"))
	if fmt.Sprint(d.Go) != "[0 3]" || fmt.Sprint(d.Ticket.Codes) != "[c d]" || d.Reason != Marked {
		t.Fatalf("%+v", d)
	}
	end := epoch.Add(130 * time.Second)
	if len(d.Marked) != 2 || !d.Marked[1].Equal(end) || !d.Marked[2].Equal(b.now.Add(130*time.Second)) || !d.Until.Equal(end) {
		t.Fatalf("%+v", d)
	}
	before := b.state()
	if wait := b.refused(coded(wide, "a", "b"), Marked); wait != 129*time.Second {
		t.Fatalf("marked for %s", wait)
	}
	if after := b.state(); after.InFlight != before.InFlight || after.Tokens != before.Tokens {
		t.Fatalf("consumed: %+v, before %+v", after, before)
	}
	b.tell(first, Answer{Outcome: NoAnswer, Unsure: true})
	b.refused(coded(wide, "a"), Marked)
	b.tell(d.Ticket, answered)
	b.granted(coded(wide, "c", "d"))
	if err := b.ClearMark(t.Context(), "p", "a"); err != nil {
		t.Fatal(err)
	}
	again := b.granted(coded(wide, "a"))
	b.tell(first, answered) // a ticket given twice clears no other's mark
	b.refused(coded(wide, "a"), Marked)
	b.tell(again, answered)
	b.pass(130 * time.Second)
	b.granted(coded(wide, "b"))
}

// When fewer rows may go than want to, marked ones make way for the next.
func TestMarkedRowsMakeWay(t *testing.T) {
	b := newBench(t, Config{Parallel: 10})
	b.granted(coded(wide, "b", "d"))
	d := b.ask(coded(standard, "a", "b", "c", "d", "e", "f", "g", "h"))
	if fmt.Sprint(d.Go) != "[0 2 4 5 6]" || len(d.Marked) != 2 || d.Reason != Budget {
		t.Fatalf("%+v", d)
	}
}

// broken marks fail after a number of calls.
type broken struct {
	Marks
	after int
}

func (m *broken) Set(ctx context.Context, portal string, codes []string, owner string, ttl time.Duration) (map[int]time.Time, error) {
	if m.after--; m.after < 0 {
		return nil, errors.New("out of order")
	}
	return m.Marks.Set(ctx, portal, codes, owner, ttl)
}

func TestNothingIsConsumedWhenMarksFail(t *testing.T) {
	b := newBench(t, Config{})
	b.granted(coded(wide, "b"))
	good := b.cfg.Marks
	for after := range 2 {
		b.cfg.Marks = &broken{Marks: good, after: after}
		before := b.state()
		if d, err := b.Acquire(t.Context(), coded(standard, "a", "b", "c", "d", "e", "f", "g")); err == nil {
			t.Fatalf("after %d calls: no error, %+v", after, d)
		}
		if now := b.state(); now.InFlight != before.InFlight || now.InFlight != 1 {
			t.Fatalf("%d in flight, before %d", now.InFlight, before.InFlight)
		}
		b.cfg.Marks = good
		b.tell(b.granted(coded(standard, "a")), answered) // unmarked again
	}
}
