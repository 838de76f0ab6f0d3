// Words and numbers.

package overview

import (
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("MSK", 3*3600))

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestMoments(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{noon, "12:00:00 MSK, now"},
		{noon.Add(-3*time.Minute - 5*time.Second), "11:56:55 MSK, 3m05s ago"},
		{noon.Add(90 * time.Minute), "13:30:00 MSK, in 1h30m"},
		{noon.Add(-13 * time.Hour).UTC(), "2026-02-28 23:00 MSK, 13h00m ago"},
		{noon.AddDate(1, 0, 0), "2027-03-01 12:00 MSK, in 365d00h"},
	} {
		same(t, c.at.String(), momentOf(c.at, noon).String(), c.want)
	}
	if m := momentOf(time.Time{}, noon); m != (moment{}) {
		t.Errorf("no time is %+v", m)
	}
	same(t, "ISO", momentOf(noon, noon).ISO, "2026-03-01T12:00:00+03:00")
}

func TestSizesAndShares(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KB", 10 << 10: "10 KB", 3 << 29: "1.5 GB", 5 << 50: "5120 TB"} {
		same(t, want, bytesText(n), want)
	}
	for _, c := range []struct {
		part, whole int
		want        string
	}{{0, 0, "0%"}, {0, 5, "0%"}, {1, 1000, "under 1%"}, {999, 1000, "99%"}, {1000, 1000, "100%"}} {
		same(t, c.want, percent(c.part, c.whole), c.want)
	}
	for d, want := range map[time.Duration]string{0: "0 s", 400 * time.Millisecond: "0.4 s", 120 * time.Second: "120 s", 3600 * time.Second: "3,600 s"} {
		same(t, want, secondsText(d), want)
	}
	same(t, "memory", memoryWords(redisconn.Server{Version: "7.0.15", Used: 1 << 30, Max: 1 << 32}), "7.0.15, 1.0 GB of 4.0 GB used (25%)")
	same(t, "boundless", memoryWords(redisconn.Server{Version: "7.0.15", Used: 2048}), "7.0.15, 2.0 KB used, no maxmemory set")
	same(t, "embedded", memoryWords(redisconn.Server{}), "in memory, of this process")
}

// What others wrote is in no command unless a shell takes it for itself.
func TestCommands(t *testing.T) {
	for word, want := range map[string]string{
		"acme.bitrix24.ru": "release acme.bitrix24.ru", "10.0.0.1:8443": "release 10.0.0.1:8443",
		"": "", "-rf": "", "a b": "", "$(id)": "", "a;b": "", "a`b`": "", "a'b": "", "a\nb": "", "é": "", "*": "", "~": "", ".": "",
	} {
		same(t, word, command("release %s", word), want)
	}
	l := deadOf("run", runs.CodeCount{Class: "validation", Code: "NAME_ERROR", Rows: 1234})
	same(t, "dead", l.Rows+" "+l.Command, "1,234 enqueue dead list run --class validation --code NAME_ERROR")
	if l := deadOf("run", runs.CodeCount{Code: runs.CodeOther, Rows: 1}); l.Command != "" || l.Code != "others" {
		t.Errorf("%+v", l)
	}
}

func TestReasons(t *testing.T) {
	same(t, "many", reasonText("waits for its turn", 3), "wait for its turn")
	same(t, "one", reasonText("waits for its turn", 1), "waits for its turn")
	same(t, "attempts", reasonText("the next attempt after X", 2), "wait for the next attempt after X")
	same(t, "attempt", reasonText("the next attempt after X", 1), "waits for the next attempt after X")
	same(t, "others", reasonText("other\nreasons\u202e", 2), "other reasons\ufffd")
}

// The bar never is wider than it is, and shows what is hardly there.
func TestBars(t *testing.T) {
	for _, c := range []struct {
		counts runs.Counts
		want   []segment
	}{
		{runs.Counts{}, nil},
		{runs.Counts{Waiting: 10}, nil},
		{runs.Counts{Registered: 999_999, Dead: 1, Waiting: 1_000_000}, []segment{{"registered", 0, 499}, {"dead", 499, 6}}},
		{runs.Counts{Registered: 999_999, Dead: 1}, []segment{{"registered", 0, 999}, {"dead", 999, 1}}},
		{runs.Counts{Registered: 1, Duplicate: 1, Refused: 1, Dead: 1}, []segment{{"registered", 0, 250}, {"duplicate", 250, 250}, {"refused", 500, 250}, {"dead", 750, 250}}},
	} {
		got := bar(c.counts, c.counts.Done()+c.counts.Waiting)
		if len(got) != len(c.want) {
			t.Errorf("%+v: %v, want %v", c.counts, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%+v: %v, want %v", c.counts, got, c.want)
			}
		}
	}
}

func TestHowARunGetsOn(t *testing.T) {
	held := map[ratelimit.Reason]portalCount{ratelimit.Held: {1, 5}}
	for _, c := range []struct {
		name    string
		detail  detail
		workers int
		want    string
	}{
		{"bound", detail{rate: 320, total: outlook.Total{Foreseen: 100, Duration: 31 * time.Minute, Binds: ratelimit.Budget, Portal: "acme\u202e"}}, 1, "320/s lately; done in about 31m00s (12:31:00 MSK): the operating time of acme\ufffd binds."},
		{"beside held ones", detail{rate: 4.5, counts: held, total: outlook.Total{Foreseen: 100, Duration: time.Minute, Binds: outlook.Workers}}, 1, "4.5/s lately; 100 rows of the other portals done in about 1m00s (12:01:00 MSK): the workers' pace binds."},
		{"no worker", detail{total: outlook.Total{Foreseen: 1, Duration: time.Hour, Binds: ratelimit.Rate, Portal: "p"}}, 0, "Done in about 1h00m (13:00:00 MSK) once a worker is there: the request rate of p binds."},
		{"soon", detail{rate: 1, total: outlook.Total{Foreseen: 1, Duration: time.Millisecond}}, 1, "1.0/s lately; done in a moment: no limit binds."},
		{"nothing known", detail{total: outlook.Total{Foreseen: 254_834}}, 1, "No limit keeps 254,834 rows of portals that are open."},
		{"all closed", detail{counts: held}, 1, "Nobody knows when it will be done: all its portals are closed."},
		{"paused", detail{paused: portalCount{1, 5}, total: outlook.Total{Foreseen: 1, Duration: time.Hour, Binds: ratelimit.Rate, Portal: "p"}}, 1, "1 row of the other portals done in about 1h00m (13:00:00 MSK): the request rate of p binds."},
		{"all under another key", detail{sealed: portalCount{1, 1}}, 1, "Nobody knows when it will be done: all its portals are closed."},
		{"all without tokens", detail{signIn: portalCount{1, 1}}, 1, "Nobody knows when it will be done: all its portals are closed."},
	} {
		same(t, c.name, paceWords(&c.detail, c.workers, noon), c.want)
	}
}

func TestWhatRowsWaitFor(t *testing.T) {
	d := detail{
		info: runs.Info{Counts: runs.Counts{Waiting: 1000}},
		counts: map[ratelimit.Reason]portalCount{
			ratelimit.Held: {2, 100}, ratelimit.Silent: {1, 50}, ratelimit.Refused: {3, 30},
		},
		signIn: portalCount{1, 20}, sealed: portalCount{2, 40}, paused: portalCount{5, 70}, unknown: portalCount{1, 1},
		waits: runWaits{reasons: map[string]int{
			"portal held: x": 80, "waits for the portal to answer again": 9, "waits for a new token: no": 20, "credentials do not open: no key": 40,
			"waits for its turn on the portal": 200, "the next attempt after X: y": 1,
		}},
	}
	text := func() string {
		s := ""
		for _, w := range waitsOf(&d) {
			s += w.Rows + " " + w.Text + "[" + w.Class + "]" + w.Note + "\n"
			for _, r := range w.Some {
				s += "  " + r.Rows + " " + r.Text + "\n"
			}
		}
		return s
	}
	closed := "70 rows of 5 portals: their queue is paused[bad]\n" +
		"100 rows of 2 portals: held, until released or given new credentials[bad]\n" +
		"50 rows of 1 portal: no answer; asked again from time to time[warn]\n" +
		"40 rows of 2 portals: their credentials do not open under the worker's SECRETS_KEY[bad]\n" +
		"20 rows of 1 portal: no new token from the authorization server[warn]\n" +
		"30 rows of 3 portals: left alone for a while after a refusal for the limits[warn]\n" +
		"1 row of 1 portal: not in the registry any more; the rows end when a worker takes them[]\n"
	same(t, "all", text(), closed+"689 rows of portals that take rows[]\n  200 wait for its turn on the portal\n  1 waits for the next attempt after X: y\n  488 queued, in work, or not due yet\n")
	d.sampled, d.cut = true, true
	same(t, "a sample", text(), closed+"689 rows of portals that take rows, or were not counted[]of those put off, these are due first:\n  200 wait for its turn on the portal\n  1 waits for the next attempt after X: y\n")
	d.info.Counts.Waiting = 311
	same(t, "none open", text(), closed)
}

func TestPortalsOfARun(t *testing.T) {
	load := outlook.Load{Portal: &portals.Portal{Name: "acme"}, Rows: 3}
	for _, c := range []struct {
		portal portalOutlook
		want   string
	}{
		{portalOutlook{Portal: outlook.Portal{Load: load}}, "takes rows| its limits keep none of them"},
		{portalOutlook{Portal: outlook.Portal{Load: load, Duration: time.Minute, Binds: ratelimit.Budget}}, "takes rows| done in about 1m00s at best: its operating time binds"},
		{portalOutlook{Portal: outlook.Portal{Load: load, Shut: ratelimit.Held, Why: "by\nhand", Since: noon.Add(-time.Minute)}}, "held|1m00s ago by hand"},
		{portalOutlook{Portal: outlook.Portal{Load: load, Shut: ratelimit.Silent, Until: noon.Add(time.Minute)}}, "does not answer| asked again 12:01:00 MSK, in 1m00s"},
		{portalOutlook{Portal: outlook.Portal{Load: load, Shut: ratelimit.Refused, Until: noon}}, "left alone after refusing| asked again with the next row"},
		{portalOutlook{Portal: outlook.Portal{Load: load}, stands: waitsForToken, why: "no"}, "waits for a new token| no"},
		{portalOutlook{Portal: outlook.Portal{Load: load}, stands: waitsForKey, why: "no key"}, "credentials do not open| no key"},
		{portalOutlook{Portal: outlook.Portal{Load: load}, stands: queuePaused, why: "portals-1"}, "queue paused| portals-1"},
	} {
		v := portalOf(&c.portal, noon)
		same(t, c.want, v.State+"|"+v.Since.Ago+" "+v.Why+v.Next, c.want)
	}
}

func TestVerdicts(t *testing.T) {
	unfinished := runs.Info{Counts: runs.Counts{Waiting: 10, Dead: 120}}
	done := runs.Info{Counts: runs.Counts{Registered: 5, Dead: 1}}
	look := func(f func(*frontLook)) *frontLook {
		l := &frontLook{now: noon}
		l.server.value.workers = 1
		f(l)
		return l
	}
	waiting := func(l *frontLook) {
		l.runs.value = runsLook{list: []runs.Info{unfinished, done}, unfinished: 1, waiting: 10, ended: noon.Add(-time.Second)}
	}
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		look  *frontLook
		class string
		want  string
	}{
		{"nothing", look(func(*frontLook) {}), "good", "Nothing waits."},
		{"Redis away", look(func(l *frontLook) { l.runs.err = broken }), "bad", "The runs cannot be read: it is not known whether anything moves."},
		{"moving", look(func(l *frontLook) { waiting(l); l.runs.value.list[0].Counts.Dead = 0 }), "good", "Everything moves."},
		{"submitting", look(func(l *frontLook) { l.runs.value = runsLook{list: []runs.Info{{Open: true}}, unfinished: 1} }), "good", "Rows are being submitted, and none waits."},
		{"trouble", look(func(l *frontLook) {
			waiting(l)
			l.held.value.count, l.gate.value.silent, l.server.value.warnings = 3, 2, []string{"x"}
		}), "warn", "3 portals are held, 2 portals do not answer, 120 rows are dead in an unfinished run, there is 1 warning; everything else moves."},
		{"the last run", look(func(l *frontLook) { l.runs.value = runsLook{list: []runs.Info{done}} }), "warn", "1 row is dead in the last run; nothing waits."},
		{"no worker", look(func(l *frontLook) { waiting(l); l.server.value.workers = 0 }), "bad", "No worker takes rows, 120 rows are dead in an unfinished run; 10 rows wait."},
		{"paused", look(func(l *frontLook) {
			waiting(l)
			l.queues.value.queues = []*asynq.QueueInfo{{Paused: true}, {}}
		}), "bad", "1 queue is paused, 120 rows are dead in an unfinished run; 10 rows wait."},
		{"full", look(func(l *frontLook) { l.server.value.memory = redisconn.Server{Used: 2, Max: 2} }), "bad", "Redis is full; no row waits."},
		{"still", look(func(l *frontLook) {
			l.runs.value = runsLook{unfinished: 1, waiting: 10, ended: noon.Add(-stillFor), queued: noon.Add(-time.Hour)}
		}), "warn", "10 rows wait, and none was done since 11:58:00 MSK."},
		{"never", look(func(l *frontLook) {
			l.runs.value = runsLook{unfinished: 1, waiting: 1, queued: noon.Add(-9 * time.Hour)}
		}), "warn", "1 row waits, and none was done since 03:00:00 MSK."},
		{"begun", look(func(l *frontLook) {
			l.runs.value = runsLook{unfinished: 1, waiting: 10, ended: noon.Add(-time.Hour), queued: noon.Add(-time.Second)}
		}), "good", "10 rows wait, and none of them is done yet."},
		{"who knows", look(func(l *frontLook) { l.runs.value = runsLook{unfinished: 1, waiting: 10} }), "warn", "10 rows wait, and it is not known when one was last done."},
		{"all closed", look(func(l *frontLook) {
			waiting(l)
			l.held.value.count = 1
			l.details = map[string]answer[detail]{"r": {value: detail{counts: map[ratelimit.Reason]portalCount{ratelimit.Held: {1, 10}}}}}
		}), "warn", "1 portal is held, 120 rows are dead in an unfinished run; nothing else waits."},
		{"a part is missing", look(func(l *frontLook) { l.gate.err = broken }), "warn", "Not everything could be read; nothing waits."},
	} {
		v := judge(c.look)
		same(t, c.name, v.Class+": "+v.Text, c.class+": "+c.want)
	}
}

// What ends a hold by Bitrix24's own hand is no command, as any would call the portal.
func TestWhatEndsAHold(t *testing.T) {
	l := &frontLook{now: noon}
	l.held.value.newest = []heldPortal{
		{"a.bitrix24.ru", portals.Hold{Reason: "OVERLOAD_LIMIT: REST API is blocked due to overload."}},
		{"b.bitrix24.ru", portals.Hold{Reason: "OVERLOAD_LIMIT, they say", ByOperator: true}},
		{"c.bitrix24.ru", portals.Hold{Reason: "invalid_grant"}},
	}
	var v frontView
	v.addClosed(l)
	for i, want := range []string{
		"|only Bitrix24’s support; do not call the portal meanwhile", "enqueue portals release b.bitrix24.ru|", "enqueue portals check c.bitrix24.ru --release|",
	} {
		same(t, v.Closed[i].Name, v.Closed[i].Command+"|"+v.Closed[i].Next, want)
	}
}

// Portals that are not shown are told of by kind: only held ones are listed elsewhere.
func TestPortalsThatAreNotShown(t *testing.T) {
	l := &frontLook{now: noon}
	same(t, "none", l.moreClosed(), "")
	l.held.value.count, l.held.value.newest = 1, []heldPortal{{}}
	l.gate.value.silent, l.gate.value.refusing = 3, 1
	l.gate.value.shut = []gatePortal{{Snapshot: ratelimit.Snapshot{Closed: ratelimit.Silent}}, {Snapshot: ratelimit.Snapshot{Closed: ratelimit.Refused}}}
	same(t, "silent", l.moreClosed(), "And 2 more without an answer.")
	l.held.value.count, l.gate.value.refusing = 1001, 2
	same(t, "all", l.moreClosed(), "And 1,000 more held (enqueue portals list --state held names them), 2 more without an answer, 1 more left alone after refusing.")
}

func TestLimitsOfAPortal(t *testing.T) {
	s := ratelimit.Snapshot{InFlight: 1, Parallel: 4, Tokens: 12.9, Rate: 1.4, Planned: 2, Waiting: 1200, Budgets: []ratelimit.BudgetSnapshot{
		{Method: "none"},
		{Method: "imbot.register", Limit: 480 * time.Second, Operating: 100 * time.Second},
		{Method: "imbot.register", Batched: true, Limit: 480 * time.Second, Operating: 300 * time.Second, Reserved: 60 * time.Second, ResetAt: noon.Add(time.Minute)},
	}}
	v := busyOf(&gatePortal{"acme", s}, noon)
	same(t, "tight", v.Tokens+" "+v.Rate+" "+v.Slowed+" "+v.InFlight+" "+v.InLine+" "+v.Budget+" "+v.Method+" "+v.Back.Ago, "12 2.0/s 1.4/s 1 of 4 1,200 120 s of 480 s imbot.register, batched in 1m00s")
	if v.Spent || len(v.Bar) != 1 || v.Bar[0].W != 250 {
		t.Errorf("%+v", v)
	}
	s.Budgets[2].Operating, s.Budgets[2].ClosedUntil = 500*time.Second, noon.Add(2*time.Minute)
	v = busyOf(&gatePortal{"acme", s}, noon)
	if !v.Spent || v.Budget != "0 s of 480 s" || v.Back.Ago != "in 2m00s" || v.Bar[0].W != 0 {
		t.Errorf("%+v", v)
	}
	if v := busyOf(&gatePortal{"acme", ratelimit.Snapshot{}}, noon); v.Budget != "" || v.Slowed != "" {
		t.Errorf("%+v", v)
	}
}

func TestOldPartsAreNamed(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	same(t, "fresh", olderWords(noon, []part{{"runs", noon}, {"limits", noon.Add(-noticed)}}), "")
	same(t, "old", olderWords(noon, []part{{"runs", noon.Add(-20 * time.Second)}, {"limits", noon}, {"queues", noon.Add(-9 * time.Second)}}),
		"Older, as Redis was slow to tell: runs of 11:59:40 UTC, queues of 11:59:51 UTC.")
}

// The costliest parts are among those whose age is said.
func TestOldDetailsAreNamed(t *testing.T) {
	l := &frontLook{now: noon, details: map[string]answer[detail]{
		"a": {at: noon.Add(-15 * time.Second), value: detail{asOf: noon.Add(-30 * time.Second)}},
		"b": {at: noon, value: detail{}},
	}}
	o := &Overview{}
	same(t, "old", o.front(l).Older, "Older, as Redis was slow to tell: how fast they are of 11:59:45 MSK, what their rows wait for of 11:59:30 MSK.")
}
