// The claim to be the only worker, in virtual time, on a Redis that can be away.

package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/tasks"
)

// claims is what the claim's scripts do, without a network: they themselves are
// tested on real servers.
type claims struct {
	mu    sync.Mutex
	value string
	until time.Time
	away  bool
}

var errAway = errors.New("connection refused")

func (c *claims) set(value string, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value, c.until = value, time.Now().Add(ttl)
}

func (c *claims) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *claims) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

// DialHook and ProcessPipelineHook complete [redis.Hook]; nothing uses them.
func (c *claims) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, errAway }
}

func (c *claims) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook answers evalsha SHA 1 KEY ID [VALUE TTL].
func (c *claims) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := ctx.Err(); err != nil {
			cmd.SetErr(err)
			return err
		}
		err := c.script(cmd)
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (c *claims) script(cmd redis.Cmder) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errAway
	}
	if !time.Now().Before(c.until) {
		c.value = ""
	}
	args, reply := cmd.Args(), cmd.(*redis.Cmd)
	own := strings.HasPrefix(c.value, fmt.Sprint(args[4])+"|")
	switch {
	case len(args) == 5: // release
		if own {
			c.value = ""
		}
		reply.SetVal(int64(0))
	case c.value != "" && !own:
		reply.SetVal(c.value)
	default:
		c.value = fmt.Sprint(args[5])
		c.until = time.Now().Add(time.Duration(args[6].(int64)) * time.Millisecond)
		reply.SetVal("")
	}
	return nil
}

// claiming runs a test in virtual time on a Redis of claims.
func claiming(t *testing.T, test func(t *testing.T, c *claims, rdb redis.UniversalClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &claims{}
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		rdb.AddHook(c)
		test(t, c, rdb)
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestADeadWorkersClaimIsWaitedOut(t *testing.T) {
	claiming(t, func(t *testing.T, c *claims, rdb redis.UniversalClient) {
		c.set("dead|17", 15*time.Second)
		began := time.Now()
		s, err := tasks.Claim(t.Context(), rdb, "new")
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("after %s", took)
		}
		if err := s.Release(t.Context()); err != nil || c.get() != "" {
			t.Errorf("%q is left, %v", c.get(), err)
		}
	})
}

func TestALivingWorkerKeepsOthersOut(t *testing.T) {
	claiming(t, func(t *testing.T, _ *claims, rdb redis.UniversalClient) {
		first, err := tasks.Claim(t.Context(), rdb, "process 1|on x")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			began := time.Now()
			_, err := tasks.Claim(t.Context(), rdb, "second")
			if !errors.Is(err, tasks.ErrNotAlone) || !strings.Contains(err.Error(), "it is process 1-on x)") {
				t.Error(err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("only after %s", took)
			}
		}
		<-time.After(time.Hour) // the claim is renewed for as long as it is held
		if _, err := tasks.Claim(t.Context(), rdb, "second"); !errors.Is(err, tasks.ErrNotAlone) {
			t.Error(err)
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWorkersOfOneNameAreTwo(t *testing.T) {
	claiming(t, func(t *testing.T, _ *claims, rdb redis.UniversalClient) {
		first, err := tasks.Claim(t.Context(), rdb, "process 1 on host")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tasks.Claim(t.Context(), rdb, "process 1 on host"); !errors.Is(err, tasks.ErrNotAlone) {
			t.Error(err)
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestALostClaimIsToldOf(t *testing.T) {
	claiming(t, func(t *testing.T, c *claims, rdb redis.UniversalClient) {
		s, err := tasks.Claim(t.Context(), rdb, "first")
		if err != nil {
			t.Fatal(err)
		}
		c.set("thief|1", time.Hour)
		select {
		case err := <-s.Lost():
			if !errors.Is(err, tasks.ErrSoloLost) {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("it does not know")
		}
		if err := s.Release(t.Context()); err != nil || c.get() != "thief|1" {
			t.Errorf("the other's claim became %q, %v", c.get(), err)
		}
	})
}

// Without Redis there are no tasks either: only another's claim is a loss.
func TestRedisThatWasAwayIsNoLossByItself(t *testing.T) {
	claiming(t, func(t *testing.T, c *claims, rdb redis.UniversalClient) {
		s, err := tasks.Claim(t.Context(), rdb, "first")
		if err != nil {
			t.Fatal(err)
		}
		c.setAway(true)
		<-time.After(time.Minute) // the claim has ended
		c.setAway(false)
		<-time.After(5 * time.Second)
		select {
		case err := <-s.Lost():
			t.Error(err)
		default:
		}
		if c.get() == "" {
			t.Error("the claim was not renewed")
		}
		c.setAway(true)
		<-time.After(time.Minute)
		c.set("second|1", time.Hour)
		c.setAway(false)
		<-time.After(5 * time.Second)
		if err := <-s.Lost(); !errors.Is(err, tasks.ErrSoloLost) {
			t.Error(err)
		}
		c.setAway(true)
		if err := s.Release(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("released on a Redis that is away: %v", err)
		}
	})
}

func TestAClaimThatCannotBeMade(t *testing.T) {
	claiming(t, func(t *testing.T, c *claims, rdb redis.UniversalClient) {
		c.setAway(true)
		if _, err := tasks.Claim(t.Context(), rdb, "first"); !errors.Is(err, errAway) {
			t.Error(err)
		}
		c.setAway(false)
		c.set("dead|1", time.Hour)
		called := errors.New("called off")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(7*time.Second, func() { cancel(called) })
		began := time.Now()
		if _, err := tasks.Claim(ctx, rdb, "first"); !errors.Is(err, called) || time.Since(began) > 8*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
