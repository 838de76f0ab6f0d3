// Dead rows as they were submitted, rebuilt from their outcomes.

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks/runs"
)

// submittedBot is the bot that a dead row asked for, without its photo.
func submittedBot(o *runs.Outcome) (bitrix.Bot, error) {
	var bot bitrix.Bot
	if len(o.Bot) == 0 {
		return bitrix.Bot{Code: o.Code}, errNotKept
	}
	if err := json.Unmarshal(o.Bot, &bot); err != nil {
		return bitrix.Bot{Code: o.Code}, fmt.Errorf("what was submitted cannot be read: %w", err)
	}
	return bot, nil
}

// errNotKept is of rows that something else than a worker has ended.
var errNotKept = errors.New("what was submitted is not kept")

// presentNames finds what portals are called today: a row knows its portal by
// the name that it had.
type presentNames struct {
	registry *portals.Registry
	known    map[string]string // by permanent id
}

// mostNames bounds what is remembered; past it, it begins anew.
const mostNames = 10_000

// of returns the name of a row's portal; for one that was removed the row's own.
func (n *presentNames) of(ctx context.Context, o *runs.Outcome) (string, error) {
	if o.PortalID == "" {
		return o.Portal, nil
	}
	if name, ok := n.known[o.PortalID]; ok {
		return name, nil
	}
	p, err := n.registry.Get(ctx, o.PortalID)
	name := p.Name
	if errors.Is(err, portals.ErrUnknown) || err == nil && name == "" {
		name, err = o.Portal, nil
	}
	if err != nil {
		return "", err
	}
	if n.known == nil || len(n.known) >= mostNames {
		n.known = map[string]string{}
	}
	n.known[o.PortalID] = name
	return name, nil
}
