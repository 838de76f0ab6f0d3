package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryDocumentedErrorOnDemand asks each code of each dialect, directly and
// inside a batch.
func TestEveryDocumentedErrorOnDemand(t *testing.T) {
	for _, d := range []Dialect{Documented, Published} {
		v := visit(t, Portal{Dialect: d})
		for _, code := range append(Codes(), "SOMETHING_NEW", "expired_token") {
			v.st.ClearFaults()
			if err := v.st.Inject(Fault{Kind: Refuse, Code: code, Methods: []string{"imbot.REGISTER"}}); err != nil {
				t.Fatal(err)
			}
			v.works("profile", "", "")
			want := d.fail(code)
			v.fails("imbot.register", bot("a"), want.status, code, want.description)
			b := v.batch(batch(0, "k", command("a")))
			if got := string(b.Errors); !strings.HasPrefix(got, `{"k":{"error":"`+code+`"`) {
				t.Errorf("%s in a batch: %s", code, got)
			}
		}
		if n := len(v.st.Bots()); n != 0 {
			t.Errorf("%d bots made", n)
		}
	}
}

func TestStatusesWhereDialectsDiffer(t *testing.T) {
	for code, want := range map[string][2]int{
		"OVERLOAD_LIMIT": {503, 401}, "ACCESS_DENIED": {403, 401}, "insufficient_scope": {403, 401},
		"QUERY_LIMIT_EXCEEDED": {503, 503}, "OPERATION_TIME_LIMIT": {429, 429}, "NAME_ERROR": {400, 400},
	} {
		if got := [2]int{Documented.fail(code).status, Published.fail(code).status}; got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

func TestRefuseAfterTheWork(t *testing.T) {
	v := visit(t, Portal{Faults: []Fault{{Kind: Refuse, Code: "INTERNAL_SERVER_ERROR", When: After, Count: 1}}})
	v.fails("imbot.register", bot("a"), 500, "INTERNAL_SERVER_ERROR", "")
	v.works("imbot.register", bot("a"), `"39"`)
}

// TestOnTheWire looks at each disturbance from outside, before and after the
// work.
func TestOnTheWire(t *testing.T) {
	cases := []struct {
		fault Fault
		seen  func(a answer, err error) bool
	}{
		{Fault{Kind: Reset}, func(_ answer, err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{Fault{Kind: HTML}, func(a answer, err error) bool {
			return err == nil && a.status == 502 && strings.HasPrefix(a.raw, "<html>")
		}},
		{Fault{Kind: HTML, Status: 504}, func(a answer, err error) bool { return err == nil && a.status == 504 }},
		{Fault{Kind: Empty}, func(a answer, err error) bool { return err == nil && a.status == 200 && a.raw == "" }},
		{Fault{Kind: Empty, Status: 500}, func(a answer, err error) bool { return err == nil && a.status == 500 && a.raw == "" }},
		{Fault{Kind: Truncate}, func(a answer, err error) bool {
			return err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && a.status == 200 && strings.HasPrefix(a.raw, `{"result":39,`)
		}},
		{Fault{Kind: Cut}, func(a answer, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && strings.HasPrefix(a.raw, `{"result":39,`)
		}},
		{Fault{Kind: Huge}, func(a answer, err error) bool {
			return err == nil && len(a.raw) > hugeBody && string(a.Result) == "39"
		}},
		{Fault{Kind: Slow, Delay: 50 * time.Millisecond}, func(a answer, err error) bool { return err == nil && string(a.Result) == "39" }},
	}
	for _, c := range cases {
		for when, bots := range map[When]int{Before: 0, After: 1} {
			t.Run(fmt.Sprint(c.fault.Kind, c.fault.Status, " ", when), func(t *testing.T) {
				c.fault.When = when
				v := visit(t, Portal{Faults: []Fault{c.fault}})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				a, err := v.try(ctx, hook+"imbot.register", "application/json", bot("helper"))
				if !c.seen(a, err) {
					t.Errorf("seen: %v %d %.200s", err, a.status, a.raw)
				}
				if n := len(v.st.Bots()); n != bots {
					t.Errorf("%d bots, want %d", n, bots)
				}
				if n := v.st.Stats().Faults[c.fault.Kind]; n != 1 {
					t.Errorf("%d faults counted", n)
				}
			})
		}
	}
}

func TestSlowTakesItsTime(t *testing.T) {
	v := visit(t, Portal{Faults: []Fault{{Kind: Slow, Delay: 100 * time.Millisecond}}})
	start := time.Now()
	v.works("profile", "", "")
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// TestHangingUntilTheClientLeaves: neither kind ever ends by itself.
func TestHangingUntilTheClientLeaves(t *testing.T) {
	for _, kind := range []FaultKind{Silence, Stall} {
		for when, bots := range map[When]int{Before: 0, After: 1} {
			t.Run(fmt.Sprint(kind, " ", when), func(t *testing.T) {
				t.Parallel()
				v := visit(t, Portal{Faults: []Fault{{Kind: kind, When: when, Count: 1}}})
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				a, err := v.try(ctx, hook+"imbot.register", "application/json", bot("helper"))
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended with %v", err)
				}
				if kind == Stall != (a.status == 200) {
					t.Errorf("status %d", a.status)
				}
				eventually(t, "the portal sees the client leave", func() bool { return len(v.st.Requests()) == 1 })
				if n := len(v.st.Bots()); n != bots {
					t.Errorf("%d bots, want %d", n, bots)
				}
				v.works("profile", "", "")
			})
		}
	}
}

func TestCloseLetsGoOfWhatHangs(t *testing.T) {
	v := visit(t, Portal{Faults: []Fault{{Kind: Silence}}})
	ended := make(chan error, 1)
	go func() {
		_, err := v.try(context.Background(), hook+"profile", "application/json", "")
		ended <- err
	}()
	eventually(t, "the request hangs", func() bool { return v.st.Stats().Requests == 1 })
	v.box.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("an answer came")
		}
	case <-time.After(patience):
		t.Fatal("the request still hangs")
	}
	v.box.Close() // tolerates repeats
	if _, err := v.box.Listen("127.0.0.1"); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("listens after Close: %v", err)
	}
}

func TestDuringTheWork(t *testing.T) {
	for _, kind := range []FaultKind{Reset, HTML, Silence, Truncate} {
		p, release := held()
		p.Faults = []Fault{{Kind: kind, When: During, Count: 1}}
		begun, work := make(chan struct{}), p.ServiceFunc
		p.ServiceFunc = func(n uint64) time.Duration { close(begun); return work(n) }
		v := visit(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		left := make(chan struct{})
		go func() { // a client that is not answered leaves while the portal works
			defer close(left)
			select {
			case <-begun:
			case <-ctx.Done():
			}
			if kind == Silence {
				cancel()
			}
		}()
		_, err := v.try(ctx, hook+"imbot.register", "application/json", bot("helper"))
		cancel()
		<-left
		if kind != HTML && err == nil {
			t.Errorf("%s: an answer came", kind)
		}
		if n := len(v.st.Bots()); n != 0 {
			t.Errorf("%s: %d bots before the work can be done", kind, n)
		}
		release()
		eventually(t, string(kind)+": the work is done all the same", func() bool { return len(v.st.Bots()) == 1 })
	}
}

func TestFaultsForAWhile(t *testing.T) {
	clk := newClock()
	v := visit(t, Portal{}, WithClock(clk.now), WithScale(0.5))
	if err := v.st.Inject(Fault{Kind: HTML, Status: 500, Delayed: 10 * time.Second, For: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	for i, status := range []int{200, 500, 500, 200, 200} { // at 0, 5, 10, 15 and 20 s
		if a := v.call("profile", ""); a.status != status {
			t.Errorf("at %d s: %d", 5*i, a.status)
		}
		clk.move(5 * time.Second)
	}
}

// struck lists which of 400 requests are struck.
func struck(t *testing.T, name string, seed uint64, faults ...Fault) []int {
	t.Helper()
	box := New(WithSeed(seed), WithPortals(Portal{Name: name, AnyWebhook: true, Faults: faults}))
	defer box.Close()
	var out []int
	for i := range 400 {
		r, err := http.NewRequest(http.MethodPost, "http://"+name+hook+"profile", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		rec := &recorder{header: http.Header{}}
		box.ServeHTTP(rec, r)
		if rec.status != 200 {
			out = append(out, i)
		}
	}
	return out
}

func TestProbabilityIsDeterministicUnderASeed(t *testing.T) {
	f := Fault{Kind: HTML, Probability: 0.25}
	one := struck(t, "a.ru", 1, f)
	if n := len(one); n < 60 || n > 140 {
		t.Errorf("%d of 400 struck at a quarter", n)
	}
	if again := struck(t, "a.ru", 1, f); !slices.Equal(one, again) {
		t.Error("the same seed decides differently")
	}
	if slices.Equal(one, struck(t, "a.ru", 2, f)) || slices.Equal(one, struck(t, "b.ru", 1, f)) {
		t.Error("another seed or portal decides the same")
	}
	// A second fault decides apart from the first: about 1 - 0.75² are struck.
	if n := len(struck(t, "a.ru", 1, f, f)); n < 130 || n > 220 {
		t.Errorf("%d of 400 struck by two quarters", n)
	}
	if n := len(struck(t, "a.ru", 1, Fault{Kind: Refuse, Code: "ERROR_CORE", Probability: 0.5, Count: 7})); n != 7 {
		t.Errorf("%d struck by a fault that counts to 7", n)
	}
}

func TestSandboxFaultsStrikeEveryPortal(t *testing.T) {
	v := visit(t, Portal{}, WithFaults(Fault{Kind: Empty, Status: 500, Count: 1}), WithUnknownHosts(Unlimited("")))
	for _, name := range []string{host, "b.ru", "c.ru"} {
		v.base = "https://" + name
		if a := v.call("profile", ""); a.status != 500 {
			t.Errorf("%s: %d", name, a.status)
		}
		v.works("profile", "", "")
	}
}

func TestImpossibleConfigurations(t *testing.T) {
	for _, f := range []Fault{
		{}, {Kind: "flood"}, {Kind: Refuse}, {Kind: Refuse, Code: "X", When: During}, {Kind: Reset, When: "later"},
		{Kind: Reset, Probability: 1.5}, {Kind: Reset, Count: -1}, {Kind: HTML, Status: 99},
	} {
		box := New(WithFaults(f))
		if box.Open() == nil {
			t.Errorf("%+v opens", f)
		}
		if box.AddPortal(Portal{Name: "a.ru", Faults: []Fault{f}}) != nil {
			t.Errorf("%+v is added", f)
		}
		if box.AddPortal(Unlimited("a.ru")).Inject(f) == nil {
			t.Errorf("%+v is injected", f)
		}
		box.Close()
	}
	for _, p := range []Portal{{}, {Name: "a/b"}, {Name: "a", Dialect: "X"}, {Name: "a", Rate: -1}} {
		box := New(WithPortals(p))
		if box.Open() == nil {
			t.Errorf("%+v opens", p)
		}
		box.Close()
	}
}

// TestWaitsUnderSynctest: without sockets, all waiting is on timers that a
// bubble moves.
func TestWaitsUnderSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Unlimited("a.ru")
		p.ServiceTime, p.Latency = time.Hour, time.Minute
		p.ServerTimeout = -1
		box := New(WithPortals(p))
		defer box.Close()
		r, err := http.NewRequest(http.MethodPost, "http://a.ru"+hook+"imbot.register", strings.NewReader(bot("a")))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		rec := &recorder{header: http.Header{}}
		box.ServeHTTP(rec, r)
		if took := time.Since(start); took != time.Hour+time.Minute || rec.status != 200 {
			t.Errorf("%d after %v", rec.status, took)
		}
	})
}
