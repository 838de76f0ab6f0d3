// What stops work: cancel, pause and resume, dead prune.

package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// yard is a Redis with two known portals, for commands that stop work.
type yard struct {
	environ []string
	rdb     redis.UniversalClient
	runs    *runs.Store
}

func bothYards(t *testing.T, test func(t *testing.T, y *yard)) {
	t.Helper()
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, url string) {
		y := &yard{environ: []string{"REDIS_URL=" + url, "SECRETS_KEY=" + portals.NewKey()}, rdb: rdb, runs: runs.New(rdb, runs.Options{})}
		y.do(t, exitDone, "portals", "import", write(t, "portals.csv", "portal,webhook,client_id\n"+
			"acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/abcdefabcdef/,app\nbeta.bitrix24.ru,https://beta.bitrix24.ru/rest/1/abcdefabcdef/,app\n"))
		test(t, y)
	})
}

// do runs enqueue and wants an exit status.
func (y *yard) do(t *testing.T, code int, args ...string) (out, errs string) {
	t.Helper()
	got, out, errs := command(t.Context(), y.environ, args...)
	if got != code {
		t.Fatalf("%s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	return out, errs
}

// submit submits rows of both portals in turn, and returns the run.
func (y *yard) submit(t *testing.T, rows int) string {
	t.Helper()
	var text strings.Builder
	for i := range rows {
		_, _ = fmt.Fprintf(&text, `{"portal":"%s.bitrix24.ru","CODE":"bot%d","EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"Bot"}}`+"\n",
			[]string{"acme", "beta"}[i%2], i)
	}
	out, _ := y.do(t, exitDone, "submit", write(t, "rows.jsonl", text.String()))
	return strings.TrimSpace(out)
}

func (y *yard) counts(t *testing.T, run string) runs.Counts {
	t.Helper()
	info, err := y.runs.Get(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return info.Counts
}

// tasks counts the tasks that wait.
func (y *yard) tasks(t *testing.T) (n int) {
	t.Helper()
	for i := range 4 {
		size, err := tasks.SizeOf(t.Context(), y.rdb, portals.QueueName(i))
		if err != nil {
			t.Fatal(err)
		}
		n += size.Waiting
	}
	return n
}

func TestACancelledRunAndBack(t *testing.T) {
	bothYards(t, func(t *testing.T, y *yard) {
		run := y.submit(t, 20)
		if _, errs := y.do(t, exitFailed, "cancel", run); !strings.Contains(errs, "End 20 waiting rows of run "+run+" (rows.jsonl) as dead? Say so with --yes") || y.counts(t, run).Waiting != 20 {
			t.Errorf("%s%+v", errs, y.counts(t, run))
		}
		out, errs := y.do(t, exitDone, "cancel", run, "--yes", "--portal", "beta.bitrix24.ru", "--reason", "the wrong file")
		if out != `{"run":"`+run+`","cancelled":10,"busy":0,"waiting":10,"open":false}`+"\n" || !strings.Contains(errs, "the tasks of 10 cancelled rows are deleted; to take it back: enqueue dead retry "+run+" --code CANCELLED\n") {
			t.Errorf("%s%s", out, errs)
		}
		if out, _ = y.do(t, exitDone, "cancel", run, "--yes", "--format", "table"); out != "CANCELLED  IN WORK  STILL WAITING\n10         0        0\n" {
			t.Errorf("%q", out)
		}
		if d := cmp.Diff(runs.Counts{Queued: 20, Dead: 20}, y.counts(t, run)); d != "" || y.tasks(t) != 0 {
			t.Errorf("%s%d tasks", d, y.tasks(t))
		}
		if _, errs = y.do(t, exitDone, "cancel", run); !strings.Contains(errs, "nothing was cancelled") {
			t.Error(errs)
		}
		if out, _ = y.do(t, exitDone, "dead", "list", run, "--format", "jsonl", "--class", "operator", "--code", "cancelled", "--portal", "beta.bitrix24.ru"); strings.Count(out, "by an operator: the wrong file") != 10 {
			t.Error(out)
		}
		y.do(t, exitDone, "dead", "retry", run, "--code", "CANCELLED", "--rps", "0", "--yes")
		if d := cmp.Diff(runs.Counts{Queued: 20, Waiting: 20}, y.counts(t, run)); d != "" || y.tasks(t) != 20 {
			t.Errorf("%s%d tasks", d, y.tasks(t))
		}
	})
}

// A run whose producer may still be adding is cancelled as far as it goes, and
// the command says so, after it has watched the run for a while.
func TestCancellingAnOpenRunSaysSo(t *testing.T) {
	t.Parallel()
	bothYards(t, func(t *testing.T, y *yard) {
		run := y.submit(t, 2)
		if err := y.runs.Open(t.Context(), run, runs.Begin{Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if out, errs := y.do(t, exitUnfinished, "cancel", run, "--yes"); !strings.Contains(out, `"cancelled":2,`) || !strings.Contains(errs, "stop it, and give the same command again") {
			t.Errorf("%s%s", out, errs)
		}
	})
}

// What a producer is about to add would end with nobody asked.
func TestCancellingAnOpenRunAsks(t *testing.T) {
	t.Parallel()
	bothYards(t, func(t *testing.T, y *yard) {
		run := y.submit(t, 2)
		for id, question := range map[string]string{
			run:     "End 2 waiting rows of run " + run + " (rows.jsonl), and what its producer adds meanwhile, as dead? Say so with --yes",
			"begun": "No row of run begun (next.jsonl) waits. End what its producer adds meanwhile as dead? Say so with --yes",
		} {
			if err := y.runs.Open(t.Context(), id, runs.Begin{Label: "next.jsonl", Lease: time.Hour}); err != nil {
				t.Fatal(err)
			}
			if out, errs := y.do(t, exitFailed, "cancel", id); out != "" || !strings.Contains(errs, question) {
				t.Errorf("%s%s", out, errs)
			}
		}
		if c := y.counts(t, run); c.Waiting != 2 {
			t.Errorf("%+v", c)
		}
	})
}

// Whoever reads the exit status alone is not told that all is over while rows that
// were meant wait, such as those of a producer that was done just after the walk.
func TestRowsThatAreLeftAreTold(t *testing.T) {
	bothYards(t, func(t *testing.T, y *yard) {
		run := y.submit(t, 20)
		base := &engine.Base{Redis: y.rdb, Runs: y.runs}
		var acme string
		if err := y.runs.Waiting(t.Context(), run, func(id string, _ int) error { acme = id; return nil }); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			ids  []string
			did  tasks.Cancelled
			want string // "": nothing is left
		}{
			{nil, tasks.Cancelled{Rows: 3}, "still waiting, are 20 rows"},
			{nil, tasks.Cancelled{}, "still waiting, are 20 rows"},
			{nil, tasks.Cancelled{Rows: 3, Busy: 20}, "in work are 20 rows"},
			{[]string{acme}, tasks.Cancelled{Rows: 3}, "still waiting, are 10 rows"},
			{[]string{"another"}, tasks.Cancelled{Rows: 3}, ""},
		} {
			var out, errs bytes.Buffer
			a := &app{std: stdio{strings.NewReader(""), &out, &errs}, common: common{format: report.JSONL}}
			records, err := a.newRecords(cancelLayout())
			if err != nil {
				t.Fatal(err)
			}
			err = a.cancelled(t.Context(), base, run, c.ids, c.did, records)
			exit, _ := errors.AsType[*exitError](err)
			if c.want == "" && err != nil || c.want != "" && (exit == nil || exit.code != exitUnfinished) || !strings.Contains(errs.String(), c.want) || strings.Contains(errs.String(), "nothing was cancelled") {
				t.Errorf("%v, %+v: %v\n%s%s", c.ids, c.did, err, &out, &errs)
			}
		}
	})
}

func TestWhatCannotBeCancelled(t *testing.T) {
	bothYards(t, func(t *testing.T, y *yard) {
		run := y.submit(t, 2)
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"cancel", "r9", "--yes"}, "no such run: r9"},
			{[]string{"cancel", run, "--yes", "--portal", ""}, "--portal: is empty"},
			{[]string{"cancel", run, "--yes", "--portal", "beta.bitrix24.ru, "}, "one of the values is empty"},
			{[]string{"cancel", run, "--yes", "--portal", "betta.bitrix24.ru"}, "betta.bitrix24.ru"},
			{[]string{"cancel", run, "--yes", "--reason", strings.Repeat("я", 201)}, "at most 200 characters"},
			{[]string{"cancel"}, "accepts 1 arg"},
			{[]string{"pause", "--queue", "portals-9"}, `no queue "portals-9"; there are portals-0, portals-1, portals-2, portals-3`},
			{[]string{"resume", "--queue", ""}, "--queue: is empty"},
			{[]string{"dead", "prune", "--older", "-1h"}, "--older"},
		} {
			if _, errs := y.do(t, exitFailed, c.args...); !strings.Contains(errs, c.want) {
				t.Errorf("%q: %s", c.args, errs)
			}
		}
		if c := y.counts(t, run); c.Waiting != 2 {
			t.Errorf("%+v", c)
		}
	})
}

// changes reads what pause and resume print, by queue.
func changes(t *testing.T, out string) map[string]queueChange {
	t.Helper()
	all := map[string]queueChange{}
	for line := range strings.Lines(out) {
		var c queueChange
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[c.Queue] = c
	}
	return all
}

func TestQueuesArePausedAndResumed(t *testing.T) {
	bothYards(t, func(t *testing.T, y *yard) {
		y.submit(t, 6)
		y.environ = append(y.environ, "SHARDS=6") // two of them have no portals yet
		out, errs := y.do(t, exitDone, "pause", "--queue", "portals-1")
		if c := changes(t, out); len(c) != 1 || c["portals-1"].Done != "paused" || !strings.Contains(errs, "go on with: enqueue resume") {
			t.Errorf("%s%s", out, errs)
		}
		out, _ = y.do(t, exitDone, "pause")
		got := changes(t, out)
		if len(got) != 6 || got["portals-1"].Done != "was paused" || got["portals-1"].Since == nil || got["portals-5"].Done != "paused" {
			t.Errorf("%s", out)
		}
		waiting := 0
		for q, c := range got {
			waiting += c.Waiting
			if since, err := tasks.QueuePaused(t.Context(), y.rdb, q); err != nil || time.Since(since).Abs() > time.Minute {
				t.Errorf("%s: %v, %v", q, since, err)
			}
		}
		if waiting != 6 {
			t.Errorf("%s", out)
		}
		if out, _ := y.do(t, exitUnfinished, "doctor", "--format", "table"); !strings.Contains(out, "paused") {
			t.Error(out)
		}
		// Whoever resumes may have other SHARDS.
		y.environ[len(y.environ)-1] = "SHARDS=1"
		out, _ = y.do(t, exitDone, "resume")
		for q, c := range changes(t, out) {
			if since, err := tasks.QueuePaused(t.Context(), y.rdb, q); c.Done != "resumed" || c.Since == nil || err != nil || !since.IsZero() {
				t.Errorf("%+v, %v, %v", c, since, err)
			}
		}
		if n := len(changes(t, out)); n != 6 {
			t.Errorf("%d queues: %s", n, out)
		}
		if out, _ = y.do(t, exitDone, "resume", "--queue", "portals-0", "--format", "table"); !strings.Contains(out, "not paused") {
			t.Error(out)
		}
	})
}

// archive adds archived tasks of rows to a queue; those of waiting rows too.
func (y *yard) archive(t *testing.T, queue string, n int, at time.Time, waits bool) {
	t.Helper()
	run := fmt.Sprintf("%s-%d-%t", queue, at.Unix(), waits)
	rows := make([]runs.Row, n)
	for i := range rows {
		id := fmt.Sprintf("%s-%d", run, i)
		rows[i] = runs.Row{Number: i + 1, Ident: id, Portal: "acme.bitrix24.ru", PortalID: "p", Code: id, Bot: json.RawMessage(`{"CODE":"x"}`)}
		payload, err := tasks.Payload{Run: run, Row: i + 1, PortalID: "p", Portal: "acme.bitrix24.ru", Code: id}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		y.rdb.HSet(t.Context(), "asynq:{"+queue+"}:t:"+id, "state", "archived", "msg", string(append([]byte{0x12, byte(len(payload))}, payload...)))
		y.rdb.ZAdd(t.Context(), "asynq:{"+queue+"}:archived", redis.Z{Score: float64(at.Unix()), Member: id})
	}
	if err := y.runs.Open(t.Context(), run, runs.Begin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := y.runs.Add(t.Context(), run, rows); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		o := runs.Outcome{Row: i + 1, Status: runs.StatusDead, Class: "validation", Error: &runs.Failure{Code: "NAME_ERROR"}}
		if !waits {
			if err := y.runs.Record(t.Context(), run, 0, o); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnArchiveIsPruned(t *testing.T) {
	bothYards(t, func(t *testing.T, y *yard) {
		old, now := time.Now().Add(-48*time.Hour), time.Now()
		y.archive(t, "portals-0", 450, old, false)
		y.archive(t, "portals-0", 5, old.Add(-time.Hour), true) // before the others
		y.archive(t, "portals-0", 3, now, false)
		y.archive(t, "portals-2", 7, old, false)
		if _, errs := y.do(t, exitFailed, "dead", "prune"); !strings.Contains(errs, "Delete 462 archived tasks of 4 queues? Their rows stay dead in their runs. Say so with --yes") {
			t.Error(errs)
		}
		out, errs := y.do(t, exitDone, "dead", "prune", "--yes", "--queue", "portals-0,portals-2")
		if out != `{"queue":"portals-0","deleted":450,"kept":5,"left":8}`+"\n"+`{"queue":"portals-2","deleted":7,"kept":0,"left":0}`+"\n" || !strings.Contains(errs, "kept were 5 tasks") {
			t.Errorf("%s%s", out, errs)
		}
		if n := len(y.rdb.Keys(t.Context(), "asynq:{portals-0}:t:*").Val()); n != 8 {
			t.Errorf("%d tasks are left", n)
		}
		if out, _ = y.do(t, exitDone, "dead", "prune", "--yes", "--older", "0", "--format", "table"); !strings.Contains(out, "portals-0  3        5\n") {
			t.Error(out)
		}
		if c := y.counts(t, fmt.Sprintf("portals-0-%d-false", old.Unix())); c.Dead != 450 {
			t.Errorf("%+v", c)
		}
		if out, _ = y.do(t, exitDone, "dead", "prune", "--queue", "portals-2", "--format", "table"); out != "QUEUE      DELETED  LEFT\nportals-2  0        0\n" {
			t.Error(out)
		}
	})
}
