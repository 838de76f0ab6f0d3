// The judgement: what runs, queues, portals and logs say must agree.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"botfleet/bitrix/sandbox"
)

// result is one row's outcome as users read it.
type result struct {
	Row      int       `json:"row"`
	ID       string    `json:"id"`
	Portal   string    `json:"portal"`
	Code     string    `json:"code"`
	Status   string    `json:"status"`
	BotID    int64     `json:"bot_id"`
	Existed  bool      `json:"existed"`
	How      string    `json:"how"`
	Attempts int       `json:"attempts"`
	QueuedAt time.Time `json:"queued_at"`
	DoneAt   time.Time `json:"done_at"`
	Class    string    `json:"class"`
	Error    failure   `json:"error"`
	Errors   []failure `json:"errors"`
	Of       *struct {
		Run string `json:"run"`
		Row int    `json:"row"`
	} `json:"of"`
}

type failure struct {
	Code        string `json:"code"`
	Description string `json:"description"`
	Field       string `json:"field"`
	Problem     string `json:"problem"`
}

// court is what the judgement knows.
type court struct {
	*world

	byName  map[string]int             // portal by any of its names
	bots    []map[int64]sandbox.Bot    // by portal and id
	rows    map[string]map[int]result  // by run and row
	plans   map[string]*submission     // by run
	asked   map[string]map[string]bool // applications that asked for a bot, by portal and CODE
	created map[string][]string        // rows that say they made a bot, by portal and CODE
	tally   map[string]int
}

// judge stops the workers and compares.
func (w *world) judge(ctx context.Context) error {
	c := &court{
		world: w, byName: map[string]int{}, rows: map[string]map[int]result{}, plans: map[string]*submission{},
		asked: map[string]map[string]bool{}, created: map[string][]string{}, tally: map[string]int{},
	}
	c.stopAll(ctx)
	if err := c.gather(ctx); err != nil {
		return err
	}
	if err := c.judgeRuns(ctx); err != nil {
		return err
	}
	c.judgePortals()
	if err := c.judgeTasks(ctx); err != nil {
		return err
	}
	if err := c.judgeLogs(); err != nil {
		return err
	}
	return c.reckon(ctx)
}

// stopAll tells all workers to stop, at once.
func (c *court) stopAll(ctx context.Context) {
	var all sync.WaitGroup
	for _, k := range c.workers {
		all.Go(func() {
			if err := k.stop(ctx); err != nil {
				c.problemf("%s could not be stopped: %v", k.name(), err)
			}
		})
	}
	all.Wait()
}

// gather reads the results as users do, and what the portals have.
func (c *court) gather(ctx context.Context) error {
	for i, p := range c.places {
		for _, name := range p.names {
			c.byName[name] = i
		}
		bots := map[int64]sandbox.Bot{}
		for _, b := range p.state.Bots() {
			bots[int64(b.ID)] = b
		}
		c.bots = append(c.bots, bots)
	}
	for n, s := range c.submissions() {
		text, err := c.enqueue(ctx, "results", s.run, "--format", "jsonl")
		if err != nil {
			return fmt.Errorf("read the results of run %s: %w", s.run, err)
		}
		if err := c.writeFile(fmt.Sprintf("results-%d.jsonl", n), []byte(text)); err != nil {
			return err
		}
		c.plans[s.run] = s
		c.rows[s.run] = c.parse(s, text)
	}
	return nil
}

// parse reads a run's results: one for each row.
func (c *court) parse(s *submission, text string) map[int]result {
	rows := map[int]result{}
	for line := range strings.Lines(text) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			c.problemf("a result of run %s cannot be read: %v: %q", s.run, err, line)
			continue
		}
		if old, twice := rows[r.Row]; twice {
			c.problemf("row %d of run %s has two outcomes: %+v and %+v", r.Row, s.run, old, r)
		}
		if r.Row < 1 || r.Row > len(s.plan.rows) {
			c.problemf("run %s has an outcome of row %d, of %d", s.run, r.Row, len(s.plan.rows))
			continue
		}
		rows[r.Row] = r
	}
	for row := range s.plan.rows {
		if _, ok := rows[row+1]; !ok {
			c.problemf("row %d of run %s has no outcome", row+1, s.run)
		}
	}
	return rows
}

// botKey names a CODE on a portal.
func botKey(portal int, code string) string {
	return fmt.Sprintf("%d/%s", portal, strings.ToLower(code))
}

// application is what owns a row's bot.
func (c *court) application(row rowPlan) string {
	switch {
	case c.places[row.portal].plan.oauth:
		return applicationID
	case row.other:
		return "custom" + otherClient
	}
	return "custom" + ownClient
}
