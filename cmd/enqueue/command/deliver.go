// Delivery: rows into a run, and the run's outcomes out to the user.

package command

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/report"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

const (
	// submitRows is how many rows are given to Submit at once, and submitBytes
	// about how much their photos may take: one has up to 7 MB.
	submitRows  = 2048
	submitBytes = 16 << 20
	// producerLease is how long a run counts as still being added to when its
	// producer has died.
	producerLease = 10 * time.Minute
)

// delivery takes one input's rows through a run.
type delivery struct {
	client *tasks.Client
	runs   *runs.Store
	run    string
	label  string
	wish   runs.OnExisting
	rows   rows
	report *intake.Report
	// skip tells which rows are registered already; nil: none are.
	skip func(portal, code string) bool
	// resumed: the run was begun by an earlier command.
	resumed bool
	// window is how many rows may wait at once; 0: all.
	window int
	// forget drops rows from Redis once their results are out.
	forget bool
	sink   sink
	bar    *report.Progress
	// refusals prints why Submit refuses rows.
	refusals *findings

	follower *runs.Follower
	// still, if not nil, is called by the follower when nothing has moved for a
	// while; see standstill.
	still func(ctx context.Context)
	over  bool // the run has finished, and all its outcomes went to the sink

	mu      sync.Mutex
	skipped int
	waiting int
	room    chan struct{} // something has stopped waiting
	receipt receipts
}

// receipts counts what became of rows on submission.
type receipts struct{ queued, registered, refused, duplicate int }

func (d *delivery) begin(ctx context.Context) error {
	d.room = make(chan struct{}, 1)
	return d.runs.Open(ctx, d.run, runs.Begin{Label: d.label, OnExisting: d.wish, Lease: producerLease})
}

// closing closes the sink, if there is one, after err. It may be called again.
func (d *delivery) closing(err error) error {
	if d.sink == nil {
		return err
	}
	s := d.sink
	d.sink = nil
	if closed := s.close(); err == nil {
		err = closed
	}
	return err
}

// submit queues all rows and seals the run. When it returns an error, what got
// in stays, and submitting again under the same run completes it.
func (d *delivery) submit(ctx context.Context) error {
	regs := make([]tasks.Registration, 0, submitRows)
	lines := make([]int, 0, submitRows)
	bytes := 0
	flush := func() error {
		if err := d.await(ctx, len(regs)); err != nil {
			return err
		}
		got, err := d.client.Submit(ctx, d.run, regs...)
		d.count(got)
		d.tellRefused(regs, lines, got)
		clear(regs) // or their photos stay
		regs, lines, bytes = regs[:0], lines[:0], 0
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx) // whatever Redis said of being broken off
		}
		return err
	}
	for row, err := range d.rows.Rows() {
		if err != nil {
			return inputError(err)
		}
		if d.skip != nil && d.skip(row.Portal, row.Bot.Code) {
			d.skipRow()
			continue
		}
		regs = append(regs, tasks.Registration{
			Row: row.Number, ID: row.ID, Portal: row.Portal, Bot: row.Bot, Problems: problemsOf(&row, d.report),
		})
		lines = append(lines, row.Line)
		bytes += len(row.Bot.Properties.PersonalPhoto)
		if len(regs) == submitRows || bytes >= submitBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(regs) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	d.refusals.rest("reasons; enqueue results " + d.run + " --only refused gives them all")
	return d.runs.Seal(ctx, d.run)
}

// tellRefused says why rows were refused, but for what the look over the input
// has told already: what is wrong with a row is found again on submission.
func (d *delivery) tellRefused(regs []tasks.Registration, lines []int, got []tasks.Receipt) {
	for i := range got {
		if got[i].Status != tasks.ReceiptRefused {
			continue
		}
		for _, p := range got[i].Problems {
			if p.Code != tasks.CodePortalGone && d.report.Invalid > 0 {
				continue
			}
			if p.Field == "portal" && !strings.Contains(p.Problem, regs[i].Portal) {
				p.Problem = regs[i].Portal + ": " + p.Problem
			}
			d.refusals.print(intake.Finding{Row: rowfile.Row{Line: lines[i]}, Problem: p})
		}
	}
}

func (d *delivery) skipRow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skipped++
}

// await waits until n more rows fit the window.
func (d *delivery) await(ctx context.Context, n int) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		fits := d.window == 0 || d.waiting == 0 || d.waiting+n <= d.window
		if fits {
			d.waiting += n
		}
		d.mu.Unlock()
		if fits {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.room:
		}
	}
}

func (d *delivery) count(got []tasks.Receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range got {
		switch got[i].Status {
		case tasks.ReceiptQueued:
			d.receipt.queued++
		case tasks.ReceiptRegistered:
			d.receipt.registered++
		case tasks.ReceiptRefused:
			d.receipt.refused++
		case tasks.ReceiptDuplicate:
			d.receipt.duplicate++
		}
	}
}

// follow gives outcomes to the sink as they come, until the run has finished.
func (d *delivery) follow(ctx context.Context) error {
	d.follower = d.runs.Follow(d.run)
	f := d.follower
	chunks := chunkCounter{}
	var last time.Time
	emit := func(o runs.Outcome) error {
		chunks.add(o.Row)
		if err := d.sink.write(o); err != nil {
			return sinkError{err}
		}
		return nil
	}
	var failed error
	stands := standstill{since: time.Now()}
	progress := func(info runs.Info) {
		d.progress(info)
		if time.Since(last) > time.Second {
			last = time.Now()
			failed = d.sink.flush()
		}
		if d.forget && failed == nil {
			failed = d.runs.Forget(ctx, d.run, chunks.full())
		}
	}
	for {
		var info runs.Info
		err := patient(ctx, d.bar.Log(), func() (err error) { info, err = f.Next(ctx, emit); return err })
		if err == nil {
			progress(info)
			err = failed
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx) // whatever Redis said of being broken off
		}
		if err != nil {
			return err
		}
		if info.Finished() {
			err := patient(ctx, d.bar.Log(), func() error { return f.Rest(ctx, emit) })
			d.over = err == nil
			return err
		}
		if d.still != nil && stands.look(info.Counts, time.Now()) {
			d.still(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// last gives the sink what has an outcome and was not given yet.
func (d *delivery) last(ctx context.Context) error {
	if err := d.follower.Rest(ctx, d.sink.write); err != nil {
		return err
	}
	return d.sink.flush()
}

func (d *delivery) progress(info runs.Info) {
	d.mu.Lock()
	d.waiting = info.Counts.Waiting
	skipped := d.skipped
	d.mu.Unlock()
	select {
	case d.room <- struct{}{}:
	default:
	}
	c := info.Counts
	d.bar.Update(report.Counts{Registered: c.Registered + skipped, Dead: c.Dead, Refused: c.Refused, Duplicate: c.Duplicate})
}

// chunkCounter finds the row hashes of a run all of whose rows are out.
type chunkCounter map[int]int

func (c chunkCounter) add(row int) { c[(row-1)/runs.ChunkRows]++ }

// full returns the chunks that have become full, once each.
func (c chunkCounter) full() []int {
	var all []int
	for chunk, n := range c {
		if n == runs.ChunkRows {
			all = append(all, chunk)
			delete(c, chunk)
		}
	}
	return all
}

// summary is one line about a finished run.
func summary(c runs.Counts, skipped int, took time.Duration) string {
	s := fmt.Sprintf("%s of %s registered", report.Count(c.Registered+skipped), report.Counted(c.Queued+skipped, "row"))
	for _, part := range []struct {
		n    int
		what string
	}{{c.Dead, "dead"}, {c.Refused, "refused"}, {c.Duplicate, "duplicate"}, {c.Waiting, "waiting"}} {
		if part.n > 0 {
			s += fmt.Sprintf(", %s %s", report.Count(part.n), part.what)
		}
	}
	if took > 0 {
		s += " in " + report.Duration(took)
	}
	return s
}

// ended turns a finished run's counts into the command's exit status.
func ended(c runs.Counts) error {
	if c.Dead+c.Refused+c.Duplicate > 0 {
		return &exitError{code: exitUnfinished}
	}
	return nil
}
