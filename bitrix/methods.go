// The methods for chat bots.

package bitrix

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
)

// REST methods that this package calls. Portals take them in any case.
const (
	MethodRegister = "imbot.register"
	MethodUpdate   = "imbot.update"
	MethodBotList  = "imbot.bot.list"
	MethodBatch    = "batch"
)

// Registered is what became of a registration.
type Registered struct {
	BotID int64
	// Existed: the portal had the bot already and left it as it was. A portal
	// does not say so; it writes a new bot's id as a number and that of an
	// existing one as a string, which is what this goes by.
	Existed bool
	// Updated: it existed, and was brought up to date.
	Updated bool
	Time    Time
}

// Register registers a bot as it is, unchecked; see [Bot.Validate]. The
// portal returns the id of the bot with that CODE if it has one. Bot.Update has
// no meaning here: it would take a second request.
func (c *Client) Register(ctx context.Context, a Access, b *Bot) (Registered, error) {
	ans, err := c.do(ctx, a, MethodRegister, b)
	if err != nil {
		return Registered{}, err
	}
	k := &call{access: a, method: MethodRegister}
	registered, failed := k.registered(ans)
	if failed != nil {
		return Registered{}, failed
	}
	return registered, nil
}

func (k *call) registered(ans answer) (Registered, *Error) {
	id, quoted, ok := parseID(ans.result)
	if !ok {
		return Registered{}, k.unexpected("the answer holds no BOT_ID")
	}
	return Registered{BotID: id, Existed: quoted, Time: ans.time}, nil
}

// updateFields is the FIELDS part of imbot.update: TYPE and OPENLINE cannot change.
func updateFields(b *Bot) Bot {
	fields := *b
	fields.Type, fields.OpenLine, fields.ClientID = "", "", ""
	return fields
}

// Update sets the handlers and properties of a bot that the same application
// registered. TYPE and OPENLINE of a bot cannot be changed and are not sent.
func (c *Client) Update(ctx context.Context, a Access, botID int64, b *Bot) (Time, error) {
	params := struct {
		BotID    int64  `json:"BOT_ID"`
		ClientID string `json:"CLIENT_ID,omitempty"`
		Fields   Bot    `json:"FIELDS"`
	}{botID, b.ClientID, updateFields(b)}
	ans, err := c.do(ctx, a, MethodUpdate, params)
	if err != nil {
		return Time{}, err
	}
	if !present(ans.result) {
		k := &call{access: a, method: MethodUpdate}
		return Time{}, k.unexpected("the answer does not say that the bot was updated")
	}
	return ans.time, nil
}

// ListedBot is one bot of a portal, as imbot.bot.list has it.
type ListedBot struct {
	ID       int64
	Name     string
	Code     string
	OpenLine bool
}

// Bots lists the bots of all applications on the portal, by ascending ID.
// clientID goes with the call when it is not empty; a webhook's calls need it.
func (c *Client) Bots(ctx context.Context, a Access, clientID string) ([]ListedBot, Time, error) {
	params := struct {
		ClientID string `json:"CLIENT_ID,omitempty"`
	}{clientID}
	ans, err := c.do(ctx, a, MethodBotList, params)
	if err != nil {
		return nil, Time{}, err
	}
	bots, ok := parseBots(ans.result)
	if !ok {
		k := &call{access: a, method: MethodBotList}
		return nil, Time{}, k.unexpected("the answer is not a list of bots")
	}
	return bots, ans.time, nil
}

// parseBots reads a map BOT_ID → bot, or a list of bots. A bot without an ID
// of its own has its key's; an entry without either is no bot and is left out.
func parseBots(raw json.RawMessage) ([]ListedBot, bool) {
	entries, ok := phpMap(raw)
	if !ok {
		return nil, false
	}
	bots := make([]ListedBot, 0, len(entries))
	for key, entry := range entries {
		if bot, ok := parseBot(key, entry); ok {
			bots = append(bots, bot)
		}
	}
	slices.SortFunc(bots, func(x, y ListedBot) int { return cmp.Compare(x.ID, y.ID) })
	return bots, true
}

func parseBot(key string, raw json.RawMessage) (ListedBot, bool) {
	var fields struct {
		ID       json.RawMessage `json:"ID"`
		Name     json.RawMessage `json:"NAME"`
		Code     json.RawMessage `json:"CODE"`
		OpenLine json.RawMessage `json:"OPENLINE"`
	}
	if json.Unmarshal(raw, &fields) != nil {
		return ListedBot{}, false
	}
	id, _, ok := parseID(fields.ID)
	if !ok {
		id, _, ok = parseID(json.RawMessage(key))
	}
	open := scalar(fields.OpenLine)
	return ListedBot{
		ID:       id,
		Name:     scalar(fields.Name),
		Code:     scalar(fields.Code),
		OpenLine: open == "Y" || open == "true",
	}, ok
}

// phpMap reads what PHP makes of an array: a JSON object, or a list when its
// keys happen to be 0, 1, 2… or it is empty. A list's entries get keys that are
// no identifiers.
func phpMap(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '[' {
		var entries map[string]json.RawMessage
		err := json.Unmarshal(raw, &entries)
		return entries, err == nil && entries != nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	entries := make(map[string]json.RawMessage, len(list))
	for i, entry := range list {
		entries["#"+strconv.Itoa(i)] = entry
	}
	return entries, true
}
