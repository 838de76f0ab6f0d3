// Batches, of which a part may have been refused.

package signin

import (
	"context"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// RegisterBatch registers bots, as [bitrix.Client.RegisterBatch] does. Commands
// whose token was refused are sent once more, in a batch of their own; those
// that could not be have the reason as their own error, with a Wait where it
// passes.
func (c *Caller) RegisterBatch(ctx context.Context, p *portals.Portal, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
	a := c.begin(ctx, p, bitrix.MethodBatch)
	send := func(part []*bitrix.Bot) (bitrix.BatchAnswer, error) {
		return call(ctx, a, func(access bitrix.Access) (bitrix.BatchAnswer, error) {
			return c.API.RegisterBatch(ctx, access, part)
		})
	}
	all, err := send(bots)
	if err != nil {
		return all, err
	}
	for {
		at, refusal := refusedRows(all.Rows)
		if refusal == nil {
			return all, nil
		}
		if failed := a.mend(ctx, refusal); failed != nil {
			setRows(all.Rows, at, failed)
			return all, nil
		}
		part := make([]*bitrix.Bot, len(at))
		for i, row := range at {
			part[i] = bots[row]
		}
		more, err := send(part)
		if err != nil {
			setRows(all.Rows, at, a.asError(err))
			return all, nil
		}
		for i, row := range more.Rows[:min(len(more.Rows), len(at))] {
			all.Rows[at[i]] = row
		}
		all.Time = worse(all.Time, more.Time)
	}
}

// refusedRows returns which commands a token was refused for, and a refusal.
func refusedRows(rows []bitrix.BatchRow) (at []int, refusal *bitrix.Error) {
	for i, row := range rows {
		if row.Err != nil && row.Err.Class == bitrix.Token {
			at, refusal = append(at, i), row.Err
		}
	}
	return at, refusal
}

// setRows gives rows an error, each its own copy.
func setRows(rows []bitrix.BatchRow, at []int, e *bitrix.Error) {
	for _, i := range at {
		own := *e
		own.Method = bitrix.MethodRegister
		rows[i] = bitrix.BatchRow{Ran: true, Err: &own, Time: rows[i].Time}
	}
}

// worse is the time of the request that leaves less to others.
func worse(x, y bitrix.Time) bitrix.Time {
	switch {
	case y.HasOperating && (!x.HasOperating || y.Operating > x.Operating):
		return y
	case !x.HasOperating && y.Duration > x.Duration:
		return y
	}
	return x
}

// Batch makes several calls in one request, as [bitrix.Client.Batch] does.
// Commands may refer to each other's results, so single ones are not sent
// again: where the token was refused for some only, those have an error with a
// Wait that is over at once, and the next call has another token.
func (c *Caller) Batch(ctx context.Context, p *portals.Portal, commands []bitrix.Command) ([]bitrix.CommandAnswer, bitrix.Time, error) {
	a := c.begin(ctx, p, bitrix.MethodBatch)
	var at bitrix.Time
	answers, err := call(ctx, a, func(access bitrix.Access) (answers []bitrix.CommandAnswer, err error) {
		answers, at, err = c.API.Batch(ctx, access, commands)
		return answers, err
	})
	if err != nil {
		return answers, at, err
	}
	var failed *bitrix.Error
	for i, answer := range answers {
		if answer.Err == nil || answer.Err.Class != bitrix.Token {
			continue
		}
		if failed == nil {
			if failed = a.mend(ctx, answer.Err); failed == nil {
				failed = a.tell(a.renewedNow(), answer.Err)
			}
		}
		own := *failed
		own.Method = commands[i].Method
		answers[i].Err = &own
	}
	return answers, at, nil
}

// renewedNow is the end of a call that may be made again at once.
func (a *attempt) renewedNow() *bitrix.Error {
	now := a.c.Now()
	return &bitrix.Error{
		Class: bitrix.Transient, Code: CodePending, Description: "the access token was renewed",
		Wait: &bitrix.Wait{Until: now, Since: now},
	}
}
