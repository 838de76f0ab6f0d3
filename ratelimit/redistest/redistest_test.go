package redistest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/ratelimit/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBothAnswer(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, url string) {
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := redistest.Client(t, url).Get(t.Context(), "k").Val(); got != "v" {
			t.Errorf("got %q", got)
		}
	})
}

func TestRestartWithoutPersistenceComesBackEmpty(t *testing.T) {
	s := redistest.Start(t)
	client := redistest.Client(t, s.URL)
	client.Set(t.Context(), "k", "v", 0)
	s.Restart()
	if err := client.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("err = %v", err)
	}
}

func TestAOFSurvivesKill(t *testing.T) {
	s := redistest.Start(t, redistest.AOF(), redistest.Password("hunter2"))
	client := redistest.Client(t, s.URL)
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Kill() // twice is once
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answers")
	}
	s.Restart()
	if got := client.Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q", got)
	}
}

func TestFrozenServerIsSilentAndComesBack(t *testing.T) {
	s := redistest.Start(t, redistest.MaxMemory("20mb"), redistest.Set("hz", "50"))
	client := redistest.Client(t, s.URL)
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a frozen server answers")
	}
	s.Thaw()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}
