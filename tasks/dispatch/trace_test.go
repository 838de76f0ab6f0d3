// What a tracer hears of requests.

package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks/dispatch"
)

type rowKey struct{}

// heardRequests is a tracer that remembers requests and their ends.
type heardRequests struct {
	mu    sync.Mutex
	begun int
	ended []string
	rows  int
}

func (h *heardRequests) Request(ctx context.Context, r dispatch.TracedRequest) (context.Context, func(dispatch.TracedEnd)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun++
	h.rows += len(r.Rows)
	var rows []string
	for _, row := range r.Rows {
		rows = append(rows, fmt.Sprint(row.Value(rowKey{})))
	}
	once := sync.Once{}
	ctx = context.WithValue(ctx, rowKey{}, "request")
	return ctx, func(end dispatch.TracedEnd) {
		twice := "twice, "
		once.Do(func() { twice = "" })
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ended = append(h.ended, fmt.Sprintf("%s on %s for %s: %s%s %d %s %s",
			r.Method, r.Portal, strings.Join(rows, " "), twice, end.Outcome, end.Status, end.Code, end.Text))
	}
}

// tracedBench is a bench whose callers tell their CODE by their context.
func tracedBench(t *testing.T, fake *fakePortal, change func(*dispatch.Config, *portals.Portal)) (*bench, *heardRequests) {
	h := &heardRequests{}
	return newBench(t, fake, func(c *dispatch.Config, p *portals.Portal) {
		c.Tracer = h
		if change != nil {
			change(c, p)
		}
	}), h
}

func (b *bench) named(ctx context.Context, code string, retried bool) dispatch.Result {
	ctx = context.WithValue(ctx, rowKey{}, code)
	return b.Do(ctx, dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: code}, Retried: retried})
}

func TestATracerHearsOfARequestAndItsRow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{fail: func(code string, _ int) error {
			if code == "bad" {
				return &bitrix.Error{Class: bitrix.Validation, Code: "CODE_ERROR", Description: "no", Status: 400}
			}
			return nil
		}}
		b, h := tracedBench(t, fake, nil)
		registered(t, b.named(t.Context(), "a", false))
		b.named(t.Context(), "bad", false)
		registered(t, b.named(t.Context(), "a", true)) // looked for
		want := []string{
			"imbot.register on acme.bitrix24.ru for a: answered 200  ",
			"imbot.register on acme.bitrix24.ru for bad: answered 400 CODE_ERROR no",
			"imbot.bot.list on acme.bitrix24.ru for a: answered 200  ",
		}
		if d := cmp.Diff(want, h.ended); d != "" {
			t.Error(d)
		}
	})
}

func TestATracerHearsOfABatchAndAllItsRows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, h := tracedBench(t, &fakePortal{}, func(c *dispatch.Config, _ *portals.Portal) { c.Batching = dispatch.Always })
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { registered(t, b.named(t.Context(), fmt.Sprintf("bot%d", i), false)) })
		}
		wg.Wait()
		if len(h.ended) != 1 || !strings.HasPrefix(h.ended[0], "batch on acme.bitrix24.ru for ") {
			t.Fatalf("%q", h.ended)
		}
		for i := range 5 {
			if !strings.Contains(h.ended[0], fmt.Sprintf("bot%d", i)) {
				t.Errorf("bot%d is not in %q", i, h.ended[0])
			}
		}
	})
}

// A request that is broken off ends for its tracer too, and so do its rows' looks.
func TestEveryRequestEndsOnceForItsTracer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fake := &fakePortal{latency: 1, fail: func(_ string, nth int) error {
			if nth == 1 {
				return ambiguous()
			}
			return nil
		}}
		b, h := tracedBench(t, fake, nil)
		results := b.all(t.Context(), 40)
		for i, r := range results {
			if r.Err != nil {
				b.Do(t.Context(), dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: fmt.Sprintf("bot%d", i)}, Retried: true})
			}
		}
		b.Close(t.Context())
		if h.begun == 0 || len(h.ended) != h.begun || h.begun != len(fake.calls) {
			t.Errorf("%d requests began, %d ended, %d were made", h.begun, len(h.ended), len(fake.calls))
		}
		for _, line := range h.ended {
			if strings.Contains(line, "twice") {
				t.Error(line)
			}
		}
	})
}
