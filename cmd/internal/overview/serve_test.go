// The pages over real runs, portals and a gate.

package overview

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

var gaps = regexp.MustCompile(`\s+`)

// words are a page's text, without its tags.
func words(t *testing.T, page string) string {
	t.Helper()
	d := decoder(page)
	var text strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return strings.TrimSpace(gaps.ReplaceAllString(text.String(), " "))
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
		if c, ok := token.(xml.CharData); ok {
			text.Write(c)
		} else {
			text.WriteByte(' ')
		}
	}
}

func decoder(page string) *xml.Decoder {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	return d
}

func has(t *testing.T, page string, all ...string) {
	t.Helper()
	text := words(t, page)
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// sound checks what holds for every page.
func sound(t *testing.T, rw *httptest.ResponseRecorder) {
	t.Helper()
	page := rw.Body.String()
	if strings.Contains(page, secret) {
		t.Error("a secret is on the page")
	}
	if got := rw.Header().Get("Content-Security-Policy"); got != policy {
		t.Errorf("policy %q", got)
	}
	if got := rw.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	ids, tags := map[string]bool{}, map[string]int{}
	var levels []int
	d := decoder(page)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		tags[e.Name.Local]++
		if level := slices.Index([]string{"h1", "h2", "h3"}, e.Name.Local); level >= 0 {
			levels = append(levels, level+1)
		}
		checkElement(t, e, ids)
	}
	for _, one := range []string{"h1", "main", "header", "footer", "nav", "title"} {
		if tags[one] != 1 {
			t.Errorf("%d of %s", tags[one], one)
		}
	}
	for i := 1; i < len(levels); i++ {
		if levels[i] > levels[i-1]+1 {
			t.Errorf("headings %v", levels)
		}
	}
}

func checkElement(t *testing.T, e xml.StartElement, ids map[string]bool) {
	t.Helper()
	attrs := map[string]string{}
	for _, a := range e.Attr {
		attrs[a.Name.Local] = a.Value
		if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "style" {
			t.Errorf("%s has %s", e.Name.Local, a.Name.Local)
		}
	}
	if id := attrs["id"]; id != "" {
		if ids[id] {
			t.Errorf("two of id %s", id)
		}
		ids[id] = true
	}
	switch name := e.Name.Local; {
	case name == "style", name == "script" && attrs["src"] != "/assets/overview.js", name == "img", name == "b" && len(attrs) > 1:
		t.Errorf("%s %v", name, attrs)
	case name == "th" && attrs["scope"] == "":
		t.Errorf("a header without scope: %v", attrs)
	case name == "section" && attrs["aria-labelledby"] != attrs["id"]+"-h":
		t.Errorf("a section without its heading: %v", attrs)
	case name == "a" && !strings.HasPrefix(attrs["href"], "/") && !strings.HasPrefix(attrs["href"], "#"):
		t.Errorf("a link leads to %q", attrs["href"])
	}
}

func TestTheFrontPage(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb, func(c *Config) {
			c.Warnings = func(context.Context) []string { return []string{"queue portals-0 has 9000 archived tasks"} }
		})
		p := s.portals("acme.bitrix24.ru", "held.bitrix24.ru", "mute.bitrix24.ru", "worn.bitrix24.ru")
		rows := s.run("now", "campaign.csv", p[0], p[0], p[1], p[2], p[0], p[0])
		s.registered("now", rows[4])
		s.dead("now", rows[5], "validation", "NAME_ERROR")
		old := s.run("old", "before.csv", p[0])
		s.registered("old", old[0])
		s.must(s.registry.Hold(t.Context(), p[1].ID, "ticket 4711", time.Now().Add(-time.Hour)))
		for range 4 {
			s.ask(p[2], ratelimit.Answer{Outcome: ratelimit.NoAnswer})
		}
		s.ask(p[3], ratelimit.Answer{Outcome: ratelimit.Answered, HasOperating: true, Operating: 470 * time.Second, ResetAt: time.Now().Add(time.Minute)})
		s.putOff("now", rows[0], "portals-0", "waits for the portal's request rate, until 2026")
		s.alive()

		rw := s.get("/")
		sound(t, rw)
		if rw.Code != http.StatusOK {
			t.Error(rw.Code)
		}
		has(
			t, rw.Body.String(),
			"1 portal is held, 1 portal does not answer, 1 row is dead in an unfinished run, there is 1 warning; everything else moves.",
			"queue portals-0 has 9000 archived tasks",
			"campaign.csv running now , begun",
			"2 of 6 rows done, 33% · 1 registered · 1 dead · 4 waiting",
			"1 dead: validation, NAME_ERROR",
			"1 row of 1 portal: held, until released or given new credentials",
			"1 row of 1 portal: no answer; asked again from time to time",
			"2 rows of portals that take rows 1 waits for the portal's request rate 1 queued, in work, or not due yet",
			"Its oldest waiting row was queued",
			"held.bitrix24.ru held by a person", "(1h00m ago) ticket 4711 enqueue portals release held.bitrix24.ru",
			"mute.bitrix24.ru does not answer by a worker", "worn.bitrix24.ru", "10 s of 480 s imbot.register; some comes back",
			"Newest runs that are done", "before.csv old", "Workers 1 at work", "botfleet worker v1.2.3",
		)
		for _, link := range []string{`href="/runs/now"`, `href="/runs/old"`, `href="/dashboard/"`} {
			if !strings.Contains(rw.Body.String(), link) {
				t.Errorf("there is no %s", link)
			}
		}
	})
}

func TestTheQueues(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		for _, q := range []string{"portals-1", "portals-0", "mail"} {
			s.must(rdb.SAdd(t.Context(), "asynq:queues", q).Err())
			s.must(rdb.Set(t.Context(), "asynq:{mail}:paused", 1, 0).Err()) // another program's
		}
		s.must(rdb.SAdd(t.Context(), "botfleet:{portals}:queues", "portals-0", "portals-1", "portals-2").Err()) // the last has had no task
		s.must(rdb.ZAdd(t.Context(), "asynq:{portals-0}:archived", redis.Z{Score: 1, Member: "x"}).Err())
		s.must(rdb.HSet(t.Context(), "asynq:{portals-0}:t:x", "msg", "y", "state", "archived").Err())
		s.must(rdb.Set(t.Context(), "asynq:{portals-1}:paused", 1, 0).Err())
		rw := s.get("/")
		sound(t, rw)
		has(t, rw.Body.String(), "1 queue is paused; no row waits.", "portals-0 0 – 0 0 0 1", "portals-1 paused 0")
		if text := words(t, rw.Body.String()); strings.Contains(text, "mail") || strings.Contains(text, "portals-2") {
			t.Errorf("it shows queues that are not the fleet's: %s", text)
		}
		if want := `href="/dashboard/queues/portals-0?status=archived"`; !strings.Contains(rw.Body.String(), want) {
			t.Errorf("there is no %s in %s", want, rw.Body)
		}
	})
}

func TestThePageOfARun(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		p := s.portals("acme.bitrix24.ru", "held.bitrix24.ru", "app.bitrix24.ru")
		rows := s.run("now", "campaign.csv", p[0], p[0], p[1], p[2], p[0], p[0])
		s.registered("now", rows[4])
		s.dead("now", rows[5], "validation", "NAME_ERROR")
		s.must(s.registry.Hold(t.Context(), p[1].ID, "ticket 4711", time.Now().Add(-time.Hour)))
		s.putOff("now", rows[3], "portals-0", "waits for a new token: X: the server is away, until 2026")
		rw := s.get("/runs/now")
		sound(t, rw)
		if rw.Code != http.StatusOK {
			t.Error(rw.Code)
		}
		has(
			t, rw.Body.String(),
			"campaign.csv running", "2 of 6 rows done, 33%", "NAME_ERROR validation 1 enqueue dead list now --class validation --code NAME_ERROR",
			"1 row of 1 portal: no new token from the authorization server", "acme.bitrix24.ru 2 takes rows its limits keep none of them",
			"held.bitrix24.ru 1 held since", "ticket 4711", "app.bitrix24.ru 1 waits for a new token X: the server is away",
			"enqueue status now", "enqueue dead retry now --reason TEXT",
		)
		for _, r := range rows[:4] {
			s.registered("now", r)
		}
		s.page.details = newDetails(s.page)
		done := s.get("/runs/now")
		sound(t, done)
		has(t, done.Body.String(), "campaign.csv done", "ended", "6 of 6 rows done, 100%")
	})
}

// Rows that no limit keeps are told of apart, and no time is promised for them.
func TestRowsThatStand(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		p := s.portals("sealed.bitrix24.ru", "acme.bitrix24.ru")
		rows := s.run("now", "campaign.csv", p[0], p[1])
		s.putOff("now", rows[0], "portals-0", "credentials of portal sealed.bitrix24.ru do not open: they are sealed under key 11, until 2026")
		rw := s.get("/runs/now")
		sound(t, rw)
		has(t, rw.Body.String(), "1 row of 1 portal: their credentials do not open under the worker's SECRETS_KEY",
			"sealed.bitrix24.ru 1 credentials do not open they are sealed under key 11", "acme.bitrix24.ru 1 takes rows")

		for _, queue := range []string{p[0].Queue, p[1].Queue} {
			s.must(rdb.SAdd(t.Context(), "asynq:queues", queue).Err())
			s.must(rdb.Set(t.Context(), "asynq:{"+queue+"}:paused", 1, 0).Err())
		}
		fresh, err := New(s.page.cfg) // the old one remembers
		s.must(err)
		t.Cleanup(fresh.Close)
		s.page = fresh
		rw = s.get("/runs/now")
		sound(t, rw)
		has(t, rw.Body.String(), "2 rows of 2 portals: their queue is paused", "Nobody knows when it will be done", "acme.bitrix24.ru 1 queue paused "+p[1].Queue)
	})
}

func TestThereIsNoSuchRun(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	for _, path := range []string{"/runs/nobody", "/runs/a%20b", "/runs/%3Cb%3E", "/runs/" + strings.Repeat("x", 65), "/runs/%7Brun%7D"} {
		before := s.commands.Load()
		rw := s.get(path)
		sound(t, rw)
		if rw.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rw.Code)
		}
		if path != "/runs/nobody" && s.commands.Load() != before {
			t.Errorf("%s was asked for", path)
		}
	}
	if rw := s.get("/other"); rw.Code != http.StatusNotFound {
		t.Error(rw.Code)
	}
}

// What others wrote is text on the page, and in no command.
func TestHostileWords(t *testing.T) {
	const bad = "\"'><script>alert(1)</script>&\u202e{{.}}\n\x1b[31m"
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL), func(c *Config) {
		c.Warnings = func(context.Context) []string { return []string{bad} }
		c.Version = bad
	})
	p := s.portals("acme.bitrix24.ru")
	rows := s.run("now", bad, p[0], p[0], p[0])
	s.dead("now", rows[0], "validation", bad)
	s.dead("now", rows[1], "validation", "$(reboot)")
	s.must(s.registry.Hold(t.Context(), p[0].ID, bad, time.Now()))
	s.putOff("now", rows[2], "portals-0", bad)
	s.must(s.rdb.SAdd(t.Context(), "asynq:queues", bad).Err())
	s.must(s.rdb.SAdd(t.Context(), "botfleet:{portals}:queues", bad).Err())
	s.must(s.rdb.HSet(t.Context(), "botfleet:{run:now}:meta", "dead:"+bad+"|"+bad, 3).Err())
	for _, path := range []string{"/", "/runs/now"} {
		rw := s.get(path)
		sound(t, rw)
		page := rw.Body.String()
		for _, raw := range []string{"<script>alert", "\u202e", "\x1b", "code $(reboot)"} {
			if strings.Contains(page, raw) {
				t.Errorf("%s has %q:\n%s", path, raw, page)
			}
		}
		if !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s does not show the words:\n%s", path, page)
		}
	}
}

// With a Redis that is away, or does not answer, the page says so in time.
func TestRedisAway(t *testing.T) {
	for name, leave := range map[string]func(*redistest.Server){"gone": (*redistest.Server).Kill, "frozen": (*redistest.Server).Freeze} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s := newStage(t, redistest.Client(t, server.URL))
			p := s.portals("acme.bitrix24.ru")
			s.run("now", "campaign.csv", p[0])
			s.ask(p[0], ratelimit.Answer{Outcome: ratelimit.Answered})
			leave(server)
			if name == "frozen" {
				defer server.Thaw()
			}
			for path, want := range map[string]string{
				"/":         "The runs cannot be read: it is not known whether anything moves.",
				"/runs/now": "The run cannot be read.",
			} {
				began := time.Now()
				rw := s.get(path)
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("%s took %v", path, took)
				}
				sound(t, rw)
				has(t, rw.Body.String(), want, "could not be read: ")
				if text := words(t, rw.Body.String()); path == "/" && (strings.Count(text, "Not known.") != 4 || strings.Contains(text, "None.")) {
					t.Errorf("it pretends to know:\n%s", text)
				}
				if rw.Code != http.StatusServiceUnavailable {
					t.Errorf("%s: %d", path, rw.Code)
				}
			}
		})
	}
}

// A look costs what it costs, however many look, and not more with more portals
// than it looks at.
func TestWhatALookCosts(t *testing.T) {
	var ahead atomic.Int64 // of a clock that stands still while something is counted
	begin := time.Now()
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL), func(c *Config) {
		c.Now = func() time.Time { return begin.Add(time.Duration(ahead.Load())) }
	})
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("p%03d.bitrix24.ru", i))
	}
	all := s.portals(names...)
	for i := range 6 {
		s.run(fmt.Sprintf("run%d", i), "campaign.csv", all...)
	}
	cost := func(viewers int) int64 {
		before := s.commands.Load()
		var looks sync.WaitGroup
		for range viewers {
			looks.Go(func() { s.get("/") })
		}
		looks.Wait()
		s.page.looks.running.Wait() // a page does not wait for what is late
		return s.commands.Load() - before
	}
	cost(1) // Redis learns the scripts
	// For a portal that is asked about: three commands to the gate, which is asked
	// once; and the registry's transaction of three reads, unless it is at hand. How
	// many of the runs read a portal before one of them has it there is luck, at most
	// all.
	const known = detailedRuns*askedPortals*3 + 150
	const most = known + detailedRuns*askedPortals*5
	for _, viewers := range []int{1, 50} {
		fresh, err := New(s.page.cfg)
		s.must(err)
		s.page.Close()
		s.page = fresh
		first := cost(viewers)
		ahead.Add(int64(keptMost)) // nothing is kept but portals
		for s.page.names.Version() < 0 || s.page.names.Len() < askedPortals {
			cost(1) // a slow look has ended before it had them all
			ahead.Add(int64(keptMost))
		}
		later, kept := cost(viewers), cost(20)
		if first > most || later > known || kept != 0 {
			t.Errorf("%d viewers cost %d commands, at most %d; later %d, at most %d; for what is kept %d", viewers, first, most, later, known, kept)
		}
		t.Logf("%d viewers: %d commands, later %d", viewers, first, later)
	}
	rw := s.get("/runs/run0")
	for tries := 0; tries < 10 && strings.Contains(rw.Body.String(), "could not be read"); tries++ { // in time
		ahead.Add(int64(keptMost))
		rw = s.get("/runs/run0")
	}
	has(t, rw.Body.String(), "Rows wait for 300 portals; the 50 with most rows were asked about.", "300 rows of portals that take rows")
}

// The rows of portals that are not asked about are counted by what is known anyway.
func TestHeldPortalsBeyondThoseAskedAbout(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	var names []string
	for i := range askedPortals + 30 {
		names = append(names, fmt.Sprintf("p%03d.bitrix24.ru", i))
	}
	all := s.portals(names...)
	for _, p := range all {
		s.must(s.registry.Hold(t.Context(), p.ID, "x", time.Now()))
	}
	s.run("now", "campaign.csv", all...)
	s.alive()
	rw := s.get("/")
	sound(t, rw)
	has(t, rw.Body.String(), "80 portals are held; nothing else waits.", "80 rows of 80 portals: held", "And 60 more held (enqueue portals list --state held names them).")
	s.must(s.registry.Release(t.Context(), all[0].ID))
	s.page.held.until = time.Time{}
	rw = s.get("/")
	has(t, rw.Body.String(), "79 portals are held")
}

// An unfinished run that is older than the newest ones is shown first.
func TestAnOldUnfinishedRun(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	p := s.portals("acme.bitrix24.ru")
	s.run("forgotten", "forgotten.csv", p[0])
	for i := range newestRuns {
		id := fmt.Sprintf("run%03d", i)
		s.registered(id, s.run(id, "campaign.csv", p[0])[0])
	}
	look, err := s.page.askRuns(t.Context())
	s.must(err)
	if len(look.list) != newestRuns+1 || look.list[0].ID != "forgotten" || look.unfinished != 1 || look.waiting != 1 {
		t.Errorf("%d runs, first %s, %d unfinished with %d rows", len(look.list), look.list[0].ID, look.unfinished, look.waiting)
	}
	if n := strings.Count(s.get("/").Body.String(), `href="/runs/`); n != shownRuns {
		t.Errorf("%d runs are shown", n)
	}
}

// A full Redis takes no notes; the page, and that it says so, is needed then.
func TestAFullRedis(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	p := s.portals("acme.bitrix24.ru")
	for i := range newestRuns {
		id := fmt.Sprintf("run%03d", i)
		rows := s.run(id, "campaign.csv", p[0], p[0])
		s.registered(id, rows[0])
	}
	s.run("forgotten", "forgotten.csv", p[0])
	s.must(s.rdb.ZAdd(t.Context(), "botfleet:runs", redis.Z{Score: 1, Member: "forgotten"}).Err())       // as if it was the oldest
	s.must(s.rdb.ZAdd(t.Context(), "botfleet:{run:forgotten}:ages", redis.Z{Score: 1, Member: 0}).Err()) // a note to be put right
	s.must(s.rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	rw := s.get("/")
	sound(t, rw)
	has(t, rw.Body.String(), "Redis is full")
	if text := words(t, rw.Body.String()); rw.Code != http.StatusOK || strings.Contains(text, "The runs could not be read") || strings.Contains(text, "Not known. All are done.") {
		t.Errorf("%d: %s", rw.Code, text)
	}
}

// Of runs that could not be read nothing is said to be done.
func TestRunsThatAreNotKnownAreNotDone(t *testing.T) {
	v := frontView{}
	v.addRuns(&frontLook{now: noon, runs: answer[runsLook]{value: runsLook{list: []runs.Info{{ID: "r", Ended: noon}}}, err: errLate}})
	if v.NoneUnfinished || v.NoRuns {
		t.Errorf("%+v", v)
	}
}

func TestAssets(t *testing.T) {
	o := &Overview{cfg: Config{Now: time.Now}}
	mux, err := o.routes()
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, etag string) *httptest.ResponseRecorder {
		rw, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", etag)
		mux.ServeHTTP(rw, r)
		return rw
	}
	for name, kind := range map[string]string{"overview.css": "text/css", "overview.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		rw := get("/assets/"+name, "")
		if rw.Code != http.StatusOK || !strings.HasPrefix(rw.Header().Get("Content-Type"), kind) || rw.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, rw.Code, rw.Header())
		}
		if rw := get("/assets/"+name, rw.Header().Get("ETag")); rw.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", name, rw.Code)
		}
	}
	for _, name := range []string{"nothing.css", "..%2foverview.go", ".", "%2e%2e"} {
		if rw := get("/assets/"+name, ""); rw.Code == http.StatusOK {
			t.Errorf("%s: %d", name, rw.Code)
		}
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := New(Config{Runs: &runs.Store{}, Registry: &portals.Registry{}}); err == nil {
		t.Error("no error")
	}
}

// The runs that are kept are bounded.
func TestDetailsAreBounded(t *testing.T) {
	d := newDetails(&Overview{looks: newLooks(time.Now, nil)})
	for i := range 3 * mostDetails {
		d.of(strconv.Itoa(i))
		d.of("often")
	}
	if len(d.runs) != mostDetails || len(d.last) != mostDetails || d.runs["often"] == nil {
		t.Errorf("%d runs, %d in order", len(d.runs), len(d.last))
	}
}
