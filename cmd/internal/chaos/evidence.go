// What is kept of a seed that was not clean: all that is needed to find the reason.

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"botfleet/tasks/runs"
)

// evidence writes the seed's diary, its problems, what the portals have seen and
// what is left in the queues beside the logs, the rows, the results and Redis' own
// files, which are in the folder already.
func (w *world) evidence(line string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s\n\n", line)
	for i, p := range w.places {
		_, _ = fmt.Fprintf(&b, "portal %d: %s %+v\n", i, strings.Join(p.names, " then "), p.plan.brief())
	}
	for _, e := range w.story.events {
		_, _ = fmt.Fprintf(&b, "planned: %s\n", e)
	}
	w.mu.Lock()
	for _, n := range w.notes {
		_, _ = fmt.Fprintln(&b, n)
	}
	w.mu.Unlock()
	if err := w.writeFile("diary.txt", []byte(b.String())); err != nil {
		return err
	}
	if err := w.writeFile("problems.txt", []byte(strings.Join(w.found(), "\n")+"\n")); err != nil {
		return err
	}
	if err := w.writeFile("waiting.txt", []byte(w.waiting(ctx))); err != nil {
		return err
	}
	return w.requests()
}

// brief is a portal's plan without its faults.
func (p portalPlan) brief() string {
	return fmt.Sprintf("oauth %v, picky %v, wild %v, limits %+v", p.oauth, p.picky, p.wild, limitKinds()[p.limits])
}

// requests writes what each portal has seen.
func (w *world) requests() error {
	var lines []any
	for i, p := range w.places {
		for _, r := range p.state.Requests() {
			lines = append(lines, map[string]any{"portal": i, "request": r})
		}
		for _, v := range p.state.Violations() {
			lines = append(lines, map[string]any{"portal": i, "violation": v})
		}
	}
	for _, r := range w.box.Auth().Requests() {
		lines = append(lines, map[string]any{"authorization": r})
	}
	return w.writeLines("requests.jsonl", lines)
}

// waiting tells of the rows that wait, and of their tasks.
func (w *world) waiting(ctx context.Context) string {
	var b strings.Builder
	for _, s := range w.submissions() {
		err := w.store.WaitingRows(ctx, s.run, func(rows []runs.WaitingRow) error {
			for _, row := range rows {
				_, _ = fmt.Fprintf(&b, "run %s row %+v\n", s.run, row)
				for _, key := range w.redis.client.Keys(ctx, "asynq:{*}:t:"+row.Ident).Val() {
					hash, _ := w.redis.client.HGetAll(ctx, key).Result()
					queue, _, _ := strings.Cut(key, "t:")
					_, _ = fmt.Fprintf(&b, "  %s %q\n", key, hash)
					for _, list := range []string{"lease", "scheduled", "retry", "archived", "completed"} {
						if at, err := w.redis.client.ZScore(ctx, queue+list, row.Ident).Result(); err == nil {
							_, _ = fmt.Fprintf(&b, "  in %s: %.0f\n", list, at)
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			_, _ = fmt.Fprintf(&b, "run %s: %v\n", s.run, err)
		}
	}
	return b.String()
}
