// A worker that takes no tasks for a while.

package tasks

import (
	"maps"
	"slices"
)

// Rest stops taking tasks until Serve is called again. Unlike after Pause, what was
// taken is worked on to its end, in the worker's own time; Rested says when it is.
func (w *Worker) Rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused { // Stop ends the servers
		return
	}
	w.stopTaking()
	w.resting = slices.AppendSeq(w.resting, maps.Values(w.servers))
	clear(w.servers)
	clear(w.slots)
}

// Rested ends the servers that Rest has stopped, if no job of theirs is with the
// dispatcher any more: a handler that outlives its server would run beside the
// task's next run. It reports whether all have ended; Serve may be called then.
// Stop does not wait for a call under way.
func (w *Worker) Rested() bool {
	if w.cfg.Dispatcher.Busy() {
		return false
	}
	w.mu.Lock()
	servers := w.resting
	w.resting = nil
	w.mu.Unlock()
	shutDown(servers)
	return true
}
