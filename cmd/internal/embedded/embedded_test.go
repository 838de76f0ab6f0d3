package embedded_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/redisconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) (*embedded.Server, redis.UniversalClient) {
	t.Helper()
	s, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := redisconn.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(redisconn.Store)
	t.Cleanup(func() { _ = client.Close() })
	return s, client
}

func TestServesAndPassesTheCheck(t *testing.T) {
	_, client := start(t)
	if err := redisconn.Check(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	all, err := redisconn.Servers(t.Context(), client)
	if err != nil || len(all) != 1 || all[0].Loses() || all[0].Share() != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestKeysExpireByThemselves(t *testing.T) {
	_, client := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.Set(ctx, "short", 1, time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "long", 1, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	for ticker := time.NewTicker(20 * time.Millisecond); ; <-ticker.C {
		n, err := client.Exists(ctx, "short").Result()
		if err != nil {
			t.Fatalf("short never expired: %v", err)
		}
		if n == 0 {
			break
		}
	}
	left, err := client.PTTL(ctx, "long").Result()
	if err != nil || left > time.Hour-500*time.Millisecond || left < 59*time.Minute {
		t.Errorf("long has %v left, %v", left, err)
	}
}

func TestAddressInUse(t *testing.T) {
	s, _ := start(t)
	_, err := embedded.Start(s.Addr())
	if err == nil || !strings.Contains(err.Error(), s.Addr()+" is in use") {
		t.Errorf("err = %v", err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1:6379", "127.0.0.1:99999", "256.1.1.1:0"} {
		s, err := embedded.Start(addr)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", addr)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestCloseFromManyGoroutinesFreesTheAddress(t *testing.T) {
	s, client := start(t)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(s.Close)
	}
	wg.Wait()
	l, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
