package ratelimit

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many goroutines, few portals: never more in flight than allowed, and at the
// end everything has come back.
func TestConcurrentUse(t *testing.T) {
	l := NewLocal(Config{Parallel: 3, MaxRPS: 1e6})
	var flying [4]atomic.Int32
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				n := (g + i) % len(flying)
				r := coded(wide, strconv.Itoa(i), strconv.Itoa(g))
				r.Portal = "p" + strconv.Itoa(n)
				d, err := l.Acquire(context.Background(), r)
				if err != nil {
					t.Error(err)
					return
				}
				if len(d.Go) > 0 {
					if flying[n].Add(1) > 3 {
						t.Error("more in flight than allowed")
					}
					flying[n].Add(-1)
					outcomes := []Outcome{Answered, NotSent, Answered}
					if err := l.Observe(context.Background(), d.Ticket, Answer{Outcome: outcomes[i%3], Ran: 1}); err != nil {
						t.Error(err)
					}
				}
				r.Order = []int64{int64(i), int64(g)}
				if _, err := l.Place(context.Background(), LineRequest{Request: r, Batch: 50}); err != nil {
					t.Error(err)
				}
				if _, _, err := l.State(context.Background(), r.Portal); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, _ := l.Recent(context.Background())
	for _, s := range all {
		if s.InFlight != 0 {
			t.Errorf("%s: %d in flight", s.Portal, s.InFlight)
		}
	}
}

func BenchmarkLocal(b *testing.B) {
	for name, portals := range map[string]int{"portals=1": 1, "portals=10000": 10_000} {
		b.Run(name, func(b *testing.B) {
			l := NewLocal(Config{})
			limits := Limits{Rate: highestRate, Burst: highestBurst, Operating: time.Hour, OperatingWindow: time.Hour}
			ids := make([]string, portals)
			for i := range ids {
				ids[i] = strconv.Itoa(i)
			}
			ctx := context.Background()
			codes := []string{"helper"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d, err := l.Acquire(ctx, Request{
					Portal: ids[i%portals], Limits: limits, Credential: "c", Method: "imbot.register",
					Rows: 1, Codes: codes, MarkFor: time.Minute,
				})
				if err != nil || len(d.Go) != 1 {
					b.Fatalf("%+v, %v", d, err)
				}
				if err := l.Observe(ctx, d.Ticket, Answer{Outcome: Answered, Ran: 1, HasOperating: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
