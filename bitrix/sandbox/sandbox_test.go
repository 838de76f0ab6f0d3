package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTwoCallsWithOneCodeMakeTwoBots is the race that portals do not guard
// against. Both calls look before either inserts: the first one's service ends
// only when the second's has begun.
func TestTwoCallsWithOneCodeMakeTwoBots(t *testing.T) {
	both := make(chan struct{})
	v := visit(t, Portal{ServiceFunc: func(n uint64) time.Duration {
		if n == 1 {
			close(both)
		}
		<-both
		return 0
	}})
	var calls sync.WaitGroup
	for _, code := range []string{"helper", "HELPER"} {
		calls.Go(func() { v.works("imbot.register", bot(code), "") })
	}
	calls.Wait()
	if n := v.st.BotsByCode()["helper"]; n != 2 {
		t.Errorf("%d bots", n)
	}
	if s := v.st.Stats(); s.DuplicateCodes != 1 || s.MaxConcurrent != 2 {
		t.Errorf("%+v", s)
	}
	kinds := map[ViolationKind]int{}
	for _, x := range v.st.Violations() {
		kinds[x.Kind]++
		if x.Host != host {
			t.Errorf("%+v", x)
		}
	}
	if kinds[SameCode] != 1 || kinds[DuplicateBot] != 1 {
		t.Errorf("violations %v", kinds)
	}
	v.works("imbot.register", bot("helper"), `"39"`) // the older one
}

// TestManyAtOnce: every row of many portals makes one bot, and counters agree.
func TestManyAtOnce(t *testing.T) {
	const portals, bots = 20, 20
	box := Start(t, WithUnknownHosts(Portal{AnyWebhook: true, ServiceTime: time.Millisecond, ServiceJitter: time.Millisecond}))
	v := &visitor{t: t, box: box, client: &http.Client{Transport: box.Transport()}}
	var calls sync.WaitGroup
	for p := range portals {
		for b := range bots {
			calls.Go(func() {
				w := *v
				w.base = fmt.Sprintf("https://p%d.bitrix24.ru", p)
				w.works("imbot.register", bot(fmt.Sprint("bot", b)), "")
			})
		}
	}
	calls.Wait()
	if n := box.MaxConcurrent(); n < 1 || n > portals*bots {
		t.Errorf("%d at once", n)
	}
	s := box.Stats()
	if s.BotsCreated != portals*bots || s.DuplicateCodes != 0 || s.Requests != portals*bots || s.Violations != 0 || len(box.Portals()) != portals {
		t.Errorf("%+v", s)
	}
}

// TestThousandAddresses: a thousand portals that other processes can call by
// address, on one port.
func TestThousandAddresses(t *testing.T) {
	box := Start(t)
	first, err := box.Listen("127.3.0.1")
	if err != nil {
		t.Fatal(err)
	}
	port := first[strings.LastIndexByte(first, ':'):]
	names := []string{first}
	for i := 1; i < 1000; i++ {
		addr, err := box.Listen(fmt.Sprintf("127.3.%d.%d%s", i/250, i%250+1, port))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, addr)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	for i, name := range names {
		box.AddPortal(Unlimited(name))
		v := &visitor{t: t, box: box, client: &http.Client{Transport: transport}, base: "http://" + name}
		v.works("imbot.register", bot(fmt.Sprint("bot", i)), "39")
	}
	if s := box.Stats(); s.BotsCreated != 1000 {
		t.Errorf("%+v", s)
	}
}

func TestListenRefusesTheWorld(t *testing.T) {
	box := New()
	defer box.Close()
	for _, ip := range []string{"0.0.0.0", "10.0.0.1", "example.com", "", ":80", "127.0.0.1:port"} {
		if addr, err := box.Listen(ip); err == nil {
			t.Errorf("listens on %q as %s", ip, addr)
		}
	}
	if one, two := box.Addr(), box.Addr(); one == "" || one != two {
		t.Errorf("default listener at %q and %q", one, two)
	}
}

func TestTransportAfterClose(t *testing.T) {
	box := New(WithUnknownHosts(Unlimited("")))
	client := &http.Client{Transport: box.Transport()}
	box.Close()
	resp, err := client.Post("https://a.ru/rest/1/x/profile", "application/json", strings.NewReader("{}"))
	if err == nil {
		_ = resp.Body.Close()
		t.Error("a closed sandbox answers")
	}
}

// fakeTB notes what Start does to a test.
type fakeTB struct {
	fatal   string
	cleanup []func()
}

func (f *fakeTB) Helper()                        {}
func (f *fakeTB) Cleanup(c func())               { f.cleanup = append(f.cleanup, c) }
func (f *fakeTB) Fatalf(format string, a ...any) { f.fatal = fmt.Sprintf(format, a...) }

func TestStartFailsTheTest(t *testing.T) {
	tb := &fakeTB{}
	Start(tb, WithPortals(Portal{}))
	if !strings.Contains(tb.fatal, "portal without a name") || len(tb.cleanup) != 1 {
		t.Errorf("%+v", tb)
	}
	tb.cleanup[0]()
}

func TestSecretsDoNotPrint(t *testing.T) {
	p := Portal{Name: "a.ru", Webhooks: []Webhook{{User: "1", Secret: "hidden"}}, Tokens: []Token{{Value: "hidden"}}, Sessions: []Secret{"hidden"}}
	v := visit(t, p)
	v.send("/rest/1/hidden/profile", "")
	v.send("/rest/profile", `{"auth":"hidden"}`)
	encoded, err := json.Marshal(p.Webhooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", p, p, p, p.Tokens[0].Value), string(encoded),
		fmt.Sprintf("%+v %+v", v.st.Requests(), v.st.Stats()),
	} {
		if strings.Contains(text, "hidden") {
			t.Errorf("a secret shows: %s", text)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	v := visit(t, Portal{}, WithLogSize(10))
	for range 35 {
		v.works("profile", "", "")
	}
	log := v.st.Requests()
	if len(log) != 10 || log[0].Seq != 25 || log[9].Seq != 34 {
		t.Errorf("%d entries, %+v", len(log), log)
	}
	for i := range 2 * maxKinds {
		v.call(fmt.Sprint("method", i), "")
	}
	if s := v.st.Stats(); s.Methods["unknown"] != 2*maxKinds || len(s.Methods) != 2 {
		t.Errorf("%+v", s.Methods)
	}
}

func TestReplacedPortalStartsAnew(t *testing.T) {
	v := visit(t, Portal{})
	v.works("imbot.register", bot("a"), "39")
	v.box.AddPortal(Unlimited(host))
	v.works("imbot.register", bot("b"), "39")
	if len(v.box.Portals()) != 1 {
		t.Error("the replaced portal is still counted")
	}
}

// TestSampleRegisters registers the whole sample, by the webhooks and client
// ids of its portals file, on the sample's portals.
func TestSampleRegisters(t *testing.T) {
	rows, portals := Sample()
	v := &visitor{t: t, box: Start(t, WithPortals(SamplePortals()...))}
	v.client = &http.Client{Transport: v.box.Transport()}
	type line struct {
		Portal, Webhook string
		ClientID        string `json:"client_id"`
		Plan            string
	}
	known := map[string]line{}
	each(t, portals, func(text []byte) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil || l.ClientID == "" || l.Plan == "" || known[l.Portal].Portal != "" {
			t.Fatalf("%v: %s", err, text)
		}
		known[l.Portal] = l
	})
	n := 0
	each(t, rows, func(text []byte) {
		var row map[string]any
		if err := json.Unmarshal(text, &row); err != nil {
			t.Fatal(err)
		}
		l := known[row["portal"].(string)]
		row["CLIENT_ID"] = l.ClientID
		body, _ := json.Marshal(row)
		v.base = strings.TrimSuffix(l.Webhook, "/")
		if a := v.send("/imbot.register", string(body)); string(a.Result) != itoa(39+n%botsPerSample) {
			t.Errorf("%s: %s", text, a.raw)
		}
		n++
	})
	if n != 60 || len(known) != 20 {
		t.Errorf("%d rows, %d portals", n, len(known))
	}
	for _, st := range v.box.Portals() {
		if apps := st.Applications(); len(apps) != 1 {
			t.Errorf("%s: applications %v", st.Name(), apps)
		}
		for _, b := range st.Bots() {
			if b.Name == "" || b.Color == "" || b.WorkPosition == "" {
				t.Errorf("%s: %+v", st.Name(), b)
			}
		}
	}
}

func each(t *testing.T, lines []byte, f func([]byte)) {
	t.Helper()
	s := bufio.NewScanner(bytes.NewReader(lines))
	for s.Scan() {
		f(s.Bytes())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
}
