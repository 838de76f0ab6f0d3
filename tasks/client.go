// The producer's side: registrations into a run and into the queue.

package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// Registration is one bot to be registered on one portal.
type Registration struct {
	// Row is its number in the run, from 1. 0 takes the next free one.
	Row    int
	ID     string // the producer's own key, echoed in the outcome
	Portal string // the portal's name, as the directory knows it
	Bot    bitrix.Bot
	// Problems were found by the producer itself; any makes the row refused.
	Problems []bitrix.Problem
}

// ReceiptStatus says what became of a registration on submission.
type ReceiptStatus string

const (
	ReceiptQueued     ReceiptStatus = "queued"     // it waits to be worked on
	ReceiptRegistered ReceiptStatus = "registered" // an earlier submission has registered it
	ReceiptRefused    ReceiptStatus = "refused"    // it is not valid: see Problems
	ReceiptDuplicate  ReceiptStatus = "duplicate"  // another row waits to register the same bot: see Of
)

// Receipt is what became of one registration.
type Receipt struct {
	Row      int
	Status   ReceiptStatus // empty: an error kept it from being queued
	BotID    int64         // of a registered one
	Problems []bitrix.Problem
	Of       *runs.Ref
}

// Directory finds portals by name; [portals.Registry] is one.
type Directory interface {
	// FindMany returns the portals it knows among names, by name.
	FindMany(ctx context.Context, names []string) (map[string]portals.Portal, error)
}

// Client submits registrations. Its methods may be called from many goroutines.
type Client struct {
	queue     *asynq.Client
	inspector *asynq.Inspector
	portals   Directory
	runs      *runs.Store
	retention time.Duration
	spread    *spread
	room      func(ctx context.Context, newRun bool) error
	now       func() time.Time
	wishes    wishes
	tracer    Tracer
}

// ClientConfig is what a Client works with.
type ClientConfig struct {
	Queue     *asynq.Client
	Inspector *asynq.Inspector
	Portals   Directory
	Runs      *runs.Store
	// Retention is how long a registered bot's task, with its BOT_ID as the
	// result, stays known to the queue: as long as that, submitting the bot
	// again is answered without a request. 0: not at all.
	Retention time.Duration
	// Line says when rows that a portal cannot take soon should be queued for:
	// the gate. Nil: all are queued at once, and cost a fetch each time that
	// they are too early.
	Line Line
	// Batch is how many rows a request to a portal will carry: the workers'
	// BATCH_SIZE, or 1 if they do not batch. Defaults to 1.
	Batch int
	// Room says whether rows may be added to a run, begun by them or not; its
	// error, which should be an ErrFull, ends the submission. Nil: always.
	Room func(ctx context.Context, newRun bool) error
	Now  func() time.Time // defaults to time.Now
	// Tracer follows what is submitted. Nil: nothing does.
	Tracer Tracer
}

// ErrFull is what errors.Is finds in the error of a submission for which the
// queue has no room.
var ErrFull = errors.New("the queue's Redis is full")

// NewClient returns a client.
func NewClient(c ClientConfig) *Client {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Room == nil {
		c.Room = func(context.Context, bool) error { return nil }
	}
	return &Client{
		queue: c.Queue, inspector: c.Inspector, portals: c.Portals, runs: c.Runs, retention: c.Retention,
		spread: newSpread(c.Line, c.Batch, c.Now), room: c.Room, now: c.Now, tracer: c.Tracer,
	}
}

// enqueuers is how many tasks are queued at once: past 16 or so Redis,
// not the round trip, is the limit.
const enqueuers = 32

// item is one registration on its way through Submit.
type item struct {
	reg     *Registration
	receipt *Receipt
	portal  portals.Portal
	ident   string
	gen     int
	order   int64     // place among the portal's rows
	at      time.Time // to be queued for; zero = now
	headers map[string]string
}

// Submit puts registrations into a run and queues them. It returns a receipt
// for each, in their order. Invalid ones are recorded as refused and hinder no
// others, nor does a row whose number stands for another bot in the run
// ([ErrOtherBot]). On an error the receipts say what got in; submitting the same
// rows into the same run again completes it without doubling anything.
func (c *Client) Submit(ctx context.Context, run string, regs ...Registration) ([]Receipt, error) {
	switch {
	case len(regs) == 0:
		return []Receipt{}, nil
	case c.tracer != nil:
		return c.traced(ctx, run, regs)
	}
	return c.submit(ctx, run, regs)
}

func (c *Client) submit(ctx context.Context, run string, regs []Registration) ([]Receipt, error) {
	receipts := make([]Receipt, len(regs))
	if err := c.haveRoom(ctx, run); err != nil {
		return receipts, err
	}
	if err := c.runs.Open(ctx, run, runs.Begin{}); err != nil {
		return receipts, err
	}
	if err := c.number(ctx, run, regs, receipts); err != nil {
		return receipts, err
	}
	valid, refused, err := c.sort(ctx, regs, receipts)
	if err != nil {
		return receipts, err
	}
	otherRefused, err := c.refuse(ctx, run, refused)
	if err != nil {
		return receipts, err
	}
	queue, other, err := c.addRows(ctx, run, valid)
	if err != nil {
		return receipts, err
	}
	if err := c.spread.plan(ctx, queue); err != nil {
		return receipts, err
	}
	err = each(ctx, queue, func(ctx context.Context, it item) error {
		if err := c.enqueue(ctx, run, it); err != nil {
			return fmt.Errorf("queue row %d: %w", it.receipt.Row, err)
		}
		return nil
	})
	return receipts, cmp.Or(err, otherRefused, other)
}

// haveRoom refuses rows for which the queue has no room. A run that has begun
// may go on for longer than a new one is let in.
func (c *Client) haveRoom(ctx context.Context, run string) error {
	full := c.room(ctx, true)
	if full == nil {
		return nil
	}
	_, err := c.runs.Get(ctx, run)
	switch {
	case errors.Is(err, runs.ErrUnknownRun):
		return full
	case err != nil:
		return err
	}
	return c.room(ctx, false)
}

// each calls do for all items, many at once, until one fails.
func each(ctx context.Context, items []item, do func(context.Context, item) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueuers)
	for part := range chunks(items, max(len(items)/enqueuers, 1)) {
		g.Go(func() error {
			for _, it := range part {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				if err := do(ctx, it); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// chunks cuts items into parts of n, for a range loop.
func chunks(items []item, n int) func(yield func([]item) bool) {
	return func(yield func([]item) bool) {
		for len(items) > 0 {
			n = min(n, len(items))
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}

// number gives rows without a number the next free ones.
func (c *Client) number(ctx context.Context, run string, regs []Registration, receipts []Receipt) error {
	missing := 0
	for i := range regs {
		receipts[i].Row = regs[i].Row
		if regs[i].Row < 1 {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	next, err := c.runs.Number(ctx, run, missing)
	if err != nil {
		return err
	}
	for i := range receipts {
		if receipts[i].Row < 1 {
			receipts[i].Row = next
			next++
		}
	}
	return nil
}

// sort finds each registration's portal and divides the valid from the refused.
func (c *Client) sort(ctx context.Context, regs []Registration, receipts []Receipt) (valid, refused []item, err error) {
	known, err := c.portals.FindMany(ctx, names(regs))
	if err != nil {
		return nil, nil, err
	}
	for i := range regs {
		r := &regs[i]
		it := item{reg: r, receipt: &receipts[i]}
		problems := slices.Clip(r.Problems) // rows may share what lies behind it
		p, ok := known[r.Portal]
		if !ok {
			problems = append(problems, bitrix.Problem{
				Field: "portal", Code: CodeUnknownPortal, Problem: fmt.Sprintf("portal %q is not known: import it first", r.Portal),
			})
		}
		problems = append(problems, r.Bot.Validate(bitrix.Rules{Webhook: p.Kind != portals.OAuth, ClientID: p.ClientID})...)
		if !ok {
			// Whether a CLIENT_ID is needed depends on the portal.
			problems = without(problems, "CLIENT_ID")
		}
		if p.Gone != nil {
			problems = append(problems, bitrix.Problem{Field: "portal", Code: CodePortalGone, Problem: p.Gone.Reason})
		}
		it.portal = p
		it.ident = TaskID(p.ID, p.Application(r.Bot.ClientID), r.Bot.Code)
		if len(problems) > 0 {
			it.receipt.Problems = problems
			refused = append(refused, it)
		} else {
			valid = append(valid, it)
		}
	}
	return valid, refused, nil
}

const (
	// CodeUnknownPortal is the code of a row whose portal nobody has imported.
	CodeUnknownPortal = "PORTAL_UNKNOWN"
	// CodePortalGone is the code of a row whose portal has uninstalled the application.
	CodePortalGone = "PORTAL_GONE"
)

func names(regs []Registration) []string {
	seen := make(map[string]bool, len(regs))
	var out []string
	for i := range regs {
		if n := regs[i].Portal; !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

func without(problems []bitrix.Problem, field string) []bitrix.Problem {
	kept := problems[:0:0]
	for _, p := range problems {
		if p.Field != field {
			kept = append(kept, p)
		}
	}
	return kept
}

// refuse records refused rows with all their problems. other is set when a
// row's number stands for another bot.
func (c *Client) refuse(ctx context.Context, run string, refused []item) (other, err error) {
	if len(refused) == 0 {
		return nil, nil
	}
	outcomes := make([]runs.Outcome, len(refused))
	idents := make([]string, len(refused))
	now := c.now()
	for i, it := range refused {
		bot := it.reg.Bot
		bot.Properties.PersonalPhoto = ""
		raw, err := json.Marshal(&bot)
		if err != nil {
			return nil, fmt.Errorf("encode row %d: %w", it.receipt.Row, err)
		}
		o := runs.Outcome{
			Row: it.receipt.Row, ID: it.reg.ID, Portal: it.reg.Portal, Code: it.reg.Bot.Code,
			Status: runs.StatusRefused, QueuedAt: now, DoneAt: now, PortalID: it.portal.ID, Bot: raw,
		}
		for _, p := range it.receipt.Problems {
			o.Errors = append(o.Errors, runs.Problem{Field: p.Field, Code: p.Code, Problem: p.Problem})
		}
		outcomes[i] = o
		idents[i] = it.ident
	}
	added, err := c.runs.AddDone(ctx, run, idents, outcomes)
	if err != nil {
		return nil, err
	}
	for i, it := range refused {
		if added[i].State == runs.Other {
			other = cmp.Or(other, otherBot(run, it))
			continue
		}
		it.receipt.Status = ReceiptRefused
	}
	return other, nil
}

// ErrOtherBot is returned by [Client.Submit] when a row's number stands for
// another bot in that run: the run was begun with another input.
var ErrOtherBot = errors.New("was the run begun with this input?")

func otherBot(run string, it item) error {
	return fmt.Errorf("row %d of run %s is another bot than %s on %s: %w",
		it.receipt.Row, run, it.reg.Bot.Code, it.reg.Portal, ErrOtherBot)
}

// addRows puts valid rows into the run, and returns those that need a task.
// other is set when a row's number stands for another bot.
func (c *Client) addRows(ctx context.Context, run string, valid []item) (queue []item, other, err error) {
	rows := make([]runs.Row, len(valid))
	now := c.now()
	for i := range valid {
		// No two rows of a submission are queued at the same microsecond: that
		// is their order on their portals.
		at := now.Add(time.Duration(i) * time.Microsecond)
		if rows[i], err = c.row(ctx, run, &valid[i], at); err != nil {
			return nil, nil, err
		}
		valid[i].order = orderOf(at)
	}
	added, err := c.runs.Add(ctx, run, rows)
	if err != nil {
		return nil, nil, err
	}
	var registered []item
	for i := range valid {
		it := valid[i]
		it.gen = added[i].Gen
		switch added[i].State {
		case runs.Other:
			other = cmp.Or(other, otherBot(run, it))
		case runs.Registered:
			registered = append(registered, it)
		default:
			queue = append(queue, it)
		}
	}
	err = each(ctx, registered, func(ctx context.Context, it item) error { return c.recall(ctx, run, it) })
	return queue, other, err
}

// orderOf is the place among its portal's rows of one that was queued at a time.
func orderOf(queuedAt time.Time) int64 { return queuedAt.UnixMicro() }

// recall fills the receipt of a row that this run has registered before.
func (c *Client) recall(ctx context.Context, run string, it item) error {
	st, err := c.runs.Load(ctx, run, it.receipt.Row)
	if err != nil {
		return err
	}
	it.receipt.Status = ReceiptRegistered
	if st.Outcome != nil {
		it.receipt.BotID = st.Outcome.BotID
	}
	return nil
}

func (c *Client) row(ctx context.Context, run string, it *item, now time.Time) (runs.Row, error) {
	bot := it.reg.Bot
	row := runs.Row{
		Number: it.receipt.Row, Ident: it.ident, ID: it.reg.ID, Portal: it.portal.Name,
		PortalID: it.portal.ID, Code: bot.Code, QueuedAt: now,
	}
	var err error
	if bot.Properties.PersonalPhoto != "" {
		if row.Photo, err = c.runs.PutPhoto(ctx, run, bot.Properties.PersonalPhoto); err != nil {
			return row, fmt.Errorf("row %d: %w", row.Number, err)
		}
		bot.Properties.PersonalPhoto = ""
	}
	if row.Bot, err = json.Marshal(&bot); err != nil {
		return row, fmt.Errorf("encode row %d: %w", row.Number, err)
	}
	return row, nil
}
