package ratelimit

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// Whatever stands in the state of a portal, no script fails, and nothing is shut
// for longer than any limit can make it.
func FuzzGarbageState(f *testing.F) {
	clients := []redis.UniversalClient{
		redistest.Client(f, redistest.Start(f).URL),
		redistest.Client(f, "redis://"+miniredis.RunT(f).Addr()+"/0"),
	}
	fields := []string{
		"seen", "ahead", "kept", "plan", "flights", "silence", "hold", "releases", "took", "line", "tidied",
		"bucket:default", "pace:default", "pace:other", "budget:c|imbot.register|direct", "budget:c|imbot.register|batched", "budget:",
	}
	for i := range fields {
		for _, value := range []string{"", "nan", "-1", "99999999999999999999", "1.5 x", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
			f.Add(uint8(i), value, "")
		}
	}
	for name, values := range map[string][]string{
		"plan":                           {"2000000 46 4 0 470400000 480000000 600000000 4000000000", "1 1 1 1 1 1 10 1", "0 0 0 0 0 0 0 0"},
		"flights":                        {"1 1772445600000000 1 0 0;2 1772445600000000 5 0 0 1 1 1 1 budget:c|imbot.register|direct;", "1 2;;3 4 5;"},
		"silence":                        {"3 1772445600000000 1772445600000000 1772445605000000 1 7 1"},
		"pace:default":                   {"1000 1772445600000000 0 0 0", "100 1772445600000000 1772445630000000 5 5"},
		"bucket:default":                 {"46000000000 1772445600000000 46 2000000", "-1000000000000 1772445600000000 46 2000000", "-1000000001 1 1 1"},
		"budget:c|imbot.register|direct": {"1772445600000000 1 5 5 0 5 5 5 5 0 5 5 5 5 5 1772445660000000 1772446200000000 5"},
	} {
		for _, value := range values {
			f.Add(uint8(slices.Index(fields, name)), value, "")
		}
	}
	f.Fuzz(func(t *testing.T, field uint8, value, other string) {
		for _, client := range clients {
			now := epoch
			s := NewShared(SharedConfig{Redis: client, Now: func() time.Time { return now }})
			ctx := context.Background()
			spoil := func() {
				key := keysOf("p").gate
				if err := client.Del(ctx, key, keysOf("p").line, keysOf("p").asks).Err(); err != nil {
					t.Fatal(err)
				}
				i := int(field) % len(fields)
				if err := client.HSet(ctx, key, fields[i], value, fields[(i+1)%len(fields)], other).Err(); err != nil {
					t.Fatal(err)
				}
			}
			spoil()
			tellStory(ctx, t, s)
			spoil()
			now = now.Add(time.Second)
			if err := s.Observe(ctx, Ticket{ID: 1, Portal: "p", Credential: "c", Method: "imbot.register"}, operating(time.Second, 1)); err != nil {
				t.Fatal(err)
			}
			spoil()
			if _, _, err := s.State(ctx, "p"); err != nil {
				t.Fatal(err)
			}
			if err := s.Release(ctx, "p"); err != nil {
				t.Fatal(err)
			}
			tellStory(ctx, t, s)
		}
	})
}

func tellStory(ctx context.Context, t *testing.T, s *Shared) {
	t.Helper()
	d, err := s.Acquire(ctx, coded(standard, "a"))
	if err != nil || d.Until.Sub(s.now()) > farFromNow {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := s.Charge(ctx, rows(standard, 1), 3); err != nil {
		t.Fatal(err)
	}
	if len(d.Go) > 0 {
		if err := s.Observe(ctx, d.Ticket, operating(time.Second, 1)); err != nil {
			t.Fatal(err)
		}
	}
	places, err := s.Place(ctx, LineRequest{Request: Request{
		Portal: "p", Limits: standard, Credential: "c", Method: "imbot.register", Codes: []string{"b"}, Order: []int64{7},
	}})
	if err != nil || len(places) != 1 {
		t.Fatalf("%+v, %v", places, err)
	}
	if _, _, err := s.State(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(ctx, "p", Hold{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, "p"); err != nil {
		t.Fatal(err)
	}
}
