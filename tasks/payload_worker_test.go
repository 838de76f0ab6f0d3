// A worker among tasks that no client of ours has queued.

package tasks_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/tasks"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// loudLog keeps all that a worker says.
type loudLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *loudLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *loudLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// queueHostile queues every hostile payload, and tasks whose rows hold what is
// no row. It returns what is said of each, by task id.
func queueHostile(t *testing.T, f *fleet, run string) map[string]string {
	t.Helper()
	says := map[string]string{}
	queued := func(id, payload, typename, word string) {
		says[id] = word
		_, err := f.queue.EnqueueContext(t.Context(), asynq.NewTask(typename, []byte(payload)), asynq.TaskID(id), asynq.Queue(queue))
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range hostilePayloads() {
		queued("hostile "+name, c[0], tasks.TypeName, c[1])
	}
	queued("another type", `{"to":"somebody"}`, "email:send", "cannot be worked on")
	queued("unknown run", `{"v":1,"run":"nobody","row":1,"pid":"p1"}`, tasks.TypeName, "is gone")
	for i, value := range []string{
		"", "w", "no row at all", `w0|x|`, `w0|x|{"portal":[]}`, "w0|x|" + strings.Repeat("[", 50_000), `d0|x|{"status":7}`,
		`w99999999999999999999|x|{}`, "r0|\xff|\xfe",
	} {
		row := 10_000 + i
		if err := f.redis.HSet(t.Context(), fmt.Sprintf("botfleet:{run:%s}:rows:%d", run, (row-1)/runs.ChunkRows), strconv.Itoa(row), value).Err(); err != nil {
			t.Fatal(err)
		}
		queued(fmt.Sprintf("row %d", row), fmt.Sprintf(`{"v":1,"run":%q,"row":%d,"pid":"p1"}`, run, row), tasks.TypeName, "not a row")
	}
	return says
}

func TestAWorkerGoesOnAmongHostileTasks(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		const good = 100
		var regs []tasks.Registration
		for i := range good {
			regs = append(regs, reg(fmt.Sprintf("bot%d", i)))
		}
		submit(t, f, "r1", regs[:good/2]...)
		says := queueHostile(t, f, "r1")
		submit(t, f, "r1", regs[good/2:]...)

		var said loudLog
		log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
		f.handler.Log = log
		w := tasks.NewWorker(tasks.WorkerConfig{
			Redis: f.redis, Handler: f.handler, Queues: []string{queue}, Concurrency: 10, ShutdownTimeout: 5 * time.Second,
			Eager: true, Log: log, Dispatcher: dispatch.New(dispatch.Config{}),
		})
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		eventually(t, func() bool {
			info, err := f.runs.Get(t.Context(), "r1")
			if err != nil || info.Counts.Registered < good {
				return false
			}
			archived, err := f.inspector.GetQueueInfo(queue)
			return err == nil && archived.Archived == len(says)
		})
		for id, word := range says {
			info, err := f.inspector.GetTaskInfo(queue, id)
			if err != nil || info.State != asynq.TaskStateArchived || !strings.Contains(info.LastErr, word) || len(info.LastErr) > 500 {
				t.Errorf("%s: %+.500v, %v", id, info, err)
			}
		}
		if text := strings.ToLower(said.String()); strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
			t.Errorf("the worker panicked:\n%.4000s", said.String())
		}
	})
}

// What a queue holds may not even be a task.
func TestAWorkerGoesOnBesideWhatIsNoTask(t *testing.T) {
	both(t, func(t *testing.T, f *fleet) {
		for i, msg := range []string{"", "no protobuf", strings.Repeat("\xff", 1000)} {
			id := fmt.Sprint("garbage", i)
			if err := f.redis.HSet(t.Context(), "asynq:{"+queue+"}:t:"+id, "msg", msg, "state", "pending").Err(); err != nil {
				t.Fatal(err)
			}
			if err := f.redis.LPush(t.Context(), "asynq:{"+queue+"}:pending", id).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.redis.LPush(t.Context(), "asynq:{"+queue+"}:pending", "without a hash").Err(); err != nil {
			t.Fatal(err)
		}
		var regs []tasks.Registration
		for i := range 20 {
			regs = append(regs, reg(fmt.Sprintf("bot%d", i)))
		}
		submit(t, f, "r1", regs...)
		f.work(t, "r1", nil)
		if n := len(f.calls()); n != len(regs) {
			t.Errorf("%d calls", n)
		}
	})
}
