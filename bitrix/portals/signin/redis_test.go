// Many processes on one Redis, with the real store, lock, client and
// authorization server's client, against portals in a box.

package signin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

const appID, appSecret = "local.app", "application-secret"

// fleetbed is a box of portals, and a registry that knows them.
type fleetbed struct {
	box  *sandbox.Sandbox
	url  string
	keys portals.Keyring
	ids  []portals.Portal // as a worker's cache has them
}

func newFleetbed(t *testing.T, n int) *fleetbed {
	t.Helper()
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	bed := &fleetbed{url: redistest.Start(t).URL, keys: keys}
	bed.box = sandbox.Start(t, sandbox.WithApplication(appID, appSecret), sandbox.WithSeed(1))
	entries := make([]portals.Entry, n)
	for i := range entries {
		p := sandbox.Unlimited(fmt.Sprintf("p%d.bitrix24.ru", i))
		p.App = appID
		entries[i] = entry(t, bed.box.AddPortal(p))
	}
	registry := bed.registry(redistest.Client(t, bed.url))
	if _, err := registry.Import(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p, err := registry.Find(t.Context(), e.Name)
		if err != nil {
			t.Fatal(err)
		}
		bed.ids = append(bed.ids, p)
	}
	return bed
}

// entry is a portal as it is imported with its present pair.
func entry(t *testing.T, st *sandbox.PortalState) portals.Entry {
	t.Helper()
	access, refresh := st.Pair()
	a, err := bitrix.NewOAuth(st.Name(), string(access))
	if err != nil {
		t.Fatal(err)
	}
	return portals.Entry{
		Name: st.Name(), Access: a, RefreshToken: bitrix.NewSecret(string(refresh)), MemberID: st.MemberID(),
		Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard), ServerTimeout: time.Minute,
	}
}

func (bed *fleetbed) registry(rdb redis.UniversalClient) *portals.Registry {
	return portals.New(rdb, bed.keys, portals.Options{})
}

// config is a worker's, with a Redis client of its own.
func (bed *fleetbed) config(t *testing.T, lockTime time.Duration) Config {
	t.Helper()
	rdb := redistest.Client(t, bed.url)
	auth, err := bitrix.NewAuthServer(bitrix.AuthConfig{
		ClientID: appID, ClientSecret: bitrix.NewSecret(appSecret), Transport: bed.box.Transport(), Rate: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	locks, ok := NewRedisLocks(rdb).(redisLocks)
	if !ok {
		t.Fatal("not the locks of Redis")
	}
	locks.time = lockTime
	return Config{
		API: bitrix.NewClient(bitrix.Config{Transport: bed.box.Transport()}), Auth: auth,
		Store: bed.registry(rdb), Locks: locks,
	}
}

func (bed *fleetbed) state(p portals.Portal) *sandbox.PortalState { return bed.box.Portal(p.Name) }

// persist calls until it is not put off any more.
func persist(ctx context.Context, c *Caller, p *portals.Portal, b *bitrix.Bot) error {
	for {
		_, err := c.Register(ctx, p, b)
		e, ok := errors.AsType[*bitrix.Error](err)
		if !ok || e.Wait == nil {
			return err
		}
		if pause(ctx, time.Until(e.Wait.Until)) != nil {
			return err
		}
	}
}

func helper(code string) *bitrix.Bot {
	return &bitrix.Bot{
		Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"},
	}
}

// 8 workers, 50 portals whose tokens have all expired, 20 calls to each from
// each worker at once.
func TestWorkersOnOneRedis(t *testing.T) {
	const workers, hosts, calls = 8, 50, callsEach
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	bed := newFleetbed(t, hosts)
	bed.box.ExpireTokens()
	var all sync.WaitGroup
	for w := range workers {
		c := New(bed.config(t, LockTime))
		t.Cleanup(c.Close)
		for i := range bed.ids {
			for n := range calls {
				all.Go(func() {
					if err := persist(ctx, c, &bed.ids[i], helper(fmt.Sprintf("b%d-%d", w, n))); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	all.Wait()
	for _, p := range bed.ids {
		st := bed.state(p)
		if s := st.AuthStats(); s.Refreshes != 1 || s.Requests != 1 {
			t.Errorf("%s: %d refreshes in %d requests, want one", p.Name, s.Refreshes, s.Requests)
		}
		if v := st.Violations(); len(v) > 0 {
			t.Errorf("%s: %v", p.Name, v)
		}
		if n := len(st.Bots()); n != workers*calls {
			t.Errorf("%s has %d bots, want %d", p.Name, n, workers*calls)
		}
	}
}

// A worker dies with the lock in its hands: another one goes on when it ends.
func TestWorkerDiesWithTheLock(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bed := newFleetbed(t, 1)
	bed.box.ExpireTokens()
	config := bed.config(t, 3*time.Second)
	if _, err := config.Locks.Lock(ctx, bed.ids[0].ID); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c := New(config)
	t.Cleanup(c.Close)
	if err := persist(ctx, c, &bed.ids[0], helper("a")); err != nil || time.Since(began) < 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// unstoring loses every pair, as a process does that dies before it stores one.
type unstoring struct{ Store }

func (unstoring) Renew(context.Context, string, int64, bitrix.Access, bitrix.Secret, string) (portals.Portal, error) {
	return portals.Portal{}, &portals.UnknownError{}
}

// The pair is lost between the trade and the store; an answer is lost on its way.
func TestPairIsLost(t *testing.T) {
	for name, lose := range map[string]func(*Config, *sandbox.PortalState) error{
		"in a crash": func(c *Config, _ *sandbox.PortalState) error { c.Store = unstoring{c.Store}; return nil },
		"on the way": func(_ *Config, st *sandbox.PortalState) error {
			return st.Inject(sandbox.Fault{Kind: sandbox.Reset, When: sandbox.After, Methods: []string{"oauth/token"}, Count: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			bed := newFleetbed(t, 1)
			bed.box.ExpireTokens()
			p := &bed.ids[0]
			config := bed.config(t, time.Second)
			dying := config
			if err := lose(&dying, bed.state(*p)); err != nil {
				t.Fatal(err)
			}
			c := New(dying)
			if _, err := c.Register(ctx, p, helper("a")); err == nil {
				t.Fatal("registered without a token")
			}
			c.Close()

			c = New(config)
			t.Cleanup(c.Close)
			_ = mustBe(t, persist(ctx, c, p, helper("a")), bitrix.Blocked, "invalid_grant", "answer to an earlier renewal was lost", "installed again on "+p.Name)
			if s := bed.state(*p).AuthStats(); s.Refreshes != 1 || s.Requests != 2 {
				t.Errorf("%d refreshes in %d requests, want the old pair tried once more", s.Refreshes, s.Requests)
			}

			// It is installed again.
			bed.state(*p).Install()
			registry := bed.registry(redistest.Client(t, bed.url))
			if _, err := registry.Import(ctx, []portals.Entry{entry(t, bed.state(*p))}); err != nil {
				t.Fatal(err)
			}
			now, err := registry.Get(ctx, p.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := persist(ctx, c, &now, helper("a")); err != nil || now.Renewals != 0 {
				t.Errorf("%v with %d renewals noted", err, now.Renewals)
			}
		})
	}
}

func TestRenamedOnRedis(t *testing.T) {
	bed := newFleetbed(t, 1)
	p := bed.ids[0]
	if err := bed.state(p).Rename("renamed.bitrix24.ru"); err != nil {
		t.Fatal(err)
	}
	bed.box.ExpireTokens()
	config := bed.config(t, LockTime)
	c := New(config)
	t.Cleanup(c.Close)
	if err := persist(t.Context(), c, &p, helper("a")); err != nil {
		t.Fatal(err)
	}
	now, err := config.Store.Get(t.Context(), p.ID)
	if err != nil || now.Name != "renamed.bitrix24.ru" || now.Queue != p.Queue || now.Account != p.Account {
		t.Errorf("stored at %s, %v", now.Name, err)
	}
}

// One owner at a time, and only he ends it.
func TestRedisLocks(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		ctx := t.Context()
		locks := NewRedisLocks(rdb)
		unlock, err := locks.Lock(ctx, "p1")
		if err != nil {
			t.Fatal(err)
		}
		if ttl, err := rdb.PTTL(ctx, "botfleet:{refresh:p1}").Result(); err != nil || ttl <= 0 || ttl > LockTime {
			t.Errorf("the lock lasts %v, %v", ttl, err)
		}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		if _, err := locks.Lock(short, "p1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second lock: %v", err)
		}
		other, err := locks.Lock(ctx, "p2")
		if err != nil {
			t.Fatal(err)
		}
		other()
		time.AfterFunc(100*time.Millisecond, unlock)
		again, err := locks.Lock(ctx, "p1")
		if err != nil {
			t.Fatal(err)
		}
		unlock() // the first owner's, once more: it is not his any longer
		if n, err := rdb.Exists(ctx, "botfleet:{refresh:p1}").Result(); err != nil || n != 1 {
			t.Errorf("a lock was ended by its former owner: %d, %v", n, err)
		}
		again()
		if n, err := rdb.Exists(ctx, "botfleet:{refresh:p1}").Result(); err != nil || n != 0 {
			t.Errorf("the lock is left: %d, %v", n, err)
		}
		broken := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
		defer func() { _ = broken.Close() }()
		if _, err := NewRedisLocks(broken).Lock(ctx, "p1"); err == nil {
			t.Error("a lock without a Redis")
		}
	})
}
