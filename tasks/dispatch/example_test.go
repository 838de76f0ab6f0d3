package dispatch_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// Jobs of one portal are handed over side by side, and each caller waits for its
// own. With one request at a time, those that wait for it share the next one.
func Example() {
	like := sandbox.Unlimited("acme.bitrix24.ru")
	like.ServiceTime = 50 * time.Millisecond
	box := sandbox.New(sandbox.WithPortals(like))
	defer box.Close()
	access, err := bitrix.ParseWebhook("https://acme.bitrix24.ru/rest/1/your-webhook-secret/")
	if err != nil {
		fmt.Println(err)
		return
	}
	acme := &portals.Portal{
		ID: "acme", Name: access.Host(), Kind: portals.Webhook, Access: access, Account: access.Account(), Credential: access.Fingerprint(),
		Limits: portals.PlanLimits(portals.Enterprise), ServerTimeout: portals.DefaultServerTimeout,
	}
	caller := signin.New(signin.Config{API: bitrix.NewClient(bitrix.Config{Transport: box.Transport()})}) // no tokens: no store
	defer caller.Close()
	d := dispatch.New(dispatch.Config{
		Gate: ratelimit.NewLocal(ratelimit.Config{Parallel: 1}), Caller: caller, Parallel: 1,
		BatchSize: 50, Batching: dispatch.Auto, RequestTimeout: time.Minute, Slots: 1024,
	})
	defer d.Close(context.Background())

	const jobs = 20
	results := make([]dispatch.Result, jobs)
	var all sync.WaitGroup
	for i := range jobs {
		all.Go(func() {
			results[i] = d.Do(context.Background(), dispatch.Job{Portal: acme, Order: int64(i), Bot: &bitrix.Bot{
				Code: fmt.Sprintf("bot%d", i), ClientID: fmt.Sprintf("app%d", i), EventHandler: "https://bots.example.com/events",
				Properties: bitrix.Properties{Name: "Helper"},
			}})
		})
	}
	all.Wait()
	registered := 0
	for _, r := range results {
		if r.Registered != nil {
			registered++
		}
	}
	stats := box.Stats()
	fmt.Println(registered, "registered;", stats.Requests < jobs, "that they shared requests")
	// Output:
	// 20 registered; true that they shared requests
}
