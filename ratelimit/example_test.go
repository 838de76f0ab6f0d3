package ratelimit_test

import (
	"context"
	"fmt"
	"time"

	"botfleet/ratelimit"
)

// A portal takes 3 requests at once and 1 a second. The gate lets that through, but
// for one that jitter on the way may need, says when to ask again, and holds the
// portal when it refuses the credentials.
func Example() {
	ctx := context.Background()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	gate := ratelimit.NewLocal(ratelimit.Config{Parallel: 1, Now: func() time.Time { return now }})
	request := ratelimit.Request{
		Portal: "acme", Limits: ratelimit.Limits{Rate: 1, Burst: 3}, Credential: "webhook-1", Method: "imbot.register", Rows: 1,
	}
	// call asks for one request, and tells its end.
	call := func(end ratelimit.Answer) {
		d, err := gate.Acquire(ctx, request)
		if err != nil {
			fmt.Println(err)
			return
		}
		if len(d.Go) == 0 {
			why := string(d.Reason)
			if d.Hold != nil {
				why += ": " + d.Hold.Reason
			}
			fmt.Println("not before", d.Until.Format("15:04:05"), why)
			now = d.Until
			return
		}
		fmt.Println("go at", now.Format("15:04:05"))
		if err := gate.Observe(ctx, d.Ticket, end); err != nil {
			fmt.Println(err)
		}
	}
	well := ratelimit.Answer{Outcome: ratelimit.Answered, Ran: 1}
	for range 4 {
		call(well)
	}
	now = now.Add(time.Minute)
	call(ratelimit.Answer{Outcome: ratelimit.BlockedByBX, Code: "INVALID_CREDENTIALS", Text: "the webhook was deleted"})
	call(well)
	if err := gate.Release(ctx, "acme"); err != nil {
		fmt.Println(err)
	}
	call(well)
	// Output:
	// go at 12:00:00
	// go at 12:00:00
	// not before 12:00:01 rate
	// go at 12:00:01
	// go at 12:01:01
	// not before 12:01:11 held: INVALID_CREDENTIALS: the webhook was deleted
	// go at 12:01:11
}
