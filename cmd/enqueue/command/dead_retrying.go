// The stream of rows that are queued again: in parts, at a pace, in memory that
// does not grow with their number.

package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

const (
	// partsEach is how many parts a second's rows are queued in.
	partsEach = 4
	// wholePart is how long a part that was begun may take although the command
	// was interrupted: rows that wait in the run are to have their tasks.
	wholePart = time.Minute
)

// retrying is one retry on its way.
type retrying struct {
	app      *app
	runs     *runs.Store
	registry *portals.Registry
	client   *tasks.Client
	run      string
	names    presentNames
	pace     *rate.Limiter // nil: as fast as they can be
	bar      *report.Progress

	rows  []again
	size  int    // of a part, in rows
	bytes int    // of the photos of rows, of neighbours with one photo once
	photo string // of the newest row, its hash

	queued, registered, duplicate, refused, stay int
}

// again is one row on its way.
type again struct {
	outcome *runs.Outcome
	reg     tasks.Registration
}

func newRetrying(a *app, cfg config.Config, base *engine.Base, run string, f *deadRetryFlags) *retrying {
	noting := *base
	noting.Runs = base.Runs.Retrying(f.reason)
	r := &retrying{
		app: a, runs: base.Runs, registry: base.Registry, run: run, size: submitRows,
		client: noting.Client(cfg, cfg.ResultTTL, base.Gate(cfg)), names: presentNames{registry: base.Registry},
	}
	if f.rps > 0 {
		r.size = int(min(max(f.rps/partsEach, 1), submitRows))
		r.pace = rate.NewLimiter(rate.Limit(f.rps), r.size)
	}
	return r
}

// all queues all chosen rows again.
func (r *retrying) all(ctx context.Context, f *deadFilter) error {
	err := eachDead(ctx, r.runs, r.run, f, func(o *runs.Outcome) error { return r.add(ctx, o) })
	if err != nil {
		return err
	}
	return r.flush(ctx)
}

// add takes a row into the present part.
func (r *retrying) add(ctx context.Context, o *runs.Outcome) error {
	name, err := r.names.of(ctx, o)
	if err != nil {
		return err
	}
	bot, lack := submittedBot(o)
	if lack == nil && o.Photo != "" {
		bot.Properties.PersonalPhoto, err = r.runs.Photo(ctx, o.Photo)
		if errors.Is(err, runs.ErrPhotoGone) {
			lack, err = errors.New("its photo is no longer kept; export the row, and submit it with its photo"), nil
		}
		if err != nil {
			return err
		}
	}
	if lack != nil {
		r.complain(o, lack.Error())
		return nil
	}
	r.rows = append(r.rows, again{o, tasks.Registration{Row: o.Row, ID: o.ID, Portal: name, Bot: bot}})
	if o.Photo != r.photo || len(r.rows) == 1 {
		r.bytes += len(bot.Properties.PersonalPhoto)
	}
	r.photo = o.Photo
	if len(r.rows) < r.size && r.bytes < submitBytes {
		return nil
	}
	return r.flush(ctx)
}

// flush queues the present part. Once begun it is not broken off.
func (r *retrying) flush(ctx context.Context) error {
	if len(r.rows) == 0 {
		return nil
	}
	if r.pace != nil {
		if err := r.pace.WaitN(ctx, len(r.rows)); err != nil {
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholePart)
	defer cancel()
	regs, err := r.valid(ctx)
	clear(r.rows) // or their photos stay
	r.rows, r.bytes = r.rows[:0], 0
	if err != nil || len(regs) == 0 {
		return err
	}
	receipts, err := r.client.Submit(ctx, r.run, regs...)
	r.count(receipts)
	if errors.Is(err, tasks.ErrOtherBot) {
		err = nil // somebody else has queued another bot in its place meanwhile
	}
	return err
}

// valid returns the rows of the part that can be queued. A submission would
// record the others as refused, and what they died of would be lost.
func (r *retrying) valid(ctx context.Context) ([]tasks.Registration, error) {
	names := make([]string, len(r.rows))
	for i, row := range r.rows {
		names[i] = row.reg.Portal
	}
	known, err := r.registry.FindMany(ctx, names)
	if err != nil {
		return nil, err
	}
	regs := make([]tasks.Registration, 0, len(r.rows))
	for _, row := range r.rows {
		p, ok := known[row.reg.Portal]
		if why := hindrance(&row.reg.Bot, p, ok); why != "" {
			r.complain(row.outcome, why)
			continue
		}
		regs = append(regs, row.reg)
	}
	return regs, nil
}

// hindrance says why a row cannot be queued as it is; "" when it can.
func hindrance(bot *bitrix.Bot, p portals.Portal, known bool) string {
	switch {
	case !known:
		return "its portal is not known any more; import it"
	case p.Gone != nil:
		return "its portal is gone: " + p.Gone.Reason
	}
	plain := *bot
	plain.Properties.PersonalPhoto = "" // which was found good before, and takes long
	problems := plain.Validate(bitrix.Rules{Webhook: p.Kind != portals.OAuth, ClientID: p.ClientID})
	if len(problems) == 0 {
		return ""
	}
	more := ""
	if n := len(problems) - 1; n > 0 {
		more = fmt.Sprintf(", and %s", report.Counted(n, "more problem"))
	}
	return fmt.Sprintf("%s: %s (%s)%s; mend it with export", problems[0].Field, problems[0].Problem, problems[0].Code, more)
}

func (r *retrying) count(receipts []tasks.Receipt) {
	for i := range receipts {
		switch receipts[i].Status {
		case tasks.ReceiptQueued:
			r.queued++
		case tasks.ReceiptRegistered:
			r.registered++
		case tasks.ReceiptDuplicate:
			r.duplicate++
		case tasks.ReceiptRefused:
			r.refused++
		}
	}
	r.bar.Update(report.Counts{Registered: r.queued + r.registered, Dead: r.stay, Refused: r.refused, Duplicate: r.duplicate})
}

// complain says in one line why a row stays dead.
func (r *retrying) complain(o *runs.Outcome, why string) {
	if r.stay++; r.stay <= shownProblems {
		_, _ = fmt.Fprintf(r.bar.Log(), "row %d (%s on %s) stays dead: %s\n", o.Row, report.Clean(o.Code), report.Clean(o.Portal), report.Clean(why))
	}
}
