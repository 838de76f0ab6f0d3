// Several calls in one request.

package bitrix

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

const (
	// MaxBatch is how many commands one batch takes: public REST batch page.
	MaxBatch = 50
	// maxCommandBytes bounds one command of a batch. Larger ones, with a photo
	// inside, travel alone: fifty of them would pass servers' body limits.
	maxCommandBytes = 256 << 10
	// reference is what a portal replaces in a command by an earlier one's result.
	reference = "$result["
)

// Command is one call inside a batch.
type Command struct {
	Method string
	// Params in PHP's bracket form: "PROPERTIES[NAME]". A value may hold
	// $result[KEY], with KEY from [BatchKey]: the portal puts the result of that
	// earlier command there.
	Params url.Values
}

// text is the command as a batch carries it.
func (c Command) text() string { return c.Method + "?" + c.Params.Encode() }

// CommandAnswer is what became of one command.
type CommandAnswer struct {
	// Ran is false when the portal did not execute the command: the answer
	// knows nothing of it, as when the batch was cut short.
	Ran    bool
	Result json.RawMessage // nil unless it ran without an error
	Err    *Error          // the command's own error
	Time   Time
}

// BatchKey names the i-th command of a batch, counted from 0.
//
// The letter keeps PHP from taking the keys for a list's; two digits keep the
// commands in order, as JSON objects are written sorted.
func BatchKey(i int) string { return fmt.Sprintf("r%02d", i) }

// RegisterCommand is imbot.register as a command.
func RegisterCommand(b *Bot) Command {
	return Command{Method: MethodRegister, Params: b.form("", "")}
}

// UpdateCommand is imbot.update as a command. botID is a number, or a
// reference such as "$result["+BatchKey(0)+"]".
func UpdateCommand(botID string, b *Bot) Command {
	fields := updateFields(b)
	params := fields.form("FIELDS[", "]")
	params.Set("BOT_ID", botID)
	if b.ClientID != "" {
		params.Set("CLIENT_ID", b.ClientID)
	}
	return Command{Method: MethodUpdate, Params: params}
}

// form gives the bot's parameters in bracket form, inside another one if
// opening and closing are given: FIELDS[PROPERTIES][NAME].
func (b *Bot) form(opening, closing string) url.Values {
	values := url.Values{}
	for _, p := range b.params() {
		if p.value == "" {
			continue
		}
		key := p.key
		if opening != "" {
			outer, inner, nested := strings.Cut(p.key, "[")
			key = opening + outer + closing
			if nested {
				key += "[" + inner
			}
		}
		values.Set(key, p.value)
	}
	return values
}

// CanBatch reports whether a registration may travel in a batch: it is under
// 256 KB encoded, and no value holds the text $result[, which a portal would
// replace.
func CanBatch(b *Bot) bool {
	size := len(MethodRegister)
	for _, p := range b.params() {
		if size += escapedLen(p.key) + escapedLen(p.value) + len("?="); size >= maxCommandBytes {
			return false
		}
		if holdsReference(p.value) {
			return false
		}
	}
	return true
}

// escapedLen is at least the length of url.QueryEscape(s).
func escapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; notSecretChar(rune(c)) && c != ' ' && c != '.' && c != '~' {
			n += 2
		}
	}
	return n
}

func holdsReference(s string) bool {
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return false
		}
		if s = s[i:]; len(s) >= len(reference) && strings.EqualFold(s[:len(reference)], reference) {
			return true
		}
		s = s[1:]
	}
}

// Batch makes up to [MaxBatch] calls in one request. They run one after the
// other, in order; one that fails does not stop the rest. The answers are in
// the commands' order. The error is nil or an [*Error] of the whole batch;
// of the commands of a batch that broke off, some may have been done.
func (c *Client) Batch(ctx context.Context, a Access, commands []Command) ([]CommandAnswer, Time, error) {
	k := &call{access: a, method: MethodBatch}
	if len(commands) == 0 {
		return nil, Time{}, nil
	}
	if len(commands) > MaxBatch {
		return nil, Time{}, k.fail(Validation, CodeBadCall,
			fmt.Sprintf("%d commands in a batch; at most %d are allowed", len(commands), MaxBatch), nil)
	}
	var params struct {
		Halt int               `json:"halt"`
		Cmd  map[string]string `json:"cmd"`
	}
	params.Cmd = make(map[string]string, len(commands))
	for i, command := range commands {
		if !methodName(command.Method) {
			return nil, Time{}, k.fail(Validation, CodeBadCall, "a command's method is not the name of one", nil)
		}
		params.Cmd[BatchKey(i)] = command.text()
	}
	ans, err := c.do(ctx, a, MethodBatch, params)
	if err != nil {
		return nil, Time{}, err
	}
	answers, ok := parseBatch(a, ans.result, commands)
	if !ok {
		return nil, Time{}, k.unexpected("the answer is not that of a batch")
	}
	return answers, ans.time, nil
}

// parseBatch reads the maps of a batch's answer. Each may be an empty list.
func parseBatch(a Access, raw json.RawMessage, commands []Command) ([]CommandAnswer, bool) {
	outer, ok := phpMap(raw)
	if !ok {
		return nil, false
	}
	results, ok1 := innerMap(outer["result"])
	failures, ok2 := innerMap(outer["result_error"])
	times, ok3 := innerMap(outer["result_time"])
	if !ok1 || !ok2 || !ok3 {
		return nil, false
	}
	answers := make([]CommandAnswer, len(commands))
	for i, command := range commands {
		key := BatchKey(i)
		k := &call{access: a, method: command.Method}
		result, done := results[key]
		failure, failed := failures[key]
		switch {
		case failed:
			answers[i] = CommandAnswer{Ran: true, Err: k.commandError(failure), Time: parseTime(times[key])}
		case done:
			answers[i] = CommandAnswer{Ran: true, Result: result, Time: parseTime(times[key])}
		}
	}
	return answers, true
}

// innerMap is phpMap for a part that may be missing.
func innerMap(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	if !present(raw) {
		return nil, true
	}
	return phpMap(raw)
}

// commandError reads one entry of result_error. It has no HTTP status.
func (k *call) commandError(raw json.RawMessage) *Error {
	var env envelope
	if json.Unmarshal(raw, &env) != nil || !present(env.Error) {
		env.Error = raw
	}
	code, text := errorParts(env.Error, env.Description)
	return k.portalError(0, code, text)
}

// BatchAnswer is what became of several registrations in one request.
type BatchAnswer struct {
	Rows []BatchRow // in the bots' order
	Time Time       // of the batch itself
}

// BatchRow is what became of one registration in a batch.
type BatchRow struct {
	// Ran is false when the portal did not execute the command; nothing else
	// is set then.
	Ran        bool
	Registered Registered
	Err        *Error
	Time       Time // of this call alone
}

// RegisterBatch registers up to [MaxBatch] bots in one request. The bots
// should pass [CanBatch]. The error is that of the whole batch, as in [Client.Batch].
func (c *Client) RegisterBatch(ctx context.Context, a Access, bots []*Bot) (BatchAnswer, error) {
	commands := make([]Command, len(bots))
	for i, b := range bots {
		commands[i] = RegisterCommand(b)
	}
	answers, total, err := c.Batch(ctx, a, commands)
	if err != nil {
		return BatchAnswer{}, err
	}
	rows := make([]BatchRow, len(answers))
	for i, ans := range answers {
		rows[i] = registeredRow(a, ans)
	}
	return BatchAnswer{Rows: rows, Time: total}, nil
}

func registeredRow(a Access, ans CommandAnswer) BatchRow {
	row := BatchRow{Ran: ans.Ran, Err: ans.Err, Time: ans.Time}
	if ans.Ran && ans.Err == nil {
		k := &call{access: a, method: MethodRegister}
		row.Registered, row.Err = k.registered(answer{ans.Result, ans.Time})
	}
	return row
}
