package ratelimit

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// places asks for places for rows in line, named by their order.
func (b *bench) places(r LineRequest, order ...int64) []Place {
	b.t.Helper()
	for _, o := range order {
		r.Order = append(r.Order, o)
		r.Codes = append(r.Codes, "code"+strconv.FormatInt(o, 10))
	}
	places, err := b.Place(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(places) != max(1, len(order)) {
		b.t.Fatalf("%d places for %d rows", len(places), len(order))
	}
	return places
}

// expects checks a place.
func (b *bench) expects(what string, p Place, in time.Duration, before int, binds Reason) {
	b.t.Helper()
	if got := p.Expected.Sub(b.now); (got-in).Abs() > time.Millisecond || p.Before != before || p.Binds != binds {
		b.t.Fatalf("%s: expected in %s behind %d for %q, want %s behind %d for %q", what, got, p.Before, p.Binds, in, before, binds)
	}
	early := in * 3 / 4
	if binds == Budget && in > b.window { // the window before
		early = min(early, in-b.window)
	}
	if ask := p.Ask.Sub(b.now); (ask - early).Abs() > time.Millisecond {
		b.t.Fatalf("%s: to ask in %s, expected in %s", what, ask, in)
	}
}

func inLine(l Limits, batch int) LineRequest {
	return LineRequest{Request: rows(l, 1), Batch: batch}
}

// spend takes all tokens.
func (b *bench) spend(l Limits) {
	b.t.Helper()
	for {
		d := b.ask(rows(l, 1))
		if len(d.Go) == 0 {
			return
		}
		b.tell(d.Ticket, answered)
	}
}

func TestPlacesFollowTheOrder(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 2, Burst: 50}
	b.spend(l)
	half := 500 * time.Millisecond
	got := b.places(inLine(l, 1), 10, 20, 30)
	for i, p := range got {
		b.expects("in order", p, half*time.Duration(i+1), i, Rate)
	}
	b.expects("between", b.places(inLine(l, 1), 15)[0], 2*half, 1, Rate)
	b.expects("pushed back", b.places(inLine(l, 1), 30)[0], 4*half, 3, Rate)
	b.expects("in one batch", b.places(inLine(l, 50), 30)[0], half, 3, Rate)
	b.expects("in two batches", b.places(inLine(l, 3), 30)[0], 2*half, 3, Rate)
	slow := inLine(l, 50)
	slow.PerSecond = 1
	b.expects("at the portal's pace", b.places(slow, 30)[0], half+3*time.Second, 3, InFlight)
	ahead := inLine(l, 1)
	ahead.Ahead = 100
	b.expects("nobody in line", b.places(ahead)[0], half+100*half, 0, Rate)
	b.expects("one that stands there", b.places(inLine(l, 1), 20)[0], 3*half, 2, Rate)

	b.pass(2 * half)
	r := coded(l, "code10")
	b.granted(r)
	b.expects("one has gone", b.places(inLine(l, 1), 30)[0], 2*half, 2, Rate)
	if w := b.state().Waiting; w != 3 {
		t.Fatalf("%d in line", w)
	}
}

func TestPlaceNotBefore(t *testing.T) {
	b := newBench(t, Config{})
	r := inLine(wide, 1)
	r.NotBefore = b.now.Add(time.Minute)
	if p := b.places(r, 1)[0]; !p.Ask.Equal(r.NotBefore) || !p.Expected.Equal(r.NotBefore) {
		t.Fatalf("%+v", p)
	}
	r.NotBefore = b.now.Add(-time.Minute)
	if p := b.places(r, 1)[0]; !p.Ask.Equal(b.now) || p.Binds != None {
		t.Fatalf("%+v", p)
	}
}

// A row that does not ask when it was told to does not hold up the others.
func TestPlaceOfOneThatIsGone(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 1, Burst: 2}
	b.spend(l)
	for _, o := range []int64{1, 2, 3, 4} {
		b.places(inLine(l, 1), o)
	}
	b.pass(seatKept + 5*time.Second)
	b.spend(l)
	b.expects("the others did not ask", b.places(inLine(l, 1), 9)[0], time.Second, 0, Rate)
	b.pass(time.Hour)
	if _, ok, _ := b.State(t.Context(), "p"); ok {
		t.Fatal("a line in which nobody stands is still there")
	}
}

func TestPlaceBehindABudget(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: 100, Burst: 500, Operating: 100 * time.Second, OperatingWindow: 10 * time.Minute}
	b.window = l.OperatingWindow
	b.round(rows(l, 1), operating(0, 1))
	for i := 1; i <= 49; i++ { // two seconds a row: 49 fit into 98 s
		b.round(rows(l, 1), operating(time.Duration(i)*2*time.Second, 1))
	}
	b.refused(rows(l, 1), Budget)
	order := make([]int64, 120)
	for i := range order {
		order[i] = int64(i + 1)
	}
	got := b.places(inLine(l, 1), order...)
	opens := 10 * time.Minute
	b.expects("the first", got[0], opens, 0, Budget)
	b.expects("the tenth", got[9], opens, 9, Budget)
	b.expects("the last of the window", got[48], opens, 48, Budget)
	b.expects("the first of the next", got[49], opens+10*time.Minute, 49, Budget)
	b.expects("the third window", got[98], opens+20*time.Minute, 98, Budget)
}

func TestNoPlaceWhileClosed(t *testing.T) {
	b := newBench(t, Config{})
	for range 3 {
		b.round(rows(wide, 1), Answer{Outcome: NoAnswer})
	}
	for i := range 2 {
		r := inLine(wide, 1)
		r.NotBefore = b.now.Add(time.Minute)
		if p := b.places(r, int64(i))[0]; !p.Ask.Equal(r.NotBefore) {
			t.Fatalf("silent: %+v", p)
		}
	}
	if err := b.Hold(t.Context(), "p", Hold{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if p := b.places(inLine(wide, 1), 1)[0]; !p.Ask.Equal(b.now) {
		t.Fatalf("held: %+v", p)
	}
	if n := b.state().Waiting; n != 0 {
		t.Fatalf("%d in line", n)
	}
}

// Behind a line of an hour a row asks a few times only, and is there in time.
func TestAsksBehindALongLine(t *testing.T) {
	b := newBench(t, Config{})
	l := Limits{Rate: .5, Burst: 5}
	b.spend(l)
	const n = 1800
	order := make([]int64, n)
	for i := range order {
		order[i] = int64(i)
	}
	waiting := b.places(inLine(l, 1), order...)
	asks := make([]int, n)
	gone, late := 0, time.Duration(0)
	for ; gone < n; b.pass(time.Second) {
		for i := gone; i < n; i++ {
			if waiting[i].Ask.After(b.now) {
				continue
			}
			asks[i]++
			r := coded(l, "code"+strconv.Itoa(i))
			d := b.ask(r)
			if len(d.Go) == 0 {
				waiting[i] = b.places(inLine(l, 1), order[i])[0]
				continue
			}
			if i != gone {
				t.Fatalf("row %d goes before row %d", i, gone)
			}
			b.tell(d.Ticket, answered)
			gone++
			late = b.now.Sub(epoch) - time.Duration(i+1)*2*time.Second
		}
	}
	if most := slices.Max(asks); most > 12 {
		t.Fatalf("a row asked %d times", most)
	}
	if late > 4*time.Second {
		t.Fatalf("the last row goes %s late", late)
	}
}

// The line is what a sorted list says it is.
func TestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l line
		model := map[string]int64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			code := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "code")
			if rapid.Bool().Draw(t, "leave") {
				l.leave(code)
				delete(model, code)
				continue
			}
			order := rapid.Int64Range(0, 5).Draw(t, "order")
			got := l.join(code, order)
			model[code] = order
			want := 0
			for c, o := range model {
				if o < order || o == order && c < code {
					want++
				}
			}
			if got != want {
				t.Fatalf("%s stands behind %d, want %d", code, got, want)
			}
		}
		if len(l.seats) != len(model) || len(l.codes) != len(model) {
			t.Fatalf("%d seats and %d codes for %d rows", len(l.seats), len(l.codes), len(model))
		}
	})
}

func TestEstimate(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		in       EstimateInput
		requests int
		lasts    time.Duration
		binds    Reason
	}{
		"nothing":          {EstimateInput{Limits: standard}, 0, 0, None},
		"a few":            {EstimateInput{Limits: standard, Rows: 4, Batch: 1, Cost: second}, 4, second, None},
		"rate":             {EstimateInput{Limits: standard, Rows: 2046, Batch: 1}, 2046, 1000 * second, Rate},
		"batches":          {EstimateInput{Limits: standard, Rows: 5000, Batch: 50}, 100, 27 * second, Rate},
		"the portal":       {EstimateInput{Limits: Limits{Rate: 2, Burst: 50}, Rows: 1000, Batch: 50, Cost: second}, 20, 250 * second, InFlight},
		"budget":           {EstimateInput{Limits: standard, Rows: 1000, Batch: 50, Cost: second}, 20, 1220 * second, Budget},
		"too slow for it":  {EstimateInput{Limits: Limits{Rate: .1, Burst: 50, Operating: 480 * second, OperatingWindow: 600 * second}, Rows: 1046, Batch: 1, Cost: second}, 1046, 10_001 * second, Rate},
		"absurd":           {EstimateInput{Limits: Limits{Rate: -1}, Rows: -1, Batch: -1, Cost: -1, Latency: -1, Parallel: -1}, 0, 0, None},
		"longer than ever": {EstimateInput{Limits: Limits{Rate: .01}, Rows: 1 << 62, Batch: 1}, 1 << 62, longestEstimate, Rate},
	} {
		got := c.in.Estimate()
		if got.Requests != c.requests || got.Binds != c.binds || (got.Duration-c.lasts).Abs() > c.lasts/50 {
			t.Errorf("%s: %+v, want %d requests, %s, %q", name, got, c.requests, c.lasts, c.binds)
		}
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add(2.0, 50, 0.0, int64(480e9), int64(600e9), 1000, 50, int64(1e9), 4)
	f.Add(-1.0, -1, 2.0, int64(-1), int64(-1), -1, -1, int64(-1), -1)
	f.Add(1e300, 1<<62, 0.99, int64(1), int64(1e7), 1<<62, 1<<62, int64(1<<62), 1<<62)
	f.Add(1e300, 1<<62, 0.99, int64(0), int64(1e7), 1<<62+68, 1<<62, int64(1<<62), 1<<62) // rows + batch overflows
	f.Fuzz(func(t *testing.T, rate float64, burst int, headroom float64, work, window int64, rows, batch int, cost int64, parallel int) {
		got := EstimateInput{
			Limits: Limits{Rate: rate, Burst: burst, Headroom: headroom, Operating: time.Duration(work), OperatingWindow: time.Duration(window)},
			Rows:   rows, Batch: batch, Cost: time.Duration(cost), Parallel: parallel,
		}.Estimate()
		if got.Requests < 0 || got.Requests > max(0, rows) || got.Duration < 0 || got.Duration > longestEstimate {
			t.Fatalf("%+v", got)
		}
	})
}
