// One portal: its limits kept, and the examples of the method's public page.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
)

// 200 rows on one portal that takes 10 requests at once and 5 a second: batches
// carry them, and no request comes that the portal has to refuse.
func TestOnePortalIsNeverOverrun(t *testing.T) {
	turn(t)
	f := newFleet(t)
	like := sandbox.Unlimited("")
	like.Rate, like.Burst, like.MaxBotsPerApp, like.ReportsOperating = 5, 10, 5, true
	name := f.add(like, map[string]any{"rate": 5, "burst": 10})
	var rows []row
	for i := range 200 {
		r := goodRow(name, fmt.Sprintf("bot_%d", i))
		r["CLIENT_ID"] = fmt.Sprintf("application_%d", i)
		rows = append(rows, r)
	}
	out := filepath.Join(t.TempDir(), "results.jsonl")
	p := finish(t, 0, time.Minute, "enqueue", nil, "run", "--portals", f.file(), "--output", out, writeCSV(t, rows))
	results := readResults(t, out, len(rows))
	allRegistered(t, f, results)
	stats := f.portal(name).Stats()
	t.Logf("%d requests, %d of them batches; fullest bucket %.1f of 10", stats.Requests, stats.Batches, stats.MaxLevel)
	if stats.Statuses[503] > 0 || stats.Violations > 0 {
		t.Errorf("the portal answered 503 %d times; violations: %v", stats.Statuses[503], f.portal(name).Violations())
	}
	if took := span(results); took > 10*time.Second && !withRace {
		t.Errorf("200 rows took %v, and batches need a few seconds:\n%s", took, p.stderr.String())
	}
}

// The same with every row sent by itself: the rate binds, and the time is that
// which it allows.
func TestOnePortalSinglyTakesWhatTheRateAllows(t *testing.T) {
	turn(t)
	f := newFleet(t)
	like := sandbox.Unlimited("")
	like.Rate, like.Burst = 20, 10
	name := f.add(like, map[string]any{"rate": 20, "burst": 10})
	var rows []row
	for i := range 200 {
		r := goodRow(name, fmt.Sprintf("bot_%d", i))
		r["CLIENT_ID"] = fmt.Sprintf("application_%d", i)
		rows = append(rows, r)
	}
	out := filepath.Join(t.TempDir(), "results.jsonl")
	finish(t, 0, time.Minute, "enqueue", []string{"BATCH=off"}, "run", "--portals", f.file(), "--output", out, writeJSONL(t, rows))
	results := readResults(t, out, len(rows))
	allRegistered(t, f, results)
	if stats := f.portal(name).Stats(); stats.Statuses[503] > 0 || stats.Violations > 0 || stats.Batches > 0 {
		t.Errorf("503: %d, violations: %d, batches: %d", stats.Statuses[503], stats.Violations, stats.Batches)
	}
	// 190 requests beyond the burst at 20/s are 9.5 s; places in line are whole
	// seconds, and the machine may be busy.
	if took := span(results); took < 9*time.Second || took > 20*time.Second {
		t.Errorf("200 rows took %v; the limits allow about 9.5 s", took)
	}
}

// span is from the first row queued to the last one done.
func span(results []result) time.Duration {
	first, last := results[0].QueuedAt, results[0].DoneAt
	for _, r := range results {
		if r.QueuedAt.Before(first) {
			first = r.QueuedAt
		}
		if r.DoneAt.After(last) {
			last = r.DoneAt
		}
	}
	return last.Sub(first)
}

// The cURL examples of imbot.register's public page, as rows. The webhook's has
// no CLIENT_ID, so the portals file gives one.
func TestExamplesOfThePublicPage(t *testing.T) {
	turn(t)
	const (
		token   = "t0k3n0fth3publ1cp4g3"
		refresh = "r3fr3sht0k3n"
	)
	f := newFleet(t)
	webhook := f.add(sandbox.Cloud(""), map[string]any{"client_id": "my_app"})
	like := sandbox.Cloud("")
	like.Tokens = []sandbox.Token{{Value: token, App: "local.5c8bb1b0891cf2.87252039"}}
	oauth := f.add(like, map[string]any{"webhook": nil, "client_id": nil, "access_token": token, "refresh_token": refresh})
	f.entries[1]["client_endpoint"] = "http://" + oauth + "/rest/"

	input := filepath.Join(t.TempDir(), "examples.jsonl")
	text := `{"portal":"` + webhook + `","CODE":"newbot","TYPE":"B","EVENT_HANDLER":"https://example.ru/bot/events","OPENLINE":"N","PROPERTIES":{"NAME":"NewBot","WORK_POSITION":"Support bot"}}
{"portal":"` + oauth + `","CODE":"newbot","TYPE":"B","EVENT_HANDLER":"https://example.ru/bot/events","OPENLINE":"N","PROPERTIES":{"NAME":"NewBot"}}
`
	if err := os.WriteFile(input, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := finish(t, 0, time.Minute, "enqueue", []string{"LOG_LEVEL=debug"}, "run", "--portals", f.file(), input)
	noSecrets(t, p.stdout.String()+p.stderr.String(), webhookSecret, token, refresh)
	results := parseResults(t, p.stdout.String(), 2)
	allRegistered(t, f, results)
	bots := f.portal(webhook).Bots()
	if len(bots) != 1 || bots[0].Name != "NewBot" || bots[0].WorkPosition != "Support bot" || bots[0].App != "custommy_app" {
		t.Errorf("bots of the webhook's portal: %+v", bots)
	}
	bots = f.portal(oauth).Bots()
	if len(bots) != 1 || bots[0].Name != "NewBot" || bots[0].App != "local.5c8bb1b0891cf2.87252039" {
		t.Errorf("bots of the application's portal: %+v", bots)
	}
	if results[0].BotID == 0 || results[0].How != "created" || results[0].Existed {
		t.Errorf("first result: %+v", results[0])
	}
}
