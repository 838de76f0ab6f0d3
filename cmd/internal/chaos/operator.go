// Somebody at the dashboard, who clicks at random.

package main

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/hibiken/asynq"

	"botfleet/tasks"
)

// click is what was done to a task.
type click struct {
	what string // delete, archive or run
	run  string
	row  int
}

// looks are the lists in which tasks are found.
func (w *world) looks() []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
	return []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		w.inspector.ListPendingTasks, w.inspector.ListScheduledTasks, w.inspector.ListRetryTasks,
		w.inspector.ListArchivedTasks, w.inspector.ListCompletedTasks,
	}
}

// click does n things to each of a few queues' tasks: mostly it deletes.
func (w *world) click(ctx context.Context, n int) {
	queues, err := w.registry.Queues(ctx)
	if err != nil || len(queues) == 0 {
		return // Redis is away: no dashboard
	}
	for range n {
		queue := queues[rand.IntN(len(queues))] //nolint:gosec // what is in the queues is luck anyway
		lists := w.looks()
		found, err := lists[rand.IntN(len(lists))](queue, asynq.PageSize(50)) //nolint:gosec // likewise
		if err != nil || len(found) == 0 {
			continue
		}
		w.clickOn(queue, found[rand.IntN(len(found))]) //nolint:gosec // likewise
	}
}

// clickOn does something to a task.
func (w *world) clickOn(queue string, t *asynq.TaskInfo) {
	c := click{what: "delete"}
	do := w.inspector.DeleteTask
	switch draw := rand.IntN(10); { //nolint:gosec // likewise
	case t.State == asynq.TaskStateArchived && draw < 7:
		c.what, do = "run", w.inspector.RunTask
	case t.State != asynq.TaskStateArchived && t.State != asynq.TaskStateCompleted && draw < 3:
		c.what, do = "archive", w.inspector.ArchiveTask
	}
	if p, err := tasks.DecodePayload(t.Payload); err == nil {
		c.run, c.row = p.Run, p.Row
	}
	err := do(queue, t.ID)
	if err != nil && (errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound)) {
		return // it has gone on meanwhile
	}
	// What failed otherwise may have been done all the same.
	w.mu.Lock()
	w.clicked[t.ID] = append(w.clicked[t.ID], c)
	w.mu.Unlock()
	w.count(c.what+" task", 1)
	w.notef("click: %s %s task %s of row %d of run %s: %v", c.what, t.State, t.ID, c.row, c.run, err)
}
