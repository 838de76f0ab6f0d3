// What a tracer hears of rows, on both kinds of Redis.

package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// recorder is a tracer that remembers what it hears, and what was not ended once.
type recorder struct {
	mu    sync.Mutex
	lines []string
	open  map[string]int // what has begun and not ended
	wrong []string
}

type recorderKey struct{}

func (r *recorder) begin(ctx context.Context, what string) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[string]int{}
	}
	r.open[what]++
	return context.WithValue(ctx, recorderKey{}, what)
}

// ender returns what ends something with a line.
func (r *recorder) ender(what string) func(line string) {
	ended := false
	return func(line string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if ended {
			r.wrong = append(r.wrong, what+" was ended twice")
		}
		ended = true
		r.open[what]--
		r.lines = append(r.lines, what+": "+line)
	}
}

func (r *recorder) Submitting(ctx context.Context, run string, rows int) (context.Context, func(error)) {
	what := fmt.Sprintf("submit %s of %d", run, rows)
	ctx, end := r.begin(ctx, what), r.ender(what)
	return ctx, func(err error) { end(fmt.Sprint(err)) }
}

func (r *recorder) Queueing(ctx context.Context, row tasks.TracedRow) (map[string]string, func(tasks.ReceiptStatus, error)) {
	of, _ := ctx.Value(recorderKey{}).(string)
	what := fmt.Sprintf("queue %s/%d %s on %s in (%s)", row.Run, row.Row, row.Code, row.Portal, of)
	_, end := r.begin(ctx, what), r.ender(what)
	return map[string]string{"traceparent": row.Run + "/" + row.Code}, func(s tasks.ReceiptStatus, err error) {
		end(fmt.Sprint(s, " ", err))
	}
}

func (r *recorder) Working(ctx context.Context, headers map[string]string, row tasks.TracedRow) (context.Context, func(error)) {
	what := fmt.Sprintf("work %s/%d after %d, from %q", row.Run, row.Row, row.Failures, headers["traceparent"])
	ctx, end := r.begin(ctx, what), r.ender(what)
	return ctx, func(err error) {
		later, ok := errors.AsType[*tasks.Later](err)
		switch {
		case ok:
			end(fmt.Sprintf("later (attempt %t): %s", later.Attempt, later.Reason))
		case errors.Is(err, asynq.SkipRetry):
			end("archived")
		default:
			end(fmt.Sprint(err))
		}
	}
}

func (r *recorder) Outcome(ctx context.Context, o *runs.Outcome) {
	of, _ := ctx.Value(recorderKey{}).(string)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("outcome %s in (%s)", o.Status, of))
}

// heard returns what was heard, in its order, and fails for what did not end once.
func (r *recorder) heard(t *testing.T) []string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, n := range r.open {
		if n != 0 {
			t.Errorf("%d × %q did not end", n, what)
		}
	}
	for _, w := range r.wrong {
		t.Error(w)
	}
	return r.lines
}

// followed has everything of a fleet followed.
func followed(f *fleet) *recorder {
	r := &recorder{}
	f.handler.Tracer = r
	f.Client = tasks.NewClient(tasks.ClientConfig{
		Queue: f.queue, Inspector: f.inspector, Portals: f.handler.Portals.(directory), Runs: f.runs, Retention: time.Hour, Tracer: r,
	})
	return r
}

func TestATracerFollowsARowToItsEnd(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := followed(f)
		f.do = func(_ dispatch.Job, nth int) dispatch.Result {
			switch nth {
			case 1:
				return dispatch.Result{Deferred: &dispatch.Deferral{Until: time.Now(), Reason: ratelimit.Rate}}
			case 2:
				return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Transient, Code: "INTERNAL_SERVER_ERROR", Description: "once"}}
			case 3:
				return dispatch.Result{Err: &bitrix.Error{Class: bitrix.Validation, Code: "CODE_ERROR", Description: "bad"}}
			}
			return dispatch.Result{Registered: &dispatch.Registered{BotID: 7}}
		}
		submit(t, f, "r1", reg("a"))
		id := tasks.TaskID("p1", "customapp", "a")
		f.work(t, "r1", func() bool {
			_ = f.inspector.RunTask(queue, id) // at once, as the dashboard does: of a retry, and of the archived row
			info, err := f.runs.Get(t.Context(), "r1")
			return err == nil && info.Counts.Registered == 1
		})
		const work = `work r1/1 after 0, from "r1/a"`
		const again = `work r1/1 after 1, from "r1/a"`
		want := []string{
			"queue r1/1 a on " + portal + " in (submit r1 of 1): queued <nil>",
			"submit r1 of 1: <nil>",
			work + ": later (attempt false): waits for the portal's request rate",
			work + ": later (attempt true): attempt 1: INTERNAL_SERVER_ERROR: once",
			"outcome dead in (" + again + ")",
			again + ": archived",
		}
		got := r.heard(t)
		if d := cmp.Diff(want, got[:min(len(want), len(got))]); d != "" {
			t.Error(d)
		}
		// The run from the archive: asynq has counted its failure, and the row keeps its trace.
		rest := strings.Join(got[min(len(want), len(got)):], "\n")
		if !strings.HasPrefix(rest, "outcome registered in (") || !strings.Contains(rest, `from "r1/a": <nil>`) {
			t.Errorf("after the re-run: %s", rest)
		}
	})
}

func TestATracerHearsWhyRowsWereNotQueued(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a")) // by a client without a tracer
		r := followed(f)
		got := submit(t, f, "r2", reg("a"), tasks.Registration{Portal: portal}, reg("b"))
		if got[0].Status != tasks.ReceiptDuplicate || got[1].Status != tasks.ReceiptRefused {
			t.Fatalf("%+v", got)
		}
		heard := strings.Join(r.heard(t), "\n")
		for _, want := range []string{"queue r2/1 a on " + portal + " in (submit r2 of 3): duplicate <nil>", "queue r2/3 b on " + portal + " in (submit r2 of 3): queued <nil>"} {
			if strings.Count(heard, want) != 1 {
				t.Errorf("%q is not once in\n%s", want, heard)
			}
		}
		if strings.Contains(heard, "r2/2") {
			t.Errorf("a refused row was queued:\n%s", heard)
		}
		f.work(t, "r1", nil)
		if heard := strings.Join(r.heard(t), "\n"); !strings.Contains(heard, `work r1/1 after 0, from "": <nil>`) {
			t.Errorf("a row without headers was not followed:\n%s", heard)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.Submit(ctx, "r3", reg("c")); err == nil {
			t.Fatal("submitted with an ended context")
		}
		if lines := r.heard(t); !strings.HasPrefix(lines[len(lines)-1], "submit r3 of 1: ") || strings.HasSuffix(lines[len(lines)-1], "<nil>") {
			t.Errorf("%q", lines[len(lines)-1])
		}
	})
}

// Many rows go through the fetcher's batches; a row whose task was lost has no trace.
func TestHeadersSurviveTheBatchFetch(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := followed(f)
		regs := make([]tasks.Registration, 60)
		for i := range regs {
			regs[i] = reg(fmt.Sprintf("bot%02d", i))
		}
		submit(t, f, "r1", regs...)
		f.work(t, "r1", nil)
		heard := strings.Join(r.heard(t), "\n")
		for i := range regs {
			if want := fmt.Sprintf("work r1/%d after 0, from \"r1/bot%02d\": <nil>", i+1, i); strings.Count(heard, want) != 1 {
				t.Errorf("%q is not once in what was heard", want)
			}
		}
	})
}

func TestATracerHearsTheEndOfWhatAStopBreaksOff(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		r := followed(f)
		f.handler.Do = stuck{make(chan struct{}, 10)}
		submit(t, f, "r1", reg("a"))
		w := f.worker([]string{queue}, 2*time.Second)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.open[`work r1/1 after 0, from "r1/a"`] == 1
		})
		w.Stop()
		eventually(t, func() bool { // asynq may return before its handler
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.open[`work r1/1 after 0, from "r1/a"`] == 0
		})
		r.heard(t)
	})
}

func TestWithoutATracerTasksCarryNoHeaders(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		submit(t, f, "r1", reg("a"))
		info, err := f.inspector.GetTaskInfo(queue, tasks.TaskID("p1", "customapp", "a"))
		if err != nil || len(info.Headers) != 0 {
			t.Errorf("headers %v, %v", info.Headers, err)
		}
	})
}
