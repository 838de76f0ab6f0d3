// What the dispatcher is tested with: the real gate, and a portal and holds of our own.

package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// fakePortal answers calls as its fields say, and remembers them.
type fakePortal struct {
	latency time.Duration
	// fail, if set, decides about each registration: nil lets it succeed.
	fail func(code string, nth int) error
	// skip makes a batch leave a CODE out.
	skip func(code string) bool
	// lost registers the bot although fail says that the answer was lost.
	lost bool

	there  map[string]bool // bots that stood there before; bots knows them too
	update error           // of every Update

	mu       sync.Mutex
	bots     map[string]int64
	calls    []string // "register code", "batch a,b", "list"
	seen     map[string]int
	inFlight int
	most     int
}

func (f *fakePortal) begin(call string) {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.inFlight++
	f.most = max(f.most, f.inFlight)
	f.mu.Unlock()
}

func (f *fakePortal) end(ctx context.Context) {
	f.mu.Lock()
	latency := f.latency
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(latency):
	}
	f.mu.Lock()
	f.inFlight--
	f.mu.Unlock()
}

func (f *fakePortal) one(code string) (bitrix.Registered, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bots == nil {
		f.bots, f.seen = map[string]int64{}, map[string]int{}
	}
	f.seen[code]++
	var err error
	if f.fail != nil {
		err = f.fail(code, f.seen[code])
	}
	if err == nil || f.lost {
		if f.bots[code] == 0 {
			f.bots[code] = int64(len(f.bots) + 1)
		}
	}
	return bitrix.Registered{BotID: f.bots[code], Existed: f.there[code]}, err
}

// Update implements [dispatch.Caller].
func (f *fakePortal) Update(ctx context.Context, _ *portals.Portal, botID int64, b *bitrix.Bot) (bitrix.Time, error) {
	f.begin(fmt.Sprintf("update %d %s", botID, b.Code))
	defer f.end(ctx)
	return bitrix.Time{}, f.update
}

func (f *fakePortal) Register(ctx context.Context, _ *portals.Portal, b *bitrix.Bot) (bitrix.Registered, error) {
	f.begin("register " + b.Code)
	defer f.end(ctx)
	return f.one(b.Code)
}

func (f *fakePortal) RegisterBatch(ctx context.Context, _ *portals.Portal, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
	var codes []string
	for _, b := range bots {
		codes = append(codes, b.Code)
	}
	f.begin("batch " + strings.Join(codes, ","))
	defer f.end(ctx)
	var ans bitrix.BatchAnswer
	for i, c := range codes {
		if i > 0 && f.skip != nil && f.skip(c) {
			ans.Rows = append(ans.Rows, bitrix.BatchRow{})
			continue
		}
		reg, err := f.one(c)
		reg.Updated = reg.Existed && bots[i].Update
		row := bitrix.BatchRow{Ran: true, Registered: reg}
		if err != nil {
			row.Err, _ = errors.AsType[*bitrix.Error](err)
		}
		ans.Rows = append(ans.Rows, row)
	}
	return ans, nil
}

func (f *fakePortal) Bots(ctx context.Context, _ *portals.Portal, _ string) ([]bitrix.ListedBot, bitrix.Time, error) {
	f.begin("list")
	defer f.end(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []bitrix.ListedBot
	for c, id := range f.bots {
		all = append(all, bitrix.ListedBot{ID: id, Code: c})
	}
	return all, bitrix.Time{}, nil
}

func (f *fakePortal) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// holds remembers holds.
type holds struct {
	mu   sync.Mutex
	held map[string]string
	// credential was refused last.
	credential string
}

func (h *holds) HoldCredential(_ context.Context, id, credential, reason string, _ time.Time) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[id], h.credential = reason, credential
	return true, nil
}

// bench is a dispatcher on one fake portal.
type bench struct {
	*dispatch.Dispatcher
	portal *portals.Portal
	fake   *fakePortal
	gate   *ratelimit.Local
	holds  *holds
}

func newBench(t *testing.T, fake *fakePortal, change func(*dispatch.Config, *portals.Portal)) *bench {
	b := &bench{
		fake: fake, gate: ratelimit.NewLocal(ratelimit.Config{Parallel: 4}), holds: &holds{held: map[string]string{}},
		portal: &portals.Portal{
			ID: "p1", Name: "acme.bitrix24.ru", ServerTimeout: time.Minute, Credential: "c1", Account: "a1",
			Limits: ratelimit.Limits{Rate: 1000, Burst: 1000, OperatingWindow: 10 * time.Minute},
		},
	}
	cfg := dispatch.Config{
		Gate: b.gate, Caller: fake, Holds: b.holds, Parallel: 4, BatchSize: 50, Batching: dispatch.Auto,
		RequestTimeout: 10 * time.Second, Slots: 1024,
	}
	if change != nil {
		change(&cfg, b.portal)
	}
	b.Dispatcher = dispatch.New(cfg)
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// all does jobs for the CODEs bot0…bot(n-1) at the same moment.
func (b *bench) all(ctx context.Context, n int) []dispatch.Result {
	results := make([]dispatch.Result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i] = b.one(ctx, fmt.Sprintf("bot%d", i)) })
	}
	wg.Wait()
	return results
}

func (b *bench) one(ctx context.Context, code string) dispatch.Result {
	return b.Do(ctx, dispatch.Job{Portal: b.portal, Bot: &bitrix.Bot{Code: code}})
}

func registered(t *testing.T, results ...dispatch.Result) {
	t.Helper()
	for i, r := range results {
		if r.Registered == nil {
			t.Fatalf("job %d: %+v, error %v", i, r, r.Err)
		}
	}
}

// inBubble runs a test in virtual time, and ends its dispatchers inside it.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
