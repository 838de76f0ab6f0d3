// The worker: asynq servers, one for each queue, started and stopped as one.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/tasks/dispatch"
)

// WorkerConfig is what a Worker runs on. All fields are needed.
type WorkerConfig struct {
	// Redis carries asynq. It should retry for some 20 s before it gives up:
	// asynq cannot repeat a failed acknowledgement, and would run the task again.
	Redis      redis.UniversalClient
	Handler    *Handler
	Dispatcher *dispatch.Dispatcher
	Queues     []string
	// Concurrency is how many tasks are worked on at once, over all queues.
	Concurrency int
	// ShutdownTimeout is how long Stop may take.
	ShutdownTimeout time.Duration
	// Eager looks for tasks many times a second: for a process that has Redis
	// to itself.
	Eager bool
	Log   *slog.Logger
}

// Worker runs the handler on tasks from Redis. There is one server for each
// queue, because a server with several asks them in turn, one task a round
// trip, and a busy queue among idle ones gets a fraction of the rate.
type Worker struct {
	cfg WorkerConfig

	fetch *fetcher

	mu      sync.Mutex
	servers map[string]*asynq.Server
	slots   map[string]int  // of the queues that are served
	resting []*asynq.Server // take nothing, and have not ended; see Rest
	paused  bool            // for good: it ends with Stop only
}

// NewWorker returns a worker that has not started.
func NewWorker(cfg WorkerConfig) *Worker {
	return &Worker{cfg: cfg, fetch: newFetcher(cfg.Redis), servers: map[string]*asynq.Server{}, slots: map[string]int{}}
}

// Start begins to take tasks.
func (w *Worker) Start() error {
	if len(w.cfg.Queues) == 0 {
		return errors.New("start worker: no queues")
	}
	return w.Serve(w.cfg.Queues)
}

// Serve makes the worker take tasks from these queues too. Queues that it
// serves already stay as they are. A worker that was paused or stopped takes
// nothing more.
func (w *Worker) Serve(queues []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused {
		return nil
	}
	fresh := slices.DeleteFunc(slices.Clone(queues), func(q string) bool { return w.servers[q] != nil })
	slots := w.slotsFor(len(fresh))
	for _, q := range fresh {
		w.cfg.Dispatcher.Serves(q, slots)
		s := asynq.NewServerFromRedisClient(w.fetch, w.serverConfig(q, slots))
		if err := s.Start(w.cfg.Handler); err != nil {
			return fmt.Errorf("serve queue %s: %w", q, err)
		}
		w.servers[q], w.slots[q] = s, slots
	}
	return nil
}

// slotsFor is how many slots each of some more queues gets. Those that are served
// keep what they have, and the others share what that leaves of mostTaken.
func (w *Worker) slotsFor(fresh int) int {
	left := mostTaken * w.cfg.Concurrency
	for _, n := range w.slots {
		left -= n
	}
	return max(min(QueueSlots(w.cfg.Concurrency, len(w.servers)+fresh), left/max(fresh, 1)), 1)
}

// mostTaken is how many times what is worked on all queues together take.
const mostTaken = 4

// QueueSlots is how many tasks of one queue are taken at once by a worker that
// works on concurrency of them. It is more than its share: half of all, so that
// one busy queue can use what the others leave, though never so much that all
// together take more than mostTaken times what is worked on.
func QueueSlots(concurrency, queues int) int {
	queues = max(queues, 1)
	if queues == 1 {
		return max(concurrency, 1)
	}
	return max(min((concurrency+1)/2, mostTaken*concurrency/queues), 1)
}

// queueNames is where asynq keeps the names of all queues.
const queueNames = "asynq:queues"

// Announce makes the worker's queues known to asynq. Producers do so once in
// their lives: when Redis has lost its data, what a living one queues is worked
// on, but neither dashboards nor [Client.Submit] find it until somebody
// announces its queue again. So call it now and then.
func (w *Worker) Announce(ctx context.Context) error {
	w.mu.Lock()
	names := slices.Sorted(maps.Keys(w.servers))
	w.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	if err := w.cfg.Redis.SAdd(ctx, queueNames, names).Err(); err != nil {
		return fmt.Errorf("announce queues: %w", err)
	}
	return nil
}

func (w *Worker) serverConfig(queue string, slots int) asynq.Config {
	// Together these cost a Redis with nothing to do some 10 commands a second
	// for each queue.
	check, forward := 600*time.Millisecond, time.Second
	if w.cfg.Eager {
		check, forward = 20*time.Millisecond, 100*time.Millisecond
	}
	return asynq.Config{
		Queues:                   map[string]int{queue: 1},
		Concurrency:              slots,
		TaskCheckInterval:        check,
		DelayedTaskCheckInterval: forward,
		RetryDelayFunc:           RetryDelay(time.Now),
		IsFailure:                IsFailure,
		ShutdownTimeout:          w.lastPart(),
		Logger:                   asynqLog{w.cfg.Log.With("queue", queue)},
		// Its warnings tell of each archived task, which the outcome has told already.
		LogLevel: asynq.ErrorLevel,
	}
}

// Pause stops taking tasks, for good. Requests on their way end; jobs that wait for
// theirs are handed back, as with a short request rate those could be thousands.
func (w *Worker) Pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = true
	w.stopTaking()
	w.fetch.stop()
	w.cfg.Dispatcher.Drain()
}

// stopTaking stops the servers' looks for tasks side by side: each waits for the
// end of its look, and what was taken meanwhile is still sent.
func (w *Worker) stopTaking() {
	var all sync.WaitGroup
	for _, s := range w.servers {
		all.Go(s.Stop)
	}
	all.Wait()
}

// Stop ends the worker. First nothing more is taken and nothing more is sent:
// jobs that wait are handed back. Then requests on their way may end; those
// that have not shortly before the timeout are broken off while there is still
// time to put their tasks back. Only then do the servers stop: a handler that
// outlives its server would run beside the task's next run.
func (w *Worker) Stop() {
	w.Pause()
	w.mu.Lock()
	servers := slices.AppendSeq(w.resting, maps.Values(w.servers))
	w.servers, w.resting = map[string]*asynq.Server{}, nil
	w.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.ShutdownTimeout-w.lastPart())
	defer cancel()
	w.cfg.Dispatcher.Close(ctx)

	shutDown(servers)
}

// shutDown ends servers side by side.
func shutDown(servers []*asynq.Server) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.Shutdown)
	}
	all.Wait()
}

// lastPart is what Stop leaves of the shutdown timeout for handlers to record
// what their jobs came to, when no request is on its way any more.
func (w *Worker) lastPart() time.Duration { return w.cfg.ShutdownTimeout / 10 }

// asynqLog hands asynq's log lines to slog.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn("asynq: " + fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }

// Fatal does not end the process, as asynq would: whoever runs the worker decides that.
func (l asynqLog) Fatal(args ...any) { l.log.Error("asynq: " + fmt.Sprint(args...)) }
