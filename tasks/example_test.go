// How a service uses the package, and how its tests can.

package tasks_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
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

// shop is a service whose customers have portals: it registers its bot there.
type shop struct {
	redis  redis.UniversalClient
	keys   portals.Keyring
	runs   *runs.Store
	client *tasks.Client
}

// newShop sets the service up on a Redis.
func newShop(rdb redis.UniversalClient, keys portals.Keyring) *shop {
	store := runs.New(rdb, runs.Options{})
	return &shop{redis: rdb, keys: keys, runs: store, client: tasks.NewClient(tasks.ClientConfig{
		Queue:     asynq.NewClientFromRedisClient(rdb),
		Inspector: asynq.NewInspectorFromRedisClient(rdb),
		Portals:   portals.New(rdb, keys, portals.Options{WithoutSecrets: true}),
		Runs:      store,
		Retention: 7 * 24 * time.Hour,
	})}
}

// connect makes a customer's portal known, with the webhook that it gave.
func (s *shop) connect(ctx context.Context, csv string) error {
	entries, err := portals.Read(strings.NewReader(csv), portals.CSV, "portals", bitrix.Endpoints{})
	if err != nil {
		return err
	}
	_, err = portals.New(s.redis, s.keys, portals.Options{}).Import(ctx, entries)
	return err
}

// helper is the service's bot.
func helper() bitrix.Bot {
	return bitrix.Bot{
		Code: "helper", EventHandler: "https://bots.example.com/events",
		Properties: bitrix.Properties{Name: "Helper", Color: "AZURE"},
	}
}

const acme = "portal,webhook,client_id\nacme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/your-webhook-secret/,my-app\n"

// newRedis starts an in-memory Redis, and returns a client and what ends both.
func newRedis() (redis.UniversalClient, func()) {
	mem := miniredis.NewMiniRedis()
	if err := mem.Start(); err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: mem.Addr()})
	return rdb, func() { _ = rdb.Close(); mem.Close() }
}

// newKeys makes a key. A service reads its own from where it keeps secrets, the
// same that its workers have.
func newKeys() portals.Keyring {
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		panic(err)
	}
	return keys
}

// A service queues its bot for a customer's portal. Each receipt says what
// became of one registration; a worker elsewhere does the work.
func ExampleClient_Submit() {
	ctx := context.Background()
	rdb, done := newRedis()
	defer done()
	s := newShop(rdb, newKeys())
	if err := s.connect(ctx, acme); err != nil {
		fmt.Println(err)
		return
	}
	nameless := helper()
	nameless.Code, nameless.Properties.Name = "nameless", ""
	receipts, err := s.client.Submit(ctx, "onboarding",
		tasks.Registration{Portal: "acme.bitrix24.ru", Bot: helper()},
		tasks.Registration{Portal: "acme.bitrix24.ru", Bot: nameless},
		tasks.Registration{Portal: "nobody.bitrix24.ru", Bot: helper()},
	)
	if err != nil {
		fmt.Println(err) // submitting the same rows again completes it
		return
	}
	for _, r := range receipts {
		fmt.Println(r.Row, r.Status)
		for _, p := range r.Problems {
			fmt.Println("  ", p.Code, p.Field)
		}
	}
	// The bot waits already: it is not queued twice.
	again, err := s.client.Submit(ctx, "onboarding", tasks.Registration{Portal: "acme.bitrix24.ru", Bot: helper()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(again[0].Row, again[0].Status, "of row", again[0].Of.Row)
	// Output:
	// 1 queued
	// 2 refused
	//    NAME_ERROR PROPERTIES.NAME
	// 3 refused
	//    PORTAL_UNKNOWN portal
	// 4 duplicate of row 1
}

// A test of such a service, against a portal in a box: a worker in the same
// process takes what the service submits to the sandbox, and the run tells when
// it is done. In a test, sandbox.Start(t) saves the closing.
func Example_sandbox() {
	ctx := context.Background()
	rdb, done := newRedis()
	defer done()
	box := sandbox.New(sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	defer box.Close()
	keys := newKeys()
	s := newShop(rdb, keys)
	if err := s.connect(ctx, acme); err != nil {
		fmt.Println(err)
		return
	}
	stop, err := startWorker(rdb, keys, box)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	receipts, err := s.client.Submit(ctx, "onboarding", tasks.Registration{Portal: "acme.bitrix24.ru", Bot: helper()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receipts[0].Status)
	err = s.runs.Follow("onboarding").Wait(ctx, func(o runs.Outcome) error {
		fmt.Println(o.Portal, o.Code, o.Status, o.How, "bot", o.BotID)
		return nil
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range box.Portal("acme.bitrix24.ru").Bots() {
		fmt.Println("the portal has", b.Code, "of", b.App)
	}
	// Output:
	// queued
	// acme.bitrix24.ru helper registered created bot 39
	// the portal has helper of custommy-app
}

// startWorker starts what the worker command is made of, with a sandbox in
// place of the network.
func startWorker(rdb redis.UniversalClient, keys portals.Keyring, box *sandbox.Sandbox) (stop func(), err error) {
	log := slog.New(slog.DiscardHandler)
	registry := portals.New(rdb, keys, portals.Options{})
	queues, err := registry.Queues(context.Background())
	if err != nil {
		return nil, err
	}
	caller := signin.New(signin.Config{
		API: bitrix.NewClient(bitrix.Config{UserAgent: "example/1.0", Transport: box.Transport()}), Store: registry,
	})
	do := dispatch.New(dispatch.Config{
		Gate: ratelimit.NewLocal(ratelimit.Config{}), Caller: caller, Holds: registry, Log: log,
		Parallel: 4, BatchSize: 50, Batching: dispatch.Auto, RequestTimeout: 65 * time.Second, Slots: 64,
	})
	w := tasks.NewWorker(tasks.WorkerConfig{
		Redis: rdb, Dispatcher: do, Queues: queues, Concurrency: 64, ShutdownTimeout: 10 * time.Second, Eager: true, Log: log,
		Handler: &tasks.Handler{
			Runs: runs.New(rdb, runs.Options{}), Portals: portals.NewCache(registry, 0), Do: do, Log: log, Now: time.Now,
			Policy: tasks.Policy{MaxAttempts: 8, HoldTTL: 24 * time.Hour},
		},
	})
	if err := w.Start(); err != nil {
		return nil, err
	}
	return func() { w.Stop(); caller.Close() }, nil
}
