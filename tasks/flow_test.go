// How fast rows flow at a portal's limits: the real dispatcher, gate and spread,
// with a queue and a portal of our own, in virtual time.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// flowPortal counts requests and operating time as a portal does.
type flowPortal struct {
	limits      ratelimit.Limits
	way, perRow time.Duration // of a request, and of each of its rows
	together    bool          // direct and batched calls are counted together

	mu       sync.Mutex
	level    float64
	drained  time.Time
	minutes  map[bool]map[int64]time.Duration // work by bucket; batched or not
	calls    int
	refused  int // 503
	tooMuch  int // 429
	order    []string
	first    time.Time
	last     time.Time
	inWork   int
	busyFrom time.Time
	idle     time.Duration
}

// arrive counts a request, or refuses it.
func (f *flowPortal) arrive() *bitrix.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.calls++
	if f.first.IsZero() {
		f.first, f.drained, f.busyFrom = now, now, now
		f.minutes = map[bool]map[int64]time.Duration{true: {}, false: {}}
	}
	f.level = math.Max(0, f.level-f.limits.Rate*now.Sub(f.drained).Seconds())
	f.drained = now
	if f.level+1 > float64(f.limits.Burst)+1e-9 {
		f.refused++
		return &bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED", Status: 503}
	}
	f.level++
	if f.inWork++; f.inWork == 1 {
		f.idle += now.Sub(f.busyFrom)
	}
	return nil
}

func (f *flowPortal) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inWork--; f.inWork == 0 {
		f.busyFrom = time.Now()
	}
}

func (f *flowPortal) step() time.Duration { return f.limits.OperatingWindow / 10 }

// operating is the work in the window, and when the oldest of it leaves.
func (f *flowPortal) operating(batched bool, now time.Time) (sum time.Duration, reset time.Time) {
	batched = batched || f.together
	at := now.UnixNano() / int64(f.step())
	oldest := at
	for minute, work := range f.minutes[batched] {
		if minute <= at-10 {
			delete(f.minutes[batched], minute)
			continue
		}
		sum += work
		oldest = min(oldest, minute)
	}
	return sum, time.Unix(0, (oldest+10)*int64(f.step()))
}

// row registers one bot.
func (f *flowPortal) row(code string, batched bool) (bitrix.Time, *bitrix.Error) {
	if f.limits.Operating > 0 {
		f.mu.Lock()
		sum, _ := f.operating(batched, time.Now())
		if sum > f.limits.Operating {
			f.tooMuch++
			f.mu.Unlock()
			return bitrix.Time{}, &bitrix.Error{Class: bitrix.Limit, Code: "OPERATION_TIME_LIMIT", Status: 429}
		}
		f.mu.Unlock()
	}
	<-time.After(f.perRow)
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.order = append(f.order, code)
	f.last = now
	if f.limits.Operating == 0 {
		return bitrix.Time{}, nil
	}
	f.minutes[batched || f.together][now.UnixNano()/int64(f.step())] += f.perRow
	sum, reset := f.operating(batched, now)
	return bitrix.Time{HasOperating: true, Operating: sum, ResetAt: reset}, nil
}

func (f *flowPortal) Register(_ context.Context, _ *portals.Portal, b *bitrix.Bot) (bitrix.Registered, error) {
	if err := f.arrive(); err != nil {
		return bitrix.Registered{}, err
	}
	defer f.leave()
	<-time.After(f.way)
	at, err := f.row(b.Code, false)
	if err != nil {
		return bitrix.Registered{}, err
	}
	return bitrix.Registered{BotID: 1, Time: at}, nil
}

func (f *flowPortal) RegisterBatch(_ context.Context, _ *portals.Portal, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
	if err := f.arrive(); err != nil {
		return bitrix.BatchAnswer{}, err
	}
	defer f.leave()
	<-time.After(f.way)
	var ans bitrix.BatchAnswer
	for _, b := range bots {
		at, err := f.row(b.Code, true)
		ans.Rows = append(ans.Rows, bitrix.BatchRow{Ran: true, Registered: bitrix.Registered{BotID: 1, Time: at}, Time: at, Err: err})
	}
	return ans, nil
}

func (f *flowPortal) Update(context.Context, *portals.Portal, int64, *bitrix.Bot) (bitrix.Time, error) {
	return bitrix.Time{}, errors.New("nothing is updated here")
}

func (f *flowPortal) Bots(context.Context, *portals.Portal, string) ([]bitrix.ListedBot, bitrix.Time, error) {
	return nil, bitrix.Time{}, nil
}

// flow is rows of one portal, a queue, and workers.
type flow struct {
	portal   *flowPortal
	workers  int
	batching dispatch.Batching
	rows     int
	slots    int

	p       portals.Portal
	mu      sync.Mutex
	pending []*flowRow
	waiting map[int64][]*flowRow // by due second
	done    int
	fetches int
	most    int // fetches of one row
	ended   chan struct{}
}

type flowRow struct {
	order   int64
	code    string
	fetches int
}

// fetchTakes is what a worker needs to fetch and start a task.
const fetchTakes = 200 * time.Microsecond

// run lets the rows flow, and returns how long the portal was at it.
func (f *flow) run(t *testing.T) time.Duration {
	f.p = portals.Portal{ID: "p", Name: "p", Queue: "q", Limits: f.portal.limits, ServerTimeout: time.Minute, Credential: "c"}
	f.waiting, f.ended = map[int64][]*flowRow{}, make(chan struct{})
	if f.slots == 0 {
		f.slots = 1024
	}
	gate := ratelimit.NewLocal(ratelimit.Config{})
	f.submit(t, gate)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range f.workers {
		batch := 50
		if f.batching == dispatch.Off {
			batch = 1
		}
		d := dispatch.New(dispatch.Config{
			Gate: gate, Caller: f.portal, Parallel: ratelimit.DefaultParallel, BatchSize: batch, Batching: f.batching,
			RequestTimeout: time.Minute, Slots: f.slots, QueueSlots: QueueSlots(f.slots, 4),
		})
		all.Go(func() { f.serve(ctx, d) })
		all.Go(func() { f.forward(ctx) })
	}
	<-f.ended
	cancel()
	all.Wait()
	return f.portal.last.Sub(f.portal.first)
}

// submit queues the rows as a client does.
func (f *flow) submit(t *testing.T, gate ratelimit.Gate) {
	batch := 50
	if f.batching == dispatch.Off {
		batch = 1
	}
	s := newSpread(gate, batch, time.Now)
	items := make([]item, f.rows)
	for i := range items {
		items[i] = item{
			reg:     &Registration{Bot: bitrix.Bot{Code: fmt.Sprintf("code%06d", i)}},
			receipt: &Receipt{}, portal: f.p, order: orderOf(time.Now()) + int64(i),
		}
	}
	for part := range chunks(items, 2048) {
		if err := s.plan(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	for i := range items {
		r := &flowRow{order: items[i].order, code: items[i].reg.Bot.Code}
		if items[i].at.IsZero() {
			f.pending = append(f.pending, r)
		} else {
			f.waiting[items[i].at.Unix()] = append(f.waiting[items[i].at.Unix()], r)
		}
	}
}

// forward brings back what is due, once a second.
func (f *flow) forward(ctx context.Context) {
	<-time.After(time.Duration(rand.Int64N(int64(time.Second))))
	for ctx.Err() == nil {
		now := time.Now().Unix()
		f.mu.Lock()
		var due []int64
		for at := range f.waiting {
			if at <= now {
				due = append(due, at)
			}
		}
		slices.Sort(due)
		for _, at := range due {
			rows := f.waiting[at]
			rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] }) // by id, that is
			f.pending = append(f.pending, rows...)
			delete(f.waiting, at)
		}
		f.mu.Unlock()
		<-time.After(time.Second)
	}
}

// serve fetches rows and hands them to a dispatcher.
func (f *flow) serve(ctx context.Context, d *dispatch.Dispatcher) {
	slots := make(chan struct{}, QueueSlots(f.slots, 4))
	var all sync.WaitGroup
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		r := f.fetch()
		if r == nil {
			<-slots
			<-time.After(300*time.Millisecond + time.Duration(rand.Int64N(int64(600*time.Millisecond))))
			continue
		}
		<-time.After(fetchTakes)
		all.Go(func() {
			f.handle(ctx, d, r)
			<-slots
		})
	}
	d.Close(context.WithoutCancel(ctx))
	all.Wait()
}

func (f *flow) fetch() *flowRow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) == 0 {
		return nil
	}
	r := f.pending[0]
	f.pending = f.pending[1:]
	f.fetches++
	r.fetches++
	f.most = max(f.most, r.fetches)
	return r
}

func (f *flow) handle(ctx context.Context, d *dispatch.Dispatcher, r *flowRow) {
	res := d.Do(ctx, dispatch.Job{Portal: &f.p, Bot: &bitrix.Bot{Code: r.code}, Order: r.order})
	f.mu.Lock()
	defer f.mu.Unlock()
	if res.Deferred != nil {
		l := Policy{MaxAttempts: 8}.judge(res, 1, time.Now(), 0).Later
		at := time.Now().Add(RetryDelay(time.Now)(0, l, nil)).Unix()
		f.waiting[at] = append(f.waiting[at], r)
		return
	}
	if f.done++; f.done == f.rows {
		close(f.ended)
	}
}

// disorder is the greatest number of places by which a row was overtaken.
func (f *flowPortal) disorder() int {
	worst := 0
	sorted := slices.Sorted(slices.Values(f.order))
	at := make(map[string]int, len(sorted))
	for i, code := range sorted {
		at[code] = i
	}
	for i, code := range f.order {
		worst = max(worst, i-at[code])
	}
	return worst
}

func TestFlow(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		flow  *flow
		ideal func(f *flow) time.Duration
		most  float64
	}{
		"rate, one by one": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 20, Burst: 50}, way: 10 * ms, perRow: 10 * ms},
			rows:   2000, batching: dispatch.Off, workers: 1,
		}, rateBound(1), 1.05},
		"rate, one by one, 2 workers": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 20, Burst: 50}, way: 10 * ms, perRow: 10 * ms},
			rows:   2000, batching: dispatch.Off, workers: 2,
		}, rateBound(1), 1.05},
		"rate, batches": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 2, Burst: 10}, way: 10 * ms, perRow: 20 * ms},
			rows:   20_000, batching: dispatch.Auto, workers: 1,
		}, rateBound(50), 1.15},
		"pace, batches": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 10, Burst: 10}, way: 10 * ms, perRow: 20 * ms},
			rows:   20_000, batching: dispatch.Auto, workers: 1,
		}, paceBound, 1.15},
		"budget": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 20, Burst: 50, Operating: 48 * time.Second, OperatingWindow: time.Minute}, way: 10 * ms, perRow: 240 * ms},
			rows:   560, batching: dispatch.Auto, workers: 1,
		}, budgetBound, 1.10},
		"budget, all calls together": {&flow{
			portal: &flowPortal{together: true, limits: ratelimit.Limits{Rate: 20, Burst: 50, Operating: 48 * time.Second, OperatingWindow: time.Minute}, way: 10 * ms, perRow: 240 * ms},
			rows:   560, batching: dispatch.Auto, workers: 1,
		}, budgetBound, 1.10},
		"budget, all calls together, 4 workers": {&flow{
			portal: &flowPortal{together: true, limits: ratelimit.Limits{Rate: 20, Burst: 50, Operating: 48 * time.Second, OperatingWindow: time.Minute}, way: 10 * ms, perRow: 240 * ms},
			rows:   560, batching: dispatch.Auto, workers: 4,
		}, budgetBound, 1.10},
		"rate, batches, faster": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 5, Burst: 10}, way: 5 * ms, perRow: 8 * ms},
			rows:   20_000, batching: dispatch.Auto, workers: 1,
		}, rateBound(50), 1.15},
		"budget, 4 workers": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 20, Burst: 50, Operating: 48 * time.Second, OperatingWindow: time.Minute}, way: 10 * ms, perRow: 240 * ms},
			rows:   560, batching: dispatch.Auto, workers: 4,
		}, budgetBound, 1.10},
		"budget, unscaled": {&flow{
			portal: &flowPortal{limits: ratelimit.Limits{Rate: 2, Burst: 50, Operating: 480 * time.Second, OperatingWindow: 10 * time.Minute}, way: 100 * ms, perRow: 1200 * ms},
			rows:   1120, batching: dispatch.Auto, workers: 1,
		}, budgetBound, 1.10},
	} {
		if testing.Short() && c.flow.rows > 10_000 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.flow
				took, ideal := f.run(t), c.ideal(f)
				p := f.portal
				t.Logf("%.2f of %.2f s: %.3f; %d requests, %d 503s, %d 429s, %d fetches, %d of one row, idle %s, disorder %d",
					took.Seconds(), ideal.Seconds(), took.Seconds()/ideal.Seconds(), p.calls, p.refused, p.tooMuch, f.fetches, f.most, p.idle, p.disorder())
				if float64(took) > c.most*float64(ideal) {
					t.Errorf("took %s, at best %s", took, ideal)
				}
				if p.refused > 0 {
					t.Errorf("%d requests were too many", p.refused)
				}
			})
		})
	}
}

// rateBound is how long requests of so many rows take at the request rate.
func rateBound(batch int) func(f *flow) time.Duration {
	return func(f *flow) time.Duration {
		p := f.portal
		requests := (f.rows + batch - 1) / batch
		return time.Duration(float64(requests-p.limits.Burst)/p.limits.Rate*float64(time.Second)) + p.way + time.Duration(batch)*p.perRow
	}
}

// paceBound is how long the portal's own work takes.
func paceBound(f *flow) time.Duration {
	return time.Duration(f.rows) * f.portal.perRow / ratelimit.DefaultParallel
}

// budgetBound is how long the windows take that must pass, and the rest's work.
func budgetBound(f *flow) time.Duration {
	p := f.portal
	window := int((p.limits.Operating - p.limits.Operating/50) / p.perRow)
	windows := (f.rows - 1) / window
	return time.Duration(windows)*p.limits.OperatingWindow + time.Duration(f.rows-windows*window)*p.perRow/ratelimit.DefaultParallel
}
