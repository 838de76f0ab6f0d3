// Rows: each has one outcome, and it is true.

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"botfleet/bitrix"
	"botfleet/tasks"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

// judgeRuns looks at every run, and every row of it.
func (c *court) judgeRuns(ctx context.Context) error {
	all, err := c.store.List(ctx, 1000)
	if err != nil {
		return err
	}
	for _, info := range all {
		if _, known := c.plans[info.ID]; !known && info.Counts.Queued > 0 {
			c.problemf("run %s has %d rows, and its producer never told its id", info.ID, info.Counts.Queued)
		}
	}
	for _, run := range slices.Sorted(maps.Keys(c.plans)) {
		if err := c.judgeRun(ctx, c.plans[run]); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.created)) {
		if rows := c.created[key]; len(rows) > 1 {
			c.problemf("bot %s was created by %d rows: %s", key, len(rows), strings.Join(rows, ", "))
		}
	}
	return nil
}

// judgeRun looks at one run.
func (c *court) judgeRun(ctx context.Context, s *submission) error {
	info, err := c.store.Get(ctx, s.run)
	if err != nil {
		return err
	}
	var sum runs.Counts
	for i, row := range s.plan.rows {
		r, ok := c.rows[s.run][i+1]
		if !ok {
			continue
		}
		sum.Queued++
		switch runs.Status(r.Status) {
		case runs.StatusRegistered:
			sum.Registered++
		case runs.StatusDead:
			sum.Dead++
		case runs.StatusRefused:
			sum.Refused++
		case runs.StatusDuplicate:
			sum.Duplicate++
		}
		c.judgeRow(s, i+1, row, r)
	}
	if info.Counts != sum || info.Open || info.Ended.IsZero() || string(info.OnExisting) != s.plan.wish {
		c.problemf("run %s says %+v, and its rows say %+v", s.run, info, sum)
	}
	return nil
}

// judgeRow looks at one row's outcome.
func (c *court) judgeRow(s *submission, number int, row rowPlan, r result) {
	where := fmt.Sprintf("row %d of run %s (%s on portal %d)", number, s.run, row.code, row.portal)
	wrong := func(format string, args ...any) { c.problemf("%s: %s: %+v", where, fmt.Sprintf(format, args...), r) }
	if at, ok := c.byName[r.Portal]; !ok || at != row.portal || r.Code != row.code || r.ID != fmt.Sprintf("%d/%s/%d", row.portal, row.code, number) {
		wrong("it is another row's")
		return
	}
	c.tally[r.Status]++
	key := botKey(row.portal, row.code)
	if r.Status != string(runs.StatusRefused) {
		if c.asked[key] == nil {
			c.asked[key] = map[string]bool{}
		}
		c.asked[key][c.application(row)] = true
	}
	switch runs.Status(r.Status) {
	case runs.StatusRegistered:
		c.tally[r.How]++
		c.judgeRegistered(s, row, r, wrong)
		if r.How == runs.HowCreated {
			c.created[key] = append(c.created[key], fmt.Sprintf("%s/%d", s.run, number))
		}
	case runs.StatusDead:
		c.tally["dead "+r.Class+" "+r.Error.Code]++
		if why := c.unfit(s, number, row, r); why != "" {
			wrong("dead, and %s", why)
		}
	case runs.StatusRefused:
		if !row.bad && !(c.places[row.portal].renamed && len(r.Errors) == 1 && r.Errors[0].Code == tasks.CodeUnknownPortal) {
			wrong("it was refused")
		}
	case runs.StatusDuplicate:
		c.judgeDuplicate(row, r, wrong)
	default:
		wrong("its status is none")
	}
	if row.bad && r.Status != string(runs.StatusRefused) {
		wrong("it is not valid and was not refused")
	}
}

func (c *court) judgeRegistered(s *submission, row rowPlan, r result, wrong func(string, ...any)) {
	b, stands := c.bots[row.portal][r.BotID]
	switch {
	case !stands:
		wrong("its portal has no such bot")
	case !strings.EqualFold(b.Code, row.code):
		wrong("the bot of that id is %s", b.Code)
	case r.How == runs.HowCreated && (r.Existed || b.App != c.application(row)):
		wrong("it was not created by its call: the bot is of %s", b.App)
	case r.How == runs.HowUpdated && (s.plan.wish != "update" || b.Updates == 0 || b.App != c.application(row)):
		wrong("it was not updated: the bot is of %s, with %d updates", b.App, b.Updates)
	case r.How == runs.HowSkipped && (!r.Existed || s.plan.wish == "update"):
		wrong("it may not be skipped")
	case !slices.Contains([]string{runs.HowCreated, runs.HowRecovered, runs.HowUpdated, runs.HowSkipped}, r.How):
		wrong("nobody knows how")
	case r.Attempts > maxAttempts:
		wrong("it had too many attempts")
	}
}

// judgeDuplicate looks at the row that a duplicate names.
func (c *court) judgeDuplicate(row rowPlan, r result, wrong func(string, ...any)) {
	if r.Of == nil || c.plans[r.Of.Run] == nil || r.Of.Row < 1 || r.Of.Row > len(c.plans[r.Of.Run].plan.rows) {
		wrong("it names no row that it repeats")
		return
	}
	of := c.plans[r.Of.Run].plan.rows[r.Of.Row-1]
	if of.portal != row.portal || of.code != row.code || of.other != row.other {
		wrong("it repeats %+v", of)
	}
}

// unfit says why a dead row's reason fits nothing that was done to it; "" if it does.
func (c *court) unfit(s *submission, number int, row rowPlan, r result) string {
	p := c.places[row.portal]
	switch r.Class {
	case string(bitrix.Validation):
		if p.plan.picky && r.Error.Code == "NAME_ERROR" {
			return ""
		}
	case string(bitrix.Conflict):
		if s.plan.wish == "update" && c.stands(row, func(app string) bool { return app != c.application(row) }) {
			return ""
		}
	case sweep.ClassOperator:
		if r.Error.Code == sweep.CodeArchived && c.wasClicked(s.run, number, "archive") {
			return ""
		}
		return "nobody archived it"
	case string(bitrix.Blocked):
		if p.blocked && r.Error.Code == "OVERLOAD_LIMIT" || p.plan.oauth && tokenTrouble(r.Error.Code) {
			return ""
		}
	case string(bitrix.Transient):
		if r.Error.Code == "PORTAL_SILENT" || r.Attempts == maxAttempts {
			return ""
		}
		return "it has attempts left"
	case string(bitrix.Ambiguous):
		return c.unfitLoss(row, r)
	}
	return "nothing was done that fits"
}

// unfitLoss is unfit for rows whose answers were lost.
func (c *court) unfitLoss(row rowPlan, r result) string {
	switch {
	case r.Attempts < maxAttempts:
		return "it has attempts left"
	case strings.Contains(r.Error.Description, "list cannot be read"), !c.stands(row, func(app string) bool { return app == c.application(row) }):
		return ""
	}
	// Another row with this CODE may have made the bot since.
	for run, rows := range c.rows {
		for n, other := range rows {
			plan := c.plans[run].plan.rows[n-1]
			if plan.portal == row.portal && plan.code == row.code && other.Status == string(runs.StatusRegistered) {
				return ""
			}
		}
	}
	return "its bot stands on the portal"
}

// stands reports whether a row's CODE stands on its portal, made by such an application.
func (c *court) stands(row rowPlan, by func(app string) bool) bool {
	for _, b := range c.bots[row.portal] {
		if strings.EqualFold(b.Code, row.code) && by(b.App) {
			return true
		}
	}
	return false
}

// tokenTrouble reports whether a code tells that a token could not be renewed.
func tokenTrouble(code string) bool {
	return strings.EqualFold(code, "invalid_grant") || code == "TOKEN_RENEWAL_LOST"
}

// wasClicked reports whether somebody did that to a row's task.
func (c *court) wasClicked(run string, row int, what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, clicks := range c.clicked {
		for _, k := range clicks {
			if k.run == run && k.row == row && k.what == what {
				return true
			}
		}
	}
	return false
}
