// What check and status say of the time that rows take.

package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/fleet"
	"botfleet/cmd/internal/outlook"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// input writes a portals file, and so many rows for each of its portals.
func input(t *testing.T, rows int, columns string, lines ...string) (portalsFile, rowsFile string) {
	t.Helper()
	p, r := "portal,webhook,client_id"+columns+"\n", ""
	for _, line := range lines {
		name, limits, _ := strings.Cut(line, ",")
		if limits != "" {
			limits = "," + limits
		}
		p += fmt.Sprintf("%s,https://%s/rest/1/s3cret/,app%s\n", name, name, limits)
		for n := range rows {
			r += fmt.Sprintf(`{"portal":%q,"CODE":"b%d","CLIENT_ID":"app%d","EVENT_HANDLER":"https://b.example.com/e","PROPERTIES":{"NAME":"B"}}`+"\n", name, n, n/5)
		}
	}
	return write(t, "portals.csv", p), write(t, "rows.jsonl", r)
}

func TestCheckSaysWhatBinds(t *testing.T) {
	const unreachable = "REDIS_URL=redis://127.0.0.1:1/0"
	for _, c := range []struct {
		name    string
		rows    int
		columns string
		portals []string
		environ []string
		args    []string
		want    []string
		not     []string
	}{
		{
			name: "the request rate", rows: 200, columns: ",rate", portals: []string{"a.bitrix24.ru,2", "slow.bitrix24.ru,1"},
			args: []string{"--batch", "off"},
			want: []string{"estimate: 400 requests, about 2m34s; the request rate of slow.bitrix24.ru binds", "what a row costs is not known for 400 rows"},
		},
		{
			name: "the operating time", rows: 1000, columns: ",plan", portals: []string{"a.bitrix24.ru,enterprise"},
			args: []string{"--row-cost", "1s"},
			want: []string{"estimate: 50 requests, about 20m15s; the operating time of a.bitrix24.ru binds"}, not: []string{"not known"},
		},
		{
			name: "the portal's own pace", rows: 1000, columns: ",operating_limit", portals: []string{"a.bitrix24.ru,0"},
			args: []string{"--row-cost", "400ms", "--latency", "100ms"},
			want: []string{"about 1m40s; the pace of a.bitrix24.ru itself binds"}, not: []string{"not known"},
		},
		{
			name: "the workers' slots", rows: 10, portals: []string{"a.bitrix24.ru", "b.bitrix24.ru", "c.bitrix24.ru"},
			args: []string{"--latency", "1s", "--concurrency", "2"},
			want: []string{"about 15s; the workers' pace binds"},
		},
		{name: "nothing", rows: 1, portals: []string{"a.bitrix24.ru"}, args: []string{"--row-cost", "1s"}, want: []string{"about 1s; no limit binds"}},
		{
			name: "strange limits", rows: 1, columns: ",rate", portals: []string{"a.bitrix24.ru,500"},
			want: []string{"portals.csv:2: rate: 500 requests a second are far more than any Bitrix24 plan allows"},
		},
		{
			name: "a Redis that is not there", rows: 1, portals: []string{"a.bitrix24.ru"}, environ: []string{unreachable},
			want: []string{"note: checked without Redis", "estimate: 1 request,"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			portalsFile, rows := input(t, c.rows, c.columns, c.portals...)
			code, out, errs := command(t.Context(), c.environ, append([]string{"check", "--portals", portalsFile, rows}, c.args...)...)
			if code != exitDone {
				t.Fatalf("exit status %d: %s", code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("not said: %q in\n%s", want, errs)
				}
			}
			for _, not := range c.not {
				if strings.Contains(errs, not) {
					t.Errorf("said: %q in\n%s", not, errs)
				}
			}
		})
	}
	portalsFile, rows := input(t, 1, "", "a.bitrix24.ru")
	if code, _, errs := command(t.Context(), nil, "check", "--portals", portalsFile, rows, "--latency", "-1s"); code != exitFailed || !strings.Contains(errs, "--latency cannot be negative") {
		t.Errorf("exit status %d: %s", code, errs)
	}
}

// secretsKey is 32 bytes in base64.
var secretsKey = "SECRETS_KEY=" + strings.Repeat("A", 43) + "="

func TestStatusSaysWhenAndWhatBinds(t *testing.T) {
	x := troubled(t, 200, ",rate", "a.bitrix24.ru,2", "held.bitrix24.ru,0.5")
	within := func(s runStatus, want time.Duration) {
		t.Helper()
		if s.ETA == nil {
			t.Fatalf("no time is told: %+v", s.etaStatus)
		}
		if got := time.Until(*s.ETA); got < want-want/8 || got > want+want/8 {
			t.Errorf("in %v, want %v", got, want)
		}
	}
	_, s := x.status()
	within(s, 154*2*time.Second) // 46 of 200 are in the burst
	if s.ETABinds != "rate" || s.ETAPortal != "held.bitrix24.ru" || s.ETARows != 400 || s.Workers != 0 || s.Portals.Waiting != 2 {
		t.Errorf("%+v", s.etaStatus)
	}

	p, err := x.registry.Find(t.Context(), "held.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := x.registry.Hold(t.Context(), p.ID, "OVERLOAD_LIMIT: blocked", since); err != nil {
		t.Fatal(err)
	}
	table, s := x.status()
	within(s, 77*time.Second)
	want := []holdStatus{{Portal: "held.bitrix24.ru", State: "held", Reason: "OVERLOAD_LIMIT: blocked", Since: &since, Rows: 200}}
	if d := cmp.Diff(want, s.Holds); d != "" || s.ETAPortal != "a.bitrix24.ru" || s.ETARows != 200 || s.Portals.Held != 1 {
		t.Errorf("%s%+v", d, s.etaStatus)
	}
	x.said(table, "no worker is at work", "200 rows of the other portals done in about 1m", "once one is: the request rate of a.bitrix24.ru binds",
		"of 2 portals that rows wait for, 1 held", "held.bitrix24.ru, 200 rows: held since 2026-01-02", "OVERLOAD_LIMIT: blocked")
}

// silentAnswers is how many requests without an answer make a portal silent.
const silentAnswers = 3

func TestForesightOfPortalsInTrouble(t *testing.T) {
	server := redistest.Start(t)
	rdb := redistest.Client(t, server.URL)
	keys, err := portals.ParseKeys(strings.TrimPrefix(secretsKey, "SECRETS_KEY="))
	if err != nil {
		t.Fatal(err)
	}
	f := foresight{
		runs: runs.New(rdb, runs.Options{}), registry: portals.New(rdb, keys, portals.Options{WithoutSecrets: true}),
		outlook: outlook.Outlook{Gate: ratelimit.NewLocal(ratelimit.Config{}), Batch: 1, Parallel: 4},
	}
	var waiting []runs.Row
	for i, name := range []string{"fine.bitrix24.ru", "silent.bitrix24.ru", "busy.bitrix24.ru", "gone.bitrix24.ru"} {
		p := portals.Portal{ID: name}
		if name != "gone.bitrix24.ru" {
			p = imported(t, f.registry, name)
		}
		outcome, times := ratelimit.NoAnswer, silentAnswers
		if name == "busy.bitrix24.ru" {
			outcome, times = ratelimit.RateRefused, 1
		}
		if name == "fine.bitrix24.ru" {
			outcome = ratelimit.Answered
		}
		for range times {
			ask(t, f.outlook.Gate, &p, outcome)
		}
		for n := range 10 * (i + 1) {
			number := 100*i + n + 1
			waiting = append(waiting, runs.Row{Number: number, Ident: strconv.Itoa(number), Portal: name, PortalID: p.ID, Bot: json.RawMessage(`{}`)})
		}
	}
	if err := f.runs.Open(t.Context(), "r", runs.Begin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.runs.Add(t.Context(), "r", waiting); err != nil {
		t.Fatal(err)
	}
	got, err := f.run(t.Context(), "r", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Silent != 1 || got.Refusing != 1 || got.Held != 0 || got.portals != 4 || got.Foreseen != 10+30 {
		t.Errorf("%+v", got)
	}
	if got.Portal != "busy.bitrix24.ru" || got.Binds != ratelimit.Rate || got.Duration < 10*time.Second {
		t.Errorf("%+v", got)
	}
	var text bytes.Buffer
	e := etaOf(&got, fleet.Fleet{Workers: 1}, time.Now())
	e.print(&text, 2.5, time.Now())
	e.printHolds(&text)
	for _, want := range []string{
		"2.5/s lately; 40 rows of the other portals done in about", "1 silent (their rows wait until they answer), 1 left alone",
		"silent.bitrix24.ru, 20 rows: does not answer since", "busy.bitrix24.ru, 30 rows: left alone for a while",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("not said: %q in\n%s", want, &text)
		}
	}
}

// imported stores a portal.
func imported(t *testing.T, r *portals.Registry, name string) portals.Portal {
	t.Helper()
	access, err := bitrix.ParseWebhook("https://" + name + "/rest/1/s3cret/")
	if err != nil {
		t.Fatal(err)
	}
	e := portals.Entry{Name: name, Plan: portals.Standard, Limits: portals.PlanLimits(""), ServerTimeout: time.Minute, Access: access}
	if _, err := r.Import(t.Context(), []portals.Entry{e}); err != nil {
		t.Fatal(err)
	}
	p, err := r.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask makes one request, which ends so.
func ask(t *testing.T, gate ratelimit.Gate, p *portals.Portal, outcome ratelimit.Outcome) {
	t.Helper()
	d, err := gate.Acquire(t.Context(), ratelimit.Request{Portal: p.ID, Limits: p.Limits, Method: bitrix.MethodRegister, Rows: 1})
	if err != nil || len(d.Go) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := gate.Observe(t.Context(), d.Ticket, ratelimit.Answer{Outcome: outcome, Ran: 1}); err != nil {
		t.Fatal(err)
	}
}

func TestKeepMost(t *testing.T) {
	var list []portalRows
	for i := range outlook.MostAsked + 10 {
		list = append(list, portalRows{strconv.Itoa(i), 1 + i%7})
	}
	most, all := keepMost(append(list, list[:5]...), len(list)+5)
	if len(most) != outlook.MostAsked || all != len(list) || most[0].rows != 7 {
		t.Errorf("%d of %d, first %+v", len(most), all, most[0])
	}
}
