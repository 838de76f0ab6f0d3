// What a run wants of bots that stand on their portals already.

package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"botfleet/bitrix"
	"botfleet/tasks/dispatch"
	"botfleet/tasks/runs"
)

// CodeBotExists is the code of a row whose bot was there, in a run that asks for
// new ones only.
const CodeBotExists = "BOT_EXISTS"

// mostWishes bounds the runs whose wishes are kept at hand.
const mostWishes = 1000

// wishes are what runs want of existing bots. A run's never changes.
type wishes struct {
	mu    sync.Mutex
	byRun map[string]runs.OnExisting
}

// of returns what a run wants. A run that is gone wants nothing special.
func (w *wishes) of(ctx context.Context, store *runs.Store, run string) (runs.OnExisting, error) {
	w.mu.Lock()
	wish, ok := w.byRun[run]
	w.mu.Unlock()
	if ok {
		return wish, nil
	}
	info, err := store.Get(ctx, run)
	if errors.Is(err, runs.ErrUnknownRun) {
		return runs.Keep, nil
	}
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byRun == nil || len(w.byRun) >= mostWishes {
		w.byRun = map[string]runs.OnExisting{}
	}
	w.byRun[run] = info.OnExisting
	return info.OnExisting, nil
}

// unwanted turns a bot that was there into a failure. One whose own call's answer
// was lost was not there before.
func unwanted(r dispatch.Result) dispatch.Result {
	b := r.Registered
	if b == nil || !b.Existed || b.Recovered {
		return r
	}
	return dispatch.Result{Err: &bitrix.Error{
		Class: bitrix.Conflict, Code: CodeBotExists, Method: bitrix.MethodRegister, BotID: b.BotID,
		Description: fmt.Sprintf("the portal has a bot with this CODE already, BOT_ID %d; nothing of it was changed", b.BotID),
	}}
}
