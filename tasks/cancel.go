// Cancelling: an end for a run's waiting rows, and for their tasks.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// CodeCancelled is the code of a row that was cancelled while it waited.
const CodeCancelled = "CANCELLED"

// ClassOperator is the class of rows that a person, or asynq itself, has ended
// from outside.
const ClassOperator = "operator"

const (
	// cancelPage is how many pending tasks are looked at with one question, which
	// takes Redis some 2 ms, and up to 30 ms among a million.
	cancelPage = 500
	// cancelSearch is how many ids of pending tasks Redis searches through with one
	// question, or all of them once: 10 to 30 ms, and up to 50 ms among a million. It
	// does nothing else meanwhile.
	cancelSearch = 500_000
	// pendingMany is from how many rows of a queue on its pending tasks are gone
	// through once: before, each is searched for.
	pendingMany = 200
	// cancelWithin bounds one page, which is not broken off: rows whose tasks
	// were deleted are to be ended.
	cancelWithin = time.Minute
	// Rows that are being worked on are looked at again, so often and for so
	// long: most that do not end are put off within 2 s, as the portal's turn is
	// not waited for longer. So is a producer that is adding.
	busyEvery = 500 * time.Millisecond
	busyFor   = 10 * time.Second
)

// Canceller ends waiting rows of runs as dead, of class [ClassOperator] and code
// [CodeCancelled], and deletes their tasks. Rows that are being worked on are left
// alone: a task is taken from its queue only while nobody has it, and a row ends
// only after its task is gone. All fields but Now are needed.
type Canceller struct {
	Redis   redis.UniversalClient
	Runs    *runs.Store
	Portals PortalByID       // best without secrets
	Now     func() time.Time // defaults to time.Now
}

// Cancel says what to cancel.
type Cancel struct {
	Run string
	// Portals are the ids of those whose rows are cancelled. Empty: all.
	Portals []string
	Reason  string              // kept with each row; may be empty
	Told    func(cancelled int) // called as it goes on; may be nil
}

// Cancelled is what was done.
type Cancelled struct {
	Rows int // that were ended
	Busy int // that were still being worked on when they were last looked at
}

// Cancel ends the rows that wait, and those that a producer adds meanwhile: it
// watches an open run for 10 s, and returns without an error if it is open still,
// with rows left perhaps. On an error, or when ctx ends, Cancelled says
// what was done until then, rows and tasks agree, and the same call goes on. Memory
// does not grow with the run. It returns [runs.ErrUnknownRun] for no run.
func (c Canceller) Cancel(ctx context.Context, what Cancel) (Cancelled, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	x := &cancelling{Canceller: c, what: what, queues: map[string]string{}, only: map[string]bool{}}
	for _, id := range what.Portals {
		x.only[id] = true
	}
	err := x.all(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever Redis said of being broken off
	}
	return x.did, err
}

// cancelling is one cancellation on its way.
type cancelling struct {
	Canceller

	what Cancel

	only     map[string]bool
	prefixes map[string]bool   // of the ids of their tasks
	queues   map[string]string // by portal id; "": there is no such portal
	did      Cancelled
}

// all walks over the run until a walk left nothing but rows in work, and nobody
// was adding when it began: what is added beside a walk may be behind it.
func (x *cancelling) all(ctx context.Context) error {
	var until time.Time
	for {
		began, err := x.Runs.Get(ctx, x.what.Run)
		if err != nil {
			return err
		}
		busy, err := x.walk(ctx, began.MaxRow)
		if err != nil {
			return err
		}
		if until.IsZero() {
			until = x.Now().Add(busyFor)
		}
		again, err := x.watch(ctx, began, busy, until)
		if err != nil || !again {
			return err
		}
	}
}

// walk ends what waits of the rows up to last, and perhaps of those that a producer
// adds meanwhile, whom it does not run after. It returns of which hashes of the run
// rows are being worked on: the first rows of these.
func (x *cancelling) walk(ctx context.Context, last int) (busy []int, err error) {
	x.did.Busy = 0
	if err := x.pending(ctx); err != nil {
		return nil, err
	}
	return x.rows(ctx, last)
}

// watch looks at the rows in work, and at the producer, until there is neither or
// the time is over. It reports whether to walk again. began is the run before the
// last walk.
func (x *cancelling) watch(ctx context.Context, began runs.Info, busy []int, until time.Time) (again bool, err error) {
	for {
		info, err := x.Runs.Get(ctx, x.what.Run)
		if err != nil {
			return false, err
		}
		late := !x.Now().Before(until)
		switch {
		case began.Open && !info.Open:
			return true, nil // the last time, however late it is
		case late || !info.Open && !grown(began, info) && len(busy) == 0:
			return false, nil
		case grown(began, info):
			return true, nil
		}
		if err := pause(ctx, busyEvery); err != nil {
			return false, err
		}
		if busy, err = x.again(ctx, busy); err != nil {
			return false, err
		}
	}
}

// grown reports whether rows were added, which a run without a lease does not say
// of itself.
func grown(was, is runs.Info) bool {
	return is.MaxRow > was.MaxRow || is.Counts.Queued > was.Counts.Queued
}

// pending goes through the pending tasks of the queues in which many rows wait.
func (x *cancelling) pending(ctx context.Context) error {
	waiting := map[string]int{}
	err := x.Runs.Waiting(ctx, x.what.Run, func(portal string, rows int) error {
		if !x.chosen(portal) {
			return nil
		}
		queue, err := x.queueOf(ctx, portal)
		waiting[queue] += rows
		return err
	})
	if err != nil {
		return err
	}
	delete(waiting, "")
	for queue, rows := range waiting {
		if rows < pendingMany {
			continue
		}
		if err := x.pendingOf(ctx, queue); err != nil {
			return fmt.Errorf("delete pending tasks of queue %s: %w", queue, err)
		}
	}
	return nil
}

// pendingOf goes from the newest pending task to those that are fetched next, and
// counts from these: what is pushed meanwhile, at the other end, moves nothing, and
// what is fetched brings only what was looked at. What is pushed, and the little that
// workers give back, rows finds.
func (x *cancelling) pendingOf(ctx context.Context, queue string) error {
	key := queuePrefix(queue) + "pending"
	left, err := x.Redis.LLen(ctx, key).Result()
	if err != nil {
		return err
	}
	for ; left > 0; left -= cancelPage {
		ids, err := x.Redis.LRange(ctx, key, -left, min(-left+cancelPage, 0)-1).Result()
		if err != nil {
			return err
		}
		if err := x.pendingPage(ctx, queue, left, x.ofPortals(ids)); err != nil {
			return err
		}
	}
	return nil
}

// rows goes through the rows that wait, and returns of which hashes of the run
// rows are being worked on: the first rows of these.
func (x *cancelling) rows(ctx context.Context, last int) (busy []int, err error) {
	for first := 1; first <= last; first += runs.ChunkRows {
		n, err := x.chunk(ctx, first)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			busy = append(busy, first)
		}
		x.did.Busy += n
	}
	return busy, nil
}

// again looks once more at hashes of the run.
func (x *cancelling) again(ctx context.Context, hashes []int) (busy []int, err error) {
	left := 0
	for _, first := range hashes {
		n, err := x.chunk(ctx, first)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			busy = append(busy, first)
		}
		left += n
	}
	x.did.Busy = left
	return busy, nil
}

// mark is what the message of a row's task holds, as [Payload] is encoded; of row
// 0 what those of all rows do.
func (x *cancelling) mark(row int) string {
	if row == 0 {
		return fmt.Sprintf(`"run":"%s","row":`, x.what.Run)
	}
	return fmt.Sprintf(`"run":"%s","row":%d,`, x.what.Run, row)
}

func (x *cancelling) chosen(portal string) bool { return len(x.only) == 0 || x.only[portal] }

// ofPortals keeps the ids of tasks that may be those of chosen portals.
func (x *cancelling) ofPortals(ids []string) []string {
	if len(x.only) == 0 {
		return ids
	}
	if x.prefixes == nil {
		x.prefixes = map[string]bool{}
		for portal := range x.only {
			x.prefixes[taskIDPrefix(portal)] = true
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		dash := strings.IndexByte(id, '-')
		return dash < 0 || !x.prefixes[id[:dash+1]]
	})
}

// queueOf is the queue of a portal; "" when there is no such portal.
func (x *cancelling) queueOf(ctx context.Context, portal string) (string, error) {
	if queue, ok := x.queues[portal]; ok {
		return queue, nil
	}
	p, err := x.Portals.Get(ctx, portal)
	if err != nil && !errors.Is(err, portals.ErrUnknown) {
		return "", err
	}
	x.queues[portal] = p.Queue
	return p.Queue, nil
}

func queuePrefix(queue string) string { return "asynq:{" + queue + "}:" }

// cancelled reports whether a row was cancelled. A task that it has all the same
// was queued while that happened, and is nobody's wish.
func cancelled(o *runs.Outcome) bool {
	return o.Status == runs.StatusDead && o.Class == ClassOperator && o.Error != nil && o.Error.Code == CodeCancelled
}
