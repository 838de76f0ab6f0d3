// Waiting rows: those whose task is not alive are found here.

package sweep

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// rowRef is a waiting row of a run.
type rowRef struct {
	run string
	row runs.WaitingRow
}

// pageCost is what the reading of one hash of rows counts for, besides its
// waiting rows.
const pageCost = 64

// rows looks at the waiting rows of all runs.
func (p *pass) rows(ctx context.Context) error {
	err := p.runs.Unfinished(ctx, func(run string) error {
		err := p.runs.WaitingRows(ctx, run, func(rows []runs.WaitingRow) error { return p.rowPage(ctx, run, rows) })
		if errors.Is(err, runs.ErrUnknownRun) {
			return nil // it has just expired
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.mendRows(ctx)
}

// rowPage looks at some rows of a run.
func (p *pass) rowPage(ctx context.Context, run string, rows []runs.WaitingRow) error {
	if err := p.pace(ctx, pageCost+len(rows)); err != nil {
		return err
	}
	before := p.now().Add(-p.age)
	byQueue := map[string][]runs.WaitingRow{}
	for _, row := range rows {
		if row.QueuedAt.After(before) {
			continue
		}
		p.rowsSeen++
		queue, err := p.queueOf(ctx, row.PortalID)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			p.spare(err)
			continue
		}
		byQueue[queue] = append(byQueue[queue], row)
	}
	for queue, rows := range byQueue {
		amiss, err := p.rowsAmiss(ctx, run, queue, rows)
		if err != nil {
			return err
		}
		for _, row := range amiss {
			p.rowsToMend, p.seen = append(p.rowsToMend, rowRef{run: run, row: row}), time.Now()
		}
	}
	if len(p.rowsToMend) < suspects {
		return nil
	}
	return p.mendRows(ctx)
}

//go:embed rows.lua
var rowsLua string

var rowsScript = redis.NewScript(rowsLua)

// rowsAmiss returns the rows whose task is not alive, or not theirs.
func (p *pass) rowsAmiss(ctx context.Context, run, queue string, rows []runs.WaitingRow) ([]runs.WaitingRow, error) {
	if queue == "" {
		return rows, nil
	}
	keys, refs := make([]string, len(rows)), make([]any, len(rows))
	for i, row := range rows {
		keys[i] = taskKey(queue, row.Ident)
		// As it stands in the message; what is written otherwise is read properly later.
		refs[i] = fmt.Sprintf(`"run":"%s","row":%d,`, run, row.Number)
	}
	found, err := rowsScript.Run(ctx, p.redis, keys, refs...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("look for the tasks of run %s: %w", run, err)
	}
	amiss := make([]runs.WaitingRow, len(found))
	for i, at := range found {
		amiss[i] = rows[at-1]
	}
	return amiss, nil
}

// portalsKnown bounds how many portals' queues a pass remembers.
const portalsKnown = 20_000

// queueOf is a portal's queue, "" when there is no such portal.
func (p *pass) queueOf(ctx context.Context, portalID string) (string, error) {
	if q, ok := p.queueByPortal[portalID]; ok {
		return q, nil
	}
	if err := p.pace(ctx, 2); err != nil {
		return "", err
	}
	portal, err := p.portals.Get(ctx, portalID)
	if err != nil && !errors.Is(err, portals.ErrUnknown) {
		return "", fmt.Errorf("find portal %s: %w", portalID, err)
	}
	if len(p.queueByPortal) >= portalsKnown {
		clear(p.queueByPortal)
	}
	p.queueByPortal[portalID] = portal.Queue
	return portal.Queue, nil
}
