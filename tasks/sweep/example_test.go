package sweep_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

// Somebody has deleted the task of a row that waits. One pass of the sweeper, which
// a worker makes every ten minutes, queues the row again.
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
	store, inspector := runs.New(rdb, runs.Options{}), asynq.NewInspectorFromRedisClient(rdb)
	client, registry, err := producer(ctx, rdb, store, inspector)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Submit(ctx, "spring", tasks.Registration{Portal: "acme.bitrix24.ru", Bot: bitrix.Bot{
		Code: "helper", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	queue, err := registry.Queues(ctx)
	if err == nil {
		_, err = inspector.DeleteAllPendingTasks(queue[0])
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	sweeper := sweep.New(sweep.Config{
		Redis: rdb, Queues: registry.Queues, Runs: store, Portals: registry, Requeue: client,
		// A row without a task is believed after a minute.
		Settle: time.Millisecond, Now: func() time.Time { return time.Now().Add(2 * time.Minute) },
	})
	report, err := sweeper.Pass(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Mended)
	waiting, err := inspector.ListPendingTasks(queue[0])
	fmt.Println(len(waiting), "task waits", err)
	// Output:
	// map[restored:1]
	// 1 task waits <nil>
}

// producer is what submits rows, with a registry of one portal.
func producer(ctx context.Context, rdb redis.UniversalClient, store *runs.Store, inspector *asynq.Inspector) (*tasks.Client, *portals.Registry, error) {
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		return nil, nil, err
	}
	entries, err := portals.Read(strings.NewReader("portal,webhook,client_id\nacme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/your-webhook-secret/,my-app\n"),
		portals.CSV, "portals.csv", bitrix.Endpoints{})
	if err != nil {
		return nil, nil, err
	}
	registry := portals.New(rdb, keys, portals.Options{})
	if _, err := registry.Import(ctx, entries); err != nil {
		return nil, nil, err
	}
	return tasks.NewClient(tasks.ClientConfig{
		Queue: asynq.NewClientFromRedisClient(rdb), Inspector: inspector, Portals: registry, Runs: store, Retention: time.Hour,
	}), registry, nil
}
