// What can be done to many tasks: some at a time, never a whole queue in one script.

package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// queue is the part of an asynq.Inspector that changes tasks.
type queue interface {
	ListArchivedTasks(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)
	ListCompletedTasks(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)
	DeleteTask(queue, id string) error
	RunTask(queue, id string) error
	ArchiveTask(queue, id string) error
	CancelProcessing(id string) error
}

// actions carries out those of asynqmon's clicks that concern many tasks.
type actions struct{ queue queue }

// tally is to how many tasks something was done, and to how many it was not.
type tally struct{ done, failed int }

var (
	allPath   = regexp.MustCompile(`^queues/([^/]+)/(?:groups/[^/]+/)?([a-z]+)_tasks:(delete|run|archive|cancel)_all$`)
	batchPath = regexp.MustCompile(`^queues/([^/]+)/(?:groups/[^/]+/)?([a-z]+)_tasks:batch_(delete|run|archive|cancel)$`)
	queuePath = regexp.MustCompile(`^queues/[^/]+$`)
)

// Why some clicks are refused.
const (
	noDeleteAll = "Not done: the rows that wait belong to a run, and would be queued again. To keep them back, pause the queue or hold their portals (enqueue portals hold)."
	noArchive   = "Not done: an archived row counts as dead, and the archive of a queue keeps 10,000 tasks. Select the tasks that you mean."
	noRunAll    = "Not done: these rows wait for their portals, and would only be put back. They go on by themselves when their portals can take them. Select tasks to try them now."
	noCancelAll = "Not done: what is on its way to a portal cannot be called back. Pause the queue, and nothing more will leave; or select the tasks that you mean."
	noQueue     = "Not done: the queue belongs to the portals that it was given to, and a worker would set it up again."
)

// serve answers the requests that it knows, and reports whether it did. It acts on
// POST and DELETE alone: HEAD and OPTIONS count as safe, so that pages of other
// sites may send them.
func (a actions) serve(w http.ResponseWriter, r *http.Request, name string) (t tally, known bool) {
	if !changes(r) {
		return tally{}, false
	}
	if m := allPath.FindStringSubmatch(name); m != nil {
		return a.all(w, m[1], m[2], m[3]), true
	}
	if m := batchPath.FindStringSubmatch(name); m != nil {
		return a.batch(w, r, m[1], m[3]), true
	}
	if r.Method == http.MethodDelete && queuePath.MatchString(name) {
		http.Error(w, noQueue, http.StatusForbidden)
		return tally{}, true
	}
	return tally{}, false
}

// changes reports whether a request asks for a change.
func changes(r *http.Request) bool {
	return r.Method == http.MethodPost || r.Method == http.MethodDelete
}

// verb is what is done to a task, and how the answers name those it was done to.
type verb struct {
	do           func(queue, id string) error
	done, failed string // keys of a batch's answer
	total        string // key of the answer for a whole state
	words        string
}

func (a actions) verb(name string) verb {
	switch name {
	case "delete":
		return verb{a.queue.DeleteTask, "deleted_ids", "failed_ids", "deleted", "deleted"}
	case "run":
		return verb{a.queue.RunTask, "pending_ids", "error_ids", "scheduled", "queued again"}
	case "archive":
		return verb{a.queue.ArchiveTask, "archived_ids", "error_ids", "archived", "archived"}
	}
	cancel := func(_, id string) error { return a.queue.CancelProcessing(id) }
	return verb{cancel, "canceled_ids", "error_ids", "canceled", "told to stop"}
}

// batch does something to selected tasks.
func (a actions) batch(w http.ResponseWriter, r *http.Request, queue, name string) tally {
	var asked struct {
		IDs []string `json:"task_ids"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, "the list of tasks cannot be read: "+err.Error(), http.StatusBadRequest)
		return tally{}
	}
	if len(asked.IDs) > maxSize {
		http.Error(w, fmt.Sprintf("%d tasks at most can be selected", maxSize), http.StatusBadRequest)
		return tally{}
	}
	v := a.verb(name)
	done, failed, err := each(asked.IDs, time.Now().Add(actWithin), func(id string) error { return v.do(queue, id) })
	t := tally{len(done), len(failed)}
	if len(done) == 0 && err != nil {
		http.Error(w, fmt.Sprintf("none of the %d tasks could be %s: %v", len(asked.IDs), v.words, err), http.StatusInternalServerError)
		return t
	}
	tell(w, map[string][]string{v.done: done, v.failed: failed})
	return t
}

// all does something to all tasks of one state, if that is of any use, for
// actWithin at most.
func (a actions) all(w http.ResponseWriter, queue, state, name string) tally {
	list := a.queue.ListCompletedTasks
	switch {
	case state == "archived" && (name == "delete" || name == "run"):
		list = a.queue.ListArchivedTasks
	case state == "completed" && name == "delete":
	default:
		http.Error(w, refusal(name), http.StatusForbidden)
		return tally{}
	}
	v := a.verb(name)
	n, more, err := a.sweep(queue, list, v, name == "run")
	switch {
	case err != nil:
		http.Error(w, fmt.Sprintf("%d tasks were %s, and then: %v", n, v.words, err), http.StatusInternalServerError)
	case more:
		http.Error(w, fmt.Sprintf("%d tasks were %s, and there are more: click again to go on.", n, v.words), http.StatusServiceUnavailable)
	default:
		tell(w, map[string]int{v.total: n})
	}
	return tally{done: n}
}

func refusal(name string) string {
	switch name {
	case "delete":
		return noDeleteAll
	case "archive":
		return noArchive
	case "run":
		return noRunAll
	}
	return noCancelAll
}

const (
	// actWithin is how long one click may be at work. The answer has to be there
	// before AnswerWithin.
	actWithin = 5 * time.Second
	// hands is how many tasks are seen to side by side: fewer than the client has
	// connections, so that the page can be read meanwhile.
	hands = 3
	// pageOf is how many tasks are listed at once.
	pageOf = 500
)

type lister func(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)

// sweep does something to the tasks of a list, page by page. once is set for what
// may come back into the list, as a dead letter that is run again does: then all are
// listed first, which are as many as the archive holds. more is set when it did not
// come to an end.
func (a actions) sweep(queue string, list lister, v verb, once bool) (n int, more bool, err error) {
	until := time.Now().Add(actWithin)
	ids, err := listed(queue, list, once)
	for err == nil && len(ids) > 0 {
		done, failed, last := each(ids, until, func(id string) error { return v.do(queue, id) })
		n += len(done)
		if len(done) == 0 { // listed, and yet not there: the sweeper sees to such
			return n, true, last
		}
		if !time.Now().Before(until) {
			return n, true, nil
		}
		if once {
			return n, len(failed) > 0, nil
		}
		ids, err = listed(queue, list, once)
	}
	return n, false, err
}

// listed returns the ids of the first page, or of as many as an archive holds.
func listed(queue string, list lister, all bool) ([]string, error) {
	var ids []string
	for page := 1; page <= 10_000/pageOf; page++ {
		tasks, err := list(queue, asynq.Page(page), asynq.PageSize(pageOf))
		if err != nil {
			return nil, err
		}
		for _, t := range tasks {
			ids = append(ids, t.ID)
		}
		if !all || len(tasks) < pageOf {
			break
		}
	}
	return ids, nil
}

// each does something to each task until a time, and returns to which it was done
// and to which it was not. Who was faster has done it; err is the last of what else
// went wrong.
func each(ids []string, until time.Time, do func(id string) error) (done, failed []string, err error) {
	done, failed = []string{}, []string{} // not null in JSON
	var mu sync.Mutex
	next := make(chan string)
	var all sync.WaitGroup
	for range min(hands, len(ids)) {
		all.Go(func() {
			for id := range next {
				bad := do(id)
				mu.Lock()
				if bad == nil {
					done = append(done, id)
				} else {
					failed = append(failed, id)
				}
				if bad != nil && !errors.Is(bad, asynq.ErrTaskNotFound) {
					err = bad
				}
				mu.Unlock()
			}
		})
	}
	for i, id := range ids {
		if !time.Now().Before(until) {
			mu.Lock()
			failed = append(failed, ids[i:]...)
			mu.Unlock()
			break
		}
		next <- id
	}
	close(next)
	all.Wait()
	return done, failed, err
}
