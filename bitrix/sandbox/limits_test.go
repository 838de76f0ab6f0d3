package sandbox

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRequestRate(t *testing.T) {
	for plan, want := range map[string]Limits{"standard": {Rate: 2, Burst: 50}, "enterprise": {Rate: 5, Burst: 250}} {
		clk := newClock()
		v := visit(t, Portal{Plan: plan}, WithClock(clk.now))
		if l := v.st.Limits(); l.Rate != want.Rate || l.Burst != want.Burst {
			t.Errorf("%s: %+v", plan, l)
		}
		for range want.Burst {
			v.works("profile", "", "")
		}
		v.fails("imbot.register", bot("a"), 503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
		if len(v.st.Bots()) != 0 {
			t.Error("something ran")
		}
		clk.move(time.Second)
		for range int(want.Rate) {
			v.works("profile", "", "")
		}
		v.fails("profile", "", 503, "QUERY_LIMIT_EXCEEDED", "")
		s := v.st.Stats()
		if s.Errors["QUERY_LIMIT_EXCEEDED"] != 2 || s.Violations != 2 || s.MaxLevel != float64(want.Burst) || s.Statuses[503] != 2 {
			t.Errorf("%+v", s)
		}
	}
}

func TestRateComesBeforeAuthorization(t *testing.T) {
	v := visit(t, Portal{Rate: 0.001, Burst: 1})
	v.send("/rest/1/wrong/profile", "")
	if a := v.send("/rest/1/wrong/profile", ""); a.Error != "QUERY_LIMIT_EXCEEDED" {
		t.Error(a.raw)
	}
}

// TestBucketNeverPassesMore holds the bucket to its definition: in any stretch
// of time at most burst + rate × stretch requests pass.
func TestBucketNeverPassesMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 50).Draw(t, "rate")
		burst := rapid.IntRange(1, 60).Draw(t, "burst")
		now := time.Unix(1_800_000_000, 0)
		b := bucket{at: now}
		var passed []time.Time
		for _, gap := range rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 200).Draw(t, "gaps") {
			now = now.Add(time.Duration(gap) * time.Millisecond)
			full := b.levelAt(now, rate)+1 > float64(burst)+1e-9
			if b.add(now, rate, burst) == full {
				t.Fatalf("at level %v of %d: passed %v", b.levelAt(now, rate), burst, !full)
			}
			if !full {
				passed = append(passed, now)
			}
		}
		for i, from := range passed {
			n := float64(len(passed) - i)
			if most := float64(burst) + rate*now.Sub(from).Seconds() + 1e-6; n > most {
				t.Fatalf("%v passed in %v, at most %v may", n, now.Sub(from), most)
			}
		}
	})
}

func TestSourcesAreApartAndBounded(t *testing.T) {
	s, now := sources{}, time.Unix(1_800_000_000, 0)
	for i := range 3 * maxSources {
		if _, ok := s.add(strconv.Itoa(i), now, 1, 1); !ok {
			t.Fatalf("source %d is refused for others", i)
		}
	}
	if len(s) > maxSources {
		t.Errorf("%d buckets kept", len(s))
	}
	if _, ok := s.add("0", now, 1, 1); !ok {
		t.Error("forgotten source is refused")
	}
	if _, ok := s.add("0", now, 1, 1); ok {
		t.Error("full bucket passes")
	}
}

// operating is what an answer reports.
func (a answer) operating() float64 {
	if a.Time == nil || a.Time.Operating == nil {
		return math.NaN()
	}
	return *a.Time.Operating
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.05 }

func TestOperatingLimit(t *testing.T) {
	clk := newClock()
	v := visit(t, Portal{OperatingLimit: 20 * time.Second, OperatingCost: 10 * time.Second, ReportsOperating: true}, WithClock(clk.now))
	for i, want := range []float64{10, 20, 30} { // 20 is not over 20
		a := v.works("imbot.register", bot(fmt.Sprint("b", i)), "")
		if !near(a.operating(), want) || *a.Time.ResetAt != clk.now().Add(time.Duration(10-i)*time.Minute).Unix() {
			t.Errorf("call %d: %s", i, a.raw)
		}
		clk.move(time.Minute)
	}
	v.fails("imbot.register", bot("x"), 429, "OPERATION_TIME_LIMIT", "")
	v.works("imbot.bot.list", "", "") // another method
	if s := v.st.Stats(); s.Violations != 1 || s.Errors["OPERATION_TIME_LIMIT"] != 1 || len(v.st.Bots()) != 3 {
		t.Errorf("%+v", s)
	}
	clk.move(7 * time.Minute) // the oldest of the ten minutes leaves
	if a := v.works("imbot.register", bot("x"), ""); !near(a.operating(), 30) {
		t.Error(a.raw)
	}
	v.fails("imbot.register", bot("y"), 429, "OPERATION_TIME_LIMIT", "")
	clk.move(time.Hour)
	if a := v.works("imbot.register", bot("y"), ""); !near(a.operating(), 10) {
		t.Error(a.raw)
	}
}

func TestOperatingIsPerCredential(t *testing.T) {
	v := visit(t, Portal{OperatingLimit: time.Second, OperatingCost: 2 * time.Second, ReportsOperating: true,
		Webhooks: []Webhook{{User: "2", Secret: "x"}}, Tokens: []Token{{Value: "a", App: "one"}, {Value: "b", App: "one"}, {Value: "c", App: "two"}}})
	v.works("imbot.register", bot("a"), "")
	v.fails("imbot.register", bot("b"), 429, "OPERATION_TIME_LIMIT", "")
	for _, c := range []struct{ path, auth, code string }{
		{"/rest/2/x/imbot.register", "", ""},
		{"/rest/imbot.register", "a", ""},
		{"/rest/imbot.register", "b", "OPERATION_TIME_LIMIT"}, // another token of the same application
		{"/rest/imbot.register", "c", ""},
	} {
		if a := v.send(c.path, strings.Replace(bot("b"), "{", `{"auth":"`+c.auth+`",`, 1)); a.Error != c.code {
			t.Errorf("%+v: %s", c, a.raw)
		}
	}
}

func TestFailedCallsAreFree(t *testing.T) {
	clk := newClock()
	v := visit(t, Portal{OperatingLimit: time.Hour, ReportsOperating: true, ServiceFunc: func(uint64) time.Duration {
		clk.move(3 * time.Second) // work that really takes time
		return 0
	}}, WithClock(clk.now))
	v.fails("imbot.register", bot(strings.Repeat("x", 51)), 400, "WRONG_REQUEST", "")
	if a := v.works("imbot.register", bot("a"), ""); a.operating() != 3 {
		t.Error(a.raw)
	}
}

func TestPublishedCountsOnlyOverTenthOfSecond(t *testing.T) {
	p := Portal{Dialect: Published, OperatingLimit: time.Hour, OperatingCost: 60 * time.Millisecond, ReportsOperating: true}
	v := visit(t, p, WithClock(newClock().now))
	for i := range 5 {
		if a := v.works("imbot.register", bot(fmt.Sprint("a", i)), ""); a.operating() != 0 {
			t.Errorf("direct call counted: %s", a.raw)
		}
	}
	v.batch(batch(0, "a", command("x1"), "b", command("x2"), "c", command("x3")))
	a := v.works("batch", batch(0, "a", command("y1"), "b", command("y2")), "")
	if !strings.Contains(a.raw, `"operating":0.3`) {
		t.Errorf("a batch of 0.18 s and one of 0.12 s count: %s", a.raw)
	}
}

// TestWhereBatchedWorkCounts has two webhooks batch work of 10 s each and
// looks at what each next answer reports.
func TestWhereBatchedWorkCounts(t *testing.T) {
	cases := []struct {
		portal                       Portal
		inner, direct, other, common string // operating of: the batched call, a direct one, the other webhook's batch, the batch itself
	}{
		{Portal{}, "10", "20", "10", "0"},
		{Portal{Dialect: Published}, "10", "10", "20", "0"},
		{Portal{CountsBatchAs: BatchAsBatch}, "", "10", "", "10"},
	}
	for _, c := range cases {
		p := c.portal
		p.OperatingLimit, p.OperatingCost, p.ReportsOperating = time.Hour, 10*time.Second, true
		p.Webhooks = []Webhook{{User: "2", Secret: "x"}}
		v := visit(t, p, WithClock(newClock().now))
		is := func(what, raw, want string) {
			t.Helper()
			if want != "" && !strings.Contains(raw, `"operating":`+want+"}") || want == "" && strings.Contains(raw, "operating") {
				t.Errorf("%+v: %s: want %q in %s", c, what, want, raw)
			}
		}
		one := v.works("batch", batch(0, "a", command("a")), "")
		is("inside the batch", string(one.Result), c.inner)
		if !near(one.operating(), map[string]float64{"0": 0, "10": 10}[c.common]) {
			t.Errorf("%+v: the batch itself: %s", c, one.raw)
		}
		is("direct", v.works("imbot.register", bot("b"), "").raw, c.direct)
		other := v.send("/rest/2/x/batch", batch(0, "c", command("c")))
		is("the other webhook", string(other.Result), c.other)
	}
}

// TestApplicationsBatchesCountAsDirect: by the sources only webhooks share a
// counter for batches.
func TestApplicationsBatchesCountAsDirect(t *testing.T) {
	v := visit(t, Portal{Dialect: Published, OperatingLimit: time.Hour, OperatingCost: 10 * time.Second, ReportsOperating: true,
		Tokens: []Token{{Value: "tok", App: "local.1"}}}, WithClock(newClock().now))
	v.works("batch", batch(0, "a", command("a")), "")
	v.send("/rest/batch", strings.Replace(batch(0, "b", command("b")), "{", `{"auth":"tok",`, 1))
	if a := v.send("/rest/imbot.register", strings.Replace(bot("c"), "{", `{"auth":"tok",`, 1)); a.operating() != 20 {
		t.Error(a.raw)
	}
}

func TestBatchAsBatchIsLimitedAsBatch(t *testing.T) {
	v := visit(t, Portal{CountsBatchAs: BatchAsBatch, OperatingLimit: 15 * time.Second, OperatingCost: 10 * time.Second})
	v.works("batch", batch(0, "a", command("a"), "b", command("b")), "")
	v.fails("batch", batch(0, "c", command("c")), 429, "OPERATION_TIME_LIMIT", "")
	v.works("imbot.register", bot("c"), "")
}

func TestLimitInsideBatch(t *testing.T) {
	v := visit(t, Portal{OperatingLimit: 15 * time.Second, OperatingCost: 10 * time.Second})
	b := v.batch(batch(0, "a", command("a"), "b", command("b"), "c", command("c"), "d", "profile"))
	if got := string(b.Result); !strings.HasPrefix(got, `{"a":39,"b":40,"d":`) {
		t.Error(got)
	}
	if got := string(b.Errors); !strings.HasPrefix(got, `{"c":{"error":"OPERATION_TIME_LIMIT"`) {
		t.Error(got)
	}
	if strings.Contains(string(b.Times), "operating") {
		t.Errorf("a portal that does not report tells operating: %s", b.Times)
	}
}

// TestCounterAgainstPlainSum compares the ten buckets with a list of charges.
func TestCounterAgainstPlainSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(buckets, 600_000).Draw(t, "window ms")) * time.Millisecond
		type charge struct {
			period int64
			used   time.Duration
		}
		var c counter
		var all []charge
		now := time.Unix(1_800_000_000, 0)
		for _, gap := range rapid.SliceOfN(rapid.IntRange(0, int(window/5)), 1, 60).Draw(t, "gaps") {
			now = now.Add(time.Duration(gap))
			used := time.Duration(rapid.IntRange(1, 1000).Draw(t, "used")) * time.Millisecond
			c.charge(now, window, used)
			all = append(all, charge{period(now, window), used})
			want, oldest := time.Duration(0), int64(math.MaxInt64)
			for _, x := range all {
				if x.period > period(now, window)-buckets {
					want, oldest = want+x.used, min(oldest, x.period)
				}
			}
			if got := c.sum(now, window); got != want {
				t.Fatalf("sum %v, want %v", got, want)
			}
			leaves := time.Unix(0, (oldest+buckets)*int64(window/buckets))
			exact, late := c.resetAt(now, window, false), c.resetAt(now, window, true)
			if d := time.Unix(exact, 0).Sub(leaves); d < 0 || d >= time.Second {
				t.Fatalf("reset %v after the oldest bucket leaves", d)
			}
			if d := time.Unix(late, 0).Sub(leaves); d < 0 || d > window/buckets+time.Second+buckets {
				t.Fatalf("late reset %v after the oldest bucket leaves", d)
			}
		}
	})
}

func TestCountersAreBounded(t *testing.T) {
	cs, now := counters{}, time.Unix(1_800_000_000, 0)
	for i := range 3 * maxCounters {
		cs.charge(strconv.Itoa(i), now, time.Minute, time.Second)
	}
	if len(cs) > maxCounters {
		t.Errorf("%d counters", len(cs))
	}
}

func TestScaleShortensEverything(t *testing.T) {
	p := Cloud(host)
	p.ServiceTime, p.OperatingCost, p.ServerTimeout = 10*time.Second, 100*time.Second, 2*time.Minute
	clk := newClock()
	v := visit(t, p, WithScale(0.001), WithClock(clk.now))
	want := Limits{Rate: 2000, Burst: 50, Operating: 480 * time.Millisecond, OperatingWindow: 600 * time.Millisecond, ServerTimeout: 120 * time.Millisecond}
	if got := v.st.Limits(); got != want {
		t.Errorf("limits %+v", got)
	}
	start := time.Now()
	a := v.works("imbot.register", bot("a"), "")
	if took := time.Since(start); took < 10*time.Millisecond || took > 5*time.Second {
		t.Errorf("10 s of service took %v", took)
	}
	if got := a.operating(); got != 0.1 { // the clock of the test stood still meanwhile
		t.Errorf("operating %v", got)
	}
}
