package onboard_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/onboard"
	"botfleet/tasks/runs"
)

// everybody gets the same bots.
type everybody []bitrix.Bot

func (e everybody) For(context.Context) ([]bitrix.Bot, error) { return e, nil }

// events tells the example when something has become of an event.
type events chan string

func (e events) Event(event, outcome string) { e <- event + " " + outcome }

// A portal installs the application: its form is kept and answered at once, the
// portal stored once its token has proved it, and its bots are submitted.
func Example() {
	ctx := context.Background()
	mem := miniredis.NewMiniRedis()
	if err := mem.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer mem.Close()
	rdb := redis.NewClient(&redis.Options{Addr: mem.Addr()})
	defer func() { _ = rdb.Close() }()
	box := sandbox.New(
		sandbox.WithApplication("local.demo", "demo-secret"),
		sandbox.WithPortals(sandbox.Portal{Name: "acme.bitrix24.ru", App: "local.demo"}),
	)
	defer box.Close()

	told := make(events, 10)
	service, registry, err := newService(rdb, box, told)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := service.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer service.Stop()

	// What the portal posts to the application's install handler.
	form := strings.NewReader(box.Portal("acme.bitrix24.ru").Install().Encode())
	r := httptest.NewRequest(http.MethodPost, "/install", form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	service.Handler().ServeHTTP(answer, r)
	fmt.Println(answer.Code)
	fmt.Println(<-told)
	fmt.Println(<-told)

	p, err := registry.Find(ctx, "acme.bitrix24.ru")
	if err != nil {
		fmt.Println(err)
		return
	}
	run, err := runs.New(rdb, runs.Options{}).Get(ctx, onboard.RunID(portals.Installed{Portal: p, Count: 1}))
	fmt.Println(p.Name, p.Installed, run.Label, run.Counts.Waiting, err)
	// Output:
	// 200
	// install kept
	// install installed
	// acme.bitrix24.ru true install of acme.bitrix24.ru 1 <nil>
}

// newService is what a worker with INSTALL_ADDR sets up.
func newService(rdb redis.UniversalClient, box *sandbox.Sandbox, meter onboard.Meter) (*onboard.Service, *portals.Registry, error) {
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		return nil, nil, err
	}
	registry, store := portals.New(rdb, keys, portals.Options{}), runs.New(rdb, runs.Options{})
	queue, inspector := asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)
	service, err := onboard.New(onboard.Config{
		Keys: keys, Queue: queue, Redis: rdb, Registry: registry, Runs: store, Inspector: inspector,
		Prover: bitrix.NewClient(bitrix.Config{Transport: box.Transport()}), Gate: ratelimit.NewLocal(ratelimit.Config{}),
		Bots: everybody{{Code: "helper", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"}}},
		Submitter: tasks.NewClient(tasks.ClientConfig{
			Queue: queue, Inspector: inspector, Portals: registry, Runs: store, Retention: time.Hour,
		}),
		Eager: true, Meter: meter, Log: slog.New(slog.DiscardHandler),
	})
	return service, registry, err
}
