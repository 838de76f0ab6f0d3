package runs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/runs"
)

// A run from its beginning to its end: rows wait, get their outcomes, and are read
// again. In life tasks.Client adds the rows, and a worker records the outcomes.
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

	store := runs.New(rdb, runs.Options{TTL: 24 * time.Hour})
	if err := fill(ctx, store); err != nil {
		fmt.Println(err)
		return
	}
	info, err := store.Get(ctx, "spring")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %d queued = %d registered + %d dead + %d waiting\n", info.Label, info.Counts.Queued,
		info.Counts.Registered, info.Counts.Dead, info.Counts.Waiting)
	err = store.Outcomes(ctx, "spring", func(o runs.Outcome) error {
		fmt.Println(o.Row, o.Code, o.Status, o.BotID, o.Error != nil)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// bots.csv: 3 queued = 1 registered + 1 dead + 1 waiting
	// 1 helper registered 39 false
	// 2 sales dead 0 true
}

// fill gives a run three rows, and two of them their outcomes. To record one twice
// changes nothing.
func fill(ctx context.Context, store *runs.Store) error {
	if err := store.Open(ctx, "spring", runs.Begin{Label: "bots.csv"}); err != nil {
		return err
	}
	var rows []runs.Row
	for i, code := range []string{"helper", "sales", "support"} {
		rows = append(rows, runs.Row{
			Number: i + 1, Ident: "acme-" + code, Portal: "acme.bitrix24.ru", PortalID: "acme", Code: code,
			QueuedAt: time.Now(), Bot: json.RawMessage(`{"CODE":"` + code + `"}`),
		})
	}
	if _, err := store.Add(ctx, "spring", rows); err != nil {
		return err
	}
	for _, o := range []runs.Outcome{
		{Row: 1, Portal: "acme.bitrix24.ru", Code: "helper", Status: runs.StatusRegistered, BotID: 39},
		{Row: 2, Portal: "acme.bitrix24.ru", Code: "sales", Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "NAME_ERROR"}},
		{Row: 1, Portal: "acme.bitrix24.ru", Code: "helper", Status: runs.StatusRegistered, BotID: 39},
	} {
		if err := store.Record(ctx, "spring", 0, o); err != nil {
			return err
		}
	}
	return nil
}
