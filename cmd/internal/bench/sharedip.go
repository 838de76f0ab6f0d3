// A portal whose request rate is shared with another program on the same address.

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"botfleet/bitrix/sandbox"
)

const (
	sharedRows       = 1200
	mostSharedErrors = 10.0 // in 1,000 requests
	leastSharedUse   = 0.8
)

// sharedIP is a portal of 40 requests/s and 50 at once, a standard plan with
// periods shortened 20 times, of whose rate another program takes half. The
// gate is not told; what it learns with, such as its minutes of peace, is not
// shortened.
func (b *bench) sharedIP(ctx context.Context) ([]figure, error) {
	like := sandbox.Portal{Rate: 40, Burst: 50, ServiceTime: callTakes}
	rows := b.part(sharedRows)
	b.sayf("half of a portal's rate is taken: %d rows, BATCH=off, %.0f s at best", rows, float64(rows)/(like.Rate/2))
	f, err := b.newFleet(ctx, 1, 1, like)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.rows = registrations(f.entries[0].Name, rows)
	const env = "BATCH=off"
	if err := f.connect(ctx, env); err != nil {
		return nil, err
	}
	if err := f.start(ctx, 1, env); err != nil {
		return nil, err
	}
	n := startNeighbour(ctx, f.entries[0].Name, like.Rate/2)
	s, err := b.makespan(ctx, f, "shared rate", 10*time.Minute)
	n.stop()
	if err != nil {
		return nil, err
	}
	return n.figures(f, like, s), nil
}

// neighbour is a program that sends requests from the same address at an even
// pace, whatever is answered.
type neighbour struct {
	client http.Client
	cancel context.CancelFunc
	done   chan struct{}
	sent   []time.Time // when those were sent that the portal took in
	failed int         // those it refused
}

// startNeighbour begins to send. stop ends it.
func startNeighbour(ctx context.Context, portal string, perSecond float64) *neighbour {
	ctx, cancel := context.WithCancel(ctx)
	n := &neighbour{client: http.Client{Transport: &http.Transport{}}, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				n.call(ctx, "http://"+portal+"/rest/2/neighbourneighbour/profile")
			}
		}
	}()
	return n
}

// call sends one request. One that is broken off at the end counts as refused.
func (n *neighbour) call(ctx context.Context, url string) {
	at := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		n.failed++
		return
	}
	answer, err := n.client.Do(r)
	if err != nil {
		n.failed++
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		n.failed++
		return
	}
	n.sent = append(n.sent, at)
}

func (n *neighbour) stop() {
	n.cancel()
	<-n.done
	n.client.CloseIdleConnections()
}

// figures are how often we were refused, and how much we used of what the
// neighbour left: all that the bucket takes in from our first request to our
// last, less what the neighbour had of it.
func (n *neighbour) figures(f *fleet, like sandbox.Portal, s sight) []figure {
	var ours, refused int
	var first, last time.Time
	for _, r := range f.box.Portals()[0].Requests() {
		if r.Method == "profile" {
			continue
		}
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
		last = later(last, r.At)
		if ours++; r.Code == overRate {
			refused++
		}
	}
	theirs := 0
	for _, at := range n.sent {
		if !at.Before(first) && !at.After(last) {
			theirs++
		}
	}
	rest := float64(like.Burst) + like.Rate*last.Sub(first).Seconds() - float64(theirs)
	used := float64(ours-refused) / rest
	errors := 1000 * float64(refused) / float64(max(1, ours))
	return []figure{
		{
			what:  "rate shared with another program: refusals",
			value: fmt.Sprintf("%.1f answers 503 in 1,000 requests (%d of %d in %.0f s)", errors, refused, ours, s.took().Seconds()),
			must:  fmt.Sprintf("at most %.0f", mostSharedErrors), ok: errors <= mostSharedErrors,
		},
		{
			what:  "rate shared with another program: use",
			value: fmt.Sprintf("%.2f of what the other left (%d of %.0f; it took %d and was refused %d times)", used, ours-refused, rest, theirs, n.failed),
			must:  fmt.Sprintf("at least %.1f", leastSharedUse), ok: used >= leastSharedUse,
		},
	}
}
