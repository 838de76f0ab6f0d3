// How a service that keeps its customers' portals itself plugs them in.

package tasks_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// customers is a service's own store of portals: a map here, a table in life,
// where each change is one UPDATE … WHERE id = … AND generation = ….
type customers struct {
	mu    sync.Mutex
	byID  map[string]portals.Portal
	notes map[string]int // id → trades of the present pair whose end is not known
}

// It is what submits, what works on tasks, and what renews tokens ask for portals.
var (
	_ tasks.Directory  = (*customers)(nil)
	_ tasks.PortalByID = (*customers)(nil)
	_ signin.Store     = (*customers)(nil)
)

// add keeps a portal with the pair of tokens that came with its installation.
func (c *customers) add(id, host, memberID string, access, refresh bitrix.Secret) error {
	a, err := bitrix.NewOAuth(host, access.Reveal())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[id] = with(portals.Portal{
		ID: id, Queue: "portals-0", Kind: portals.OAuth, MemberID: memberID, Plan: portals.Standard,
		Limits: portals.PlanLimits(portals.Standard), ServerTimeout: portals.DefaultServerTimeout,
	}, 1, a, refresh)
	return nil
}

// with is the portal with other credentials, or at another host.
func with(p portals.Portal, generation int64, a bitrix.Access, refresh bitrix.Secret) portals.Portal {
	p.Generation, p.Access, p.Refresh = generation, a, refresh
	p.Name, p.Credential, p.Account = a.Host(), a.Fingerprint(), a.Account()
	return p
}

// Get implements [tasks.PortalByID] and [signin.Store].
func (c *customers) Get(_ context.Context, id string) (portals.Portal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.byID[id]
	if !ok {
		return portals.Portal{}, &portals.UnknownError{Name: id}
	}
	return p, nil
}

// FindMany implements [tasks.Directory].
func (c *customers) FindMany(_ context.Context, names []string) (map[string]portals.Portal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]portals.Portal{}
	for _, name := range names {
		for _, p := range c.byID {
			if strings.EqualFold(name, p.Name) || strings.EqualFold(name, p.MemberID) {
				found[name] = p
			}
		}
	}
	return found, nil
}

// change does something to a portal whose generation is still the given one.
func (c *customers) change(id string, generation int64, f func(p *portals.Portal) error) (portals.Portal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.byID[id]
	switch {
	case !ok:
		return p, &portals.UnknownError{Name: id}
	case p.Generation != generation:
		return p, portals.ErrChanged
	}
	if err := f(&p); err != nil {
		return p, err
	}
	c.byID[id] = p
	return p, nil
}

// Renewing implements [signin.Store].
func (c *customers) Renewing(_ context.Context, id string, generation int64) (unknown int, err error) {
	_, err = c.change(id, generation, func(*portals.Portal) error {
		unknown = c.notes[id]
		c.notes[id]++
		return nil
	})
	return unknown, err
}

// NotRenewed implements [signin.Store].
func (c *customers) NotRenewed(_ context.Context, id string, generation int64) error {
	_, err := c.change(id, generation, func(*portals.Portal) error {
		c.notes[id] = max(c.notes[id]-1, 0)
		return nil
	})
	return err
}

// Renew implements [signin.Store].
func (c *customers) Renew(_ context.Context, id string, generation int64, a bitrix.Access, refresh bitrix.Secret, memberID string) (portals.Portal, error) {
	return c.change(id, generation, func(p *portals.Portal) error {
		if err := c.conflict(p, a.Host()); err != nil {
			return err
		}
		if p.MemberID == "" {
			p.MemberID = memberID
		}
		delete(c.notes, id)
		*p = with(*p, generation+1, a, refresh)
		return nil
	})
}

// Move implements [signin.Store]. The credential is the same, and so is its
// generation.
func (c *customers) Move(_ context.Context, id string, generation int64, a bitrix.Access) (portals.Portal, error) {
	return c.change(id, generation, func(p *portals.Portal) error {
		if err := c.conflict(p, a.Host()); err != nil {
			return err
		}
		*p = with(*p, generation, a, p.Refresh)
		return nil
	})
}

// conflict keeps two portals from having one host.
func (c *customers) conflict(p *portals.Portal, host string) error {
	for id, other := range c.byID {
		if id != p.ID && other.Name == host {
			return &portals.ConflictError{Portal: p.Name, Field: "host", Other: other.Name}
		}
	}
	return nil
}

// The application's own, from where the service keeps its secrets.
const applicationID, applicationSecret = "local.5f3b8c2d", "application-secret"

// startOwnWorker starts a worker for the service's portals, in a process of the
// service.
func startOwnWorker(rdb redis.UniversalClient, known *customers, box *sandbox.Sandbox) (stop func(), err error) {
	log := slog.New(slog.DiscardHandler)
	auth, err := bitrix.NewAuthServer(bitrix.AuthConfig{
		ClientID: applicationID, ClientSecret: bitrix.NewSecret(applicationSecret), Transport: box.Transport(),
	})
	if err != nil {
		return nil, err
	}
	api := bitrix.NewClient(bitrix.Config{UserAgent: "example/1.0", Transport: box.Transport()})
	caller := signin.New(signin.Config{API: api, Auth: auth, Store: known, Locks: signin.NewRedisLocks(rdb), Log: log})
	do := dispatch.New(dispatch.Config{
		Gate: ratelimit.NewLocal(ratelimit.Config{}), Caller: caller, Log: log,
		Parallel: 4, BatchSize: 50, Batching: dispatch.Auto, RequestTimeout: 65 * time.Second, Slots: 64,
	})
	w := tasks.NewWorker(tasks.WorkerConfig{
		Redis: rdb, Dispatcher: do, Queues: []string{"portals-0"}, Concurrency: 64, ShutdownTimeout: 10 * time.Second, Eager: true, Log: log,
		Handler: &tasks.Handler{
			Runs: runs.New(rdb, runs.Options{}), Portals: known, Do: do, Log: log, Now: time.Now,
			Policy: tasks.Policy{MaxAttempts: 8, HoldTTL: 24 * time.Hour},
		},
	})
	if err := w.Start(); err != nil {
		return nil, err
	}
	return func() { w.Stop(); caller.Close(); api.Close(); auth.Close() }, nil
}

// A service keeps its portals itself. Its tokens have expired when it registers
// a bot: the worker renews the pair once, the service's own store keeps it, and
// the bot is registered. The sandbox plays the portal and the authorization
// server.
func Example_ownStore() {
	ctx := context.Background()
	rdb, done := newRedis()
	defer done()
	acme := sandbox.Cloud("acme.bitrix24.ru")
	acme.App = applicationID
	box := sandbox.New(sandbox.WithApplication(applicationID, applicationSecret), sandbox.WithPortals(acme))
	defer box.Close()
	portal := box.Portal("acme.bitrix24.ru")

	known := &customers{byID: map[string]portals.Portal{}, notes: map[string]int{}}
	access, refresh := portal.Pair()
	err := known.add("customer-7", "acme.bitrix24.ru", portal.MemberID(), bitrix.NewSecret(string(access)), bitrix.NewSecret(string(refresh)))
	if err != nil {
		fmt.Println(err)
		return
	}
	portal.ExpireTokens()

	stop, err := startOwnWorker(rdb, known, box)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	store := runs.New(rdb, runs.Options{})
	client := tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: asynq.NewInspectorFromRedisClient(rdb),
		Portals: known, Runs: store, Retention: 7 * 24 * time.Hour,
	})
	if _, err := client.Submit(ctx, "onboarding", tasks.Registration{Portal: portal.MemberID(), Bot: helper()}); err != nil {
		fmt.Println(err)
		return
	}
	err = store.Follow("onboarding").Wait(ctx, func(o runs.Outcome) error {
		fmt.Println(o.Code, o.Status, "in", o.Attempts, "attempt")
		return nil
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	now, err := known.Get(ctx, "customer-7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("pairs traded:", portal.AuthStats().Refreshes, "- kept as generation", now.Generation)
	// Output:
	// helper registered in 1 attempt
	// pairs traded: 1 - kept as generation 2
}
