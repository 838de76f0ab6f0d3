// enqueue dead: what it lists, exports and queues again.

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/cable"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// onePixel is the smallest PNG.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// graveyard is a Redis with known portals and a run of dead rows.
type graveyard struct {
	environ []string
	rdb     redis.UniversalClient
	runs    *runs.Store
	portal  portals.Portal // acme.bitrix24.ru
	rows    int
}

const deadRun = "r1"

func newGraveyard(t *testing.T) *graveyard {
	t.Helper()
	server := redistest.Start(t)
	g := &graveyard{
		environ: []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey()}, rdb: redistest.Client(t, server.URL),
	}
	g.runs = runs.New(g.rdb, runs.Options{})
	file := write(t, "portals.csv", "portal,webhook,client_id\n"+
		"acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/abcdefabcdef/,app\nbeta.bitrix24.ru,https://beta.bitrix24.ru/rest/1/abcdefabcdef/,app\n")
	if code, _, errs := command(t.Context(), g.environ, "portals", "import", file); code != exitDone {
		t.Fatal(errs)
	}
	registry := portals.New(g.rdb, portals.Keyring{}, portals.Options{WithoutSecrets: true})
	var err error
	if g.portal, err = registry.Find(t.Context(), "acme.bitrix24.ru"); err != nil {
		t.Fatal(err)
	}
	if err := g.runs.Open(t.Context(), deadRun, runs.Begin{}); err != nil {
		t.Fatal(err)
	}
	return g
}

// grave is one dead row. Zero fields are those of a row that can be queued again.
type grave struct {
	class, code string
	bot         bitrix.Bot
	portal, pid string
	photo       string // its hash
}

func goodBot(code string) bitrix.Bot {
	return bitrix.Bot{Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Bot " + code}}
}

// bury adds dead rows to the run, behind those that it has.
func (g *graveyard) bury(t *testing.T, graves ...grave) {
	t.Helper()
	rows, outcomes := make([]runs.Row, len(graves)), make([]runs.Outcome, len(graves))
	for i, d := range graves {
		g.rows++
		if d.bot.Code == "" {
			d.bot = goodBot(fmt.Sprintf("bot%d", g.rows))
		}
		if d.class == "" {
			d.class, d.code = "transient", "HTTP_502"
		}
		if d.portal == "" {
			d.portal, d.pid = g.portal.Name, g.portal.ID
		}
		raw, err := json.Marshal(&d.bot)
		if err != nil {
			t.Fatal(err)
		}
		rows[i] = runs.Row{
			Number: g.rows, Ident: tasks.TaskID(d.pid, "customapp", d.bot.Code), Portal: d.portal, PortalID: d.pid, Code: d.bot.Code, Bot: raw,
		}
		outcomes[i] = runs.Outcome{
			Row: g.rows, ID: fmt.Sprintf("own-%d", g.rows), Portal: d.portal, PortalID: d.pid, Code: d.bot.Code, Status: runs.StatusDead, Attempts: 8,
			DoneAt: time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC),
			Class:  d.class, Error: &runs.Failure{Code: d.code, Description: "the portal said no"}, Bot: raw, Photo: d.photo,
		}
	}
	if _, err := g.runs.Add(t.Context(), deadRun, rows); err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if err := g.runs.Record(t.Context(), deadRun, 0, o); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *graveyard) counts(t *testing.T) runs.Counts {
	t.Helper()
	info, err := g.runs.Get(t.Context(), deadRun)
	if err != nil {
		t.Fatal(err)
	}
	if c := info.Counts; c.Queued != c.Waiting+c.Done() {
		t.Errorf("the counters do not add up: %+v", c)
	}
	return info.Counts
}

// do runs enqueue dead and wants an exit status.
func (g *graveyard) do(t *testing.T, code int, args ...string) (out, errs string) {
	t.Helper()
	got, out, errs := command(t.Context(), g.environ, append([]string{"dead"}, args...)...)
	if got != code {
		t.Fatalf("dead %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	return out, errs
}

func TestDeadRowsAreListed(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{class: "validation", code: "NAME_ERROR"}, grave{class: "validation", code: "name_error"}, grave{},
		grave{portal: "beta.bitrix24.ru", class: "blocked", code: "INVALID_CREDENTIALS"})
	alive := runs.Row{Number: 5, Ident: "i", Portal: "acme.bitrix24.ru", Code: "alive"}
	if _, err := g.runs.Add(t.Context(), deadRun, []runs.Row{alive}); err != nil {
		t.Fatal(err)
	}
	numbers := func(args ...string) (rows []int, errs string) {
		out, errs := g.do(t, exitDone, append([]string{"list", deadRun}, args...)...)
		for line := range strings.Lines(out) {
			var r struct {
				Row      int
				Status   string
				Attempts int
				Error    struct{ Code, Description string }
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Status != "dead" || r.Attempts != 8 || r.Error.Description == "" {
				t.Errorf("%v: %s", err, line)
			}
			rows = append(rows, r.Row)
		}
		return rows, errs
	}
	for _, c := range []struct {
		args string
		want []int
		says string
	}{
		{"", []int{1, 2, 3, 4}, "4 dead rows of run r1:\nenqueue"},
		{"--code Name_Error", []int{1, 2}, "       2  validation NAME_ERROR"},
		{"--code NAME_ERROR,HTTP_502 --code invalid_credentials", []int{1, 2, 3, 4}, ""},
		{"--class TRANSIENT", []int{3}, "1 dead row of run r1"},
		{"--portal Beta.Bitrix24.RU", []int{4}, ""},
		{"--portal acme.bitrix24.ru --class validation,blocked", []int{1, 2}, ""},
		{"--code NOBODY", nil, "run r1 has 4 dead rows, and none of them was chosen"},
	} {
		got, errs := numbers(strings.Fields(c.args)...)
		if !slices.Equal(got, c.want) || !strings.Contains(errs, strings.TrimSuffix(c.says, "\nenqueue")) {
			t.Errorf("%s: rows %v\n%s", c.args, got, errs)
		}
	}
	out, _ := g.do(t, exitDone, "list", deadRun, "--format", "table", "--quiet")
	if !strings.HasPrefix(out, "ROW  ID ") || !strings.Contains(out, "HTTP_502") || strings.Contains(out, "alive") {
		t.Error(out)
	}
	file := filepath.Join(t.TempDir(), "dead.csv")
	g.do(t, exitDone, "list", deadRun, "--output", file)
	if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), "\n") != 5 || !strings.HasPrefix(string(text), "row,id,portal,") {
		t.Errorf("%v\n%s", err, text)
	}
	g.do(t, exitFailed, "list", "nobody")
	g.do(t, exitFailed, "list", deadRun, "--code", "")
	g.do(t, exitFailed, "list", deadRun, "--class", "a,,b")
	g.do(t, exitFailed, "lst", deadRun)
	g.do(t, exitFailed, "list")
}

func TestDeadRowsAreRetried(t *testing.T) {
	g := newGraveyard(t)
	hash, err := g.runs.PutPhoto(t.Context(), deadRun, onePixel)
	if err != nil {
		t.Fatal(err)
	}
	g.bury(t, grave{}, grave{photo: hash}, grave{class: "validation", code: "NAME_ERROR"},
		grave{photo: strings.Repeat("0", 64)},                 // gone
		grave{portal: "gone.bitrix24.ru", pid: "never known"}, // removed
		grave{bot: bitrix.Bot{Code: "wrong today"}})
	if info, err := g.runs.Get(t.Context(), deadRun); err != nil || info.Ended.IsZero() {
		t.Fatalf("the run has not ended: %+v, %v", info, err)
	}

	// Nobody can be asked here.
	_, errs := g.do(t, exitFailed, "retry", deadRun)
	if !strings.Contains(errs, "Queue 6 dead rows again? Say so with --yes") || g.counts(t).Dead != 6 {
		t.Error(errs)
	}
	_, errs = g.do(t, exitUnfinished, "retry", deadRun, "--class", "transient", "--yes", "--reason", "the proxy {was} \"down\"", "--rps", "0")
	for _, says := range []string{
		"2 rows queued again, 3 left dead; follow them with: enqueue status r1",
		"row 4 (bot4 on acme.bitrix24.ru) stays dead: its photo is no longer kept",
		"row 5 (bot5 on gone.bitrix24.ru) stays dead: its portal is not known any more; import it",
		"row 6 (wrong today on acme.bitrix24.ru) stays dead: EVENT_MESSAGE_ADD: handler URL is not given",
	} {
		if !strings.Contains(errs, says) {
			t.Errorf("nothing says %q:\n%s", says, errs)
		}
	}
	if d := cmp.Diff(runs.Counts{Queued: 6, Waiting: 2, Dead: 4}, g.counts(t)); d != "" {
		t.Error(d)
	}
	info, err := g.runs.Get(t.Context(), deadRun)
	if err != nil || info.Open || !info.Ended.IsZero() {
		t.Errorf("%+v, %v", info, err)
	}
	queued, err := g.rdb.LLen(t.Context(), "asynq:{"+g.portal.Queue+"}:pending").Result()
	if err != nil || queued != 2 {
		t.Errorf("%d tasks are queued, %v", queued, err)
	}
	st, err := g.runs.Load(t.Context(), deadRun, 2)
	if err != nil || st.Outcome != nil || st.Row.Photo != hash || st.Row.ID != "own-2" || st.Row.Retried == nil || st.Row.Retried.Reason != `the proxy {was} "down"` {
		t.Errorf("%+v, %v", st, err)
	}

	// The reason stays with what becomes of the row.
	o := runs.Outcome{Row: 2, Portal: g.portal.Name, Code: "bot2", Status: runs.StatusDead, Class: "transient", Error: &runs.Failure{Code: "HTTP_502"}}
	if err := g.runs.Record(t.Context(), deadRun, st.Gen, o); err != nil {
		t.Fatal(err)
	}
	out, _ := g.do(t, exitDone, "list", deadRun)
	if !strings.Contains(out, `"retried":{"reason":"the proxy {was} \"down\"","at":"`) || !strings.Contains(out, `"times":1}`) {
		t.Error(out)
	}
	_, errs = g.do(t, exitUnfinished, "retry", deadRun, "--code", "http_502", "--portal", "acme.bitrix24.ru", "--yes")
	if !strings.Contains(errs, "row 2 (bot2 on acme.bitrix24.ru) stays dead: what was submitted is not kept") {
		t.Error(errs)
	}
	g.do(t, exitDone, "retry", deadRun, "--code", "NAME_ERROR", "--yes", "--quiet")
	if _, errs = g.do(t, exitDone, "retry", deadRun, "--code", "NAME_ERROR", "--yes"); !strings.Contains(errs, "none of them was chosen") {
		t.Error(errs)
	}
	for _, wrong := range [][]string{{"--rps", "-1"}, {"--rps", "NaN"}, {"--rps", "0.0001"}, {"--reason", strings.Repeat("x", 201)}, {"--reason", "\xff"}} {
		g.do(t, exitFailed, append([]string{"retry", deadRun, "--yes"}, wrong...)...)
	}
}

// A row remembers its portal by the name that it had; a portal that was renamed
// since is exported and queued under its present one.
func TestDeadRowsOfARenamedPortal(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{portal: "formerly.bitrix24.ru", pid: g.portal.ID})
	out, _ := g.do(t, exitDone, "export", deadRun)
	if !strings.HasPrefix(out, `{"row":1,"portal":"acme.bitrix24.ru","id":"own-1","CODE":"bot1",`) {
		t.Error(out)
	}
	g.do(t, exitDone, "retry", deadRun, "--yes", "--portal", "formerly.bitrix24.ru")
	if c := g.counts(t); c.Waiting != 1 {
		t.Errorf("%+v", c)
	}
}

// Rows keep the name that their portal had: its present one, its id and its
// former name find them all the same.
func TestDeadRowsAreFoundByPortal(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{portal: "formerly.bitrix24.ru", pid: g.portal.ID}, grave{}, grave{portal: "removed.bitrix24.ru", pid: "0123456789abcdef"})
	for name, want := range map[string]int{
		"acme.bitrix24.ru": 2, "ACME.bitrix24.ru": 2, g.portal.ID: 2, "formerly.bitrix24.ru": 1, "removed.bitrix24.ru": 1,
		"beta.bitrix24.ru": 0, "never.bitrix24.ru": 0,
	} {
		if out, _ := g.do(t, exitDone, "list", deadRun, "--format", "jsonl", "--portal", name); strings.Count(out, "\n") != want {
			t.Errorf("%s: want %d rows\n%s", name, want, out)
		}
	}
	if out, _ := g.do(t, exitDone, "export", deadRun, "--portal", "acme.bitrix24.ru"); strings.Count(out, "\n") != 2 {
		t.Error(out)
	}
	g.do(t, exitDone, "retry", deadRun, "--yes", "--portal", "acme.bitrix24.ru")
	if c := g.counts(t); c.Waiting != 2 {
		t.Errorf("%+v", c)
	}
}

func TestUnknownClassesAreRefused(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{class: "operator", code: "TASK_ARCHIVED"}, grave{})
	for _, what := range []string{"list", "export", "retry"} {
		_, errs := g.do(t, exitFailed, what, deadRun, "--class", "transient,conflct")
		if !strings.Contains(errs, `"conflct" is not one of validation, conflict, blocked, ambiguous, transient, operator; did you mean conflict?`) {
			t.Errorf("%s: %s", what, errs)
		}
	}
	if _, errs := g.do(t, exitFailed, "list", deadRun, "--class", "x"); strings.Contains(errs, "did you mean") {
		t.Error(errs)
	}
	if out, _ := g.do(t, exitDone, "list", deadRun, "--format", "jsonl", "--class", "Operator"); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
}

// An interrupted retry leaves each row either dead or queued, and the same
// command goes on.
func TestAnInterruptedRetryGoesOn(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, make([]grave, 60)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			if n, err := g.rdb.HGet(ctx, "botfleet:{run:r1}:meta", "waiting").Int(); err == nil && n > 0 {
				cancel(errInterrupted)
			}
		}
	}()
	began := time.Now()
	code, _, errs := command(ctx, g.environ, "dead", "retry", deadRun, "--yes", "--rps", "20")
	<-watched
	c := g.counts(t)
	if code != exitInterrupted || !strings.Contains(errs, "interrupted") || !strings.Contains(errs, fmt.Sprintf("%d rows queued again; the same command goes on", c.Waiting)) {
		t.Fatalf("exit status %d, %+v\n%s", code, c, errs)
	}
	if c.Waiting == 0 || c.Dead == 0 {
		t.Fatalf("it was not interrupted midway: %+v", c)
	}
	if info, err := g.runs.Get(t.Context(), deadRun); err != nil || info.Open {
		t.Errorf("the run stays open: %+v, %v", info, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	g.do(t, exitDone, "retry", deadRun, "--yes", "--rps", "0")
	if d := cmp.Diff(runs.Counts{Queued: 60, Waiting: 60}, g.counts(t)); d != "" {
		t.Error(d)
	}
	if n := g.rdb.LLen(t.Context(), "asynq:{"+g.portal.Queue+"}:pending").Val() + g.rdb.ZCard(t.Context(), "asynq:{"+g.portal.Queue+"}:scheduled").Val(); n != 60 {
		t.Errorf("%d tasks for 60 rows", n)
	}
}

// What an interrupted retry has begun it ends, also when Redis takes longer for it
// than other commands wait then.
func TestAnInterruptedRetryEndsItsPart(t *testing.T) {
	t.Parallel()
	g := newGraveyard(t)
	g.bury(t, make([]grave, 60)...)
	addr, _ := strings.CutSuffix(strings.TrimPrefix(g.environ[0], "REDIS_URL=redis://"), "/0")
	net, err := cable.New(t.Context(), addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	ctx, cancel := context.WithCancelCause(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			if n, err := g.rdb.HGet(ctx, "botfleet:{run:r1}:meta", "waiting").Int(); err == nil && n > 0 {
				net.Set(cable.Dead, false)
				cancel(errInterrupted)
			}
		}
		<-time.After(3 * time.Second) // others hang up after 2 s
		net.Set(cable.Whole, false)
	})
	environ := append(slices.Clone(g.environ), "REDIS_URL=redis://"+net.Addr()+"/0")
	code, _, errs := command(ctx, environ, "dead", "retry", deadRun, "--yes", "--rps", "20")
	cancel(nil)
	watch.Wait()
	c := g.counts(t)
	if code != exitInterrupted || c.Waiting == 0 || c.Dead == 0 || !strings.Contains(errs, fmt.Sprintf("%d rows queued again; the same command goes on", c.Waiting)) {
		t.Errorf("exit status %d, %+v\n%s", code, c, errs)
	}
	if info, err := g.runs.Get(t.Context(), deadRun); err != nil || info.Open {
		t.Errorf("the run stays open: %+v, %v", info, err)
	}
	if n := g.rdb.LLen(t.Context(), "asynq:{"+g.portal.Queue+"}:pending").Val() + g.rdb.ZCard(t.Context(), "asynq:{"+g.portal.Queue+"}:scheduled").Val(); n != int64(c.Waiting) {
		t.Errorf("%d tasks for %d rows", n, c.Waiting)
	}
}

func TestARetryKeepsItsPace(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, make([]grave, 30)...)
	began := time.Now()
	g.do(t, exitDone, "retry", deadRun, "--yes", "--rps", "20")
	// The first part, a quarter of a second's rows, goes at once.
	if took := time.Since(began); took < 1200*time.Millisecond {
		t.Errorf("30 rows at 20 a second took %v", took)
	}
	if c := g.counts(t); c.Waiting != 30 {
		t.Errorf("%+v", c)
	}
}
