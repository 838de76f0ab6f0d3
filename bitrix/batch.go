// Several calls in one request.

package bitrix

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
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
func BatchKey(i int) string {
	if i >= 0 && i < 100 {
		return string([]byte{'r', byte('0' + i/10), byte('0' + i%10)})
	}
	return fmt.Sprintf("r%02d", i)
}

// RegisterCommand is imbot.register as a command.
func RegisterCommand(b *Bot) Command {
	return Command{Method: MethodRegister, Params: b.form("", "")}
}

// registerText is RegisterCommand as a batch carries it, without the detour of a map.
func registerText(b *Bot) string {
	text := append(make([]byte, 0, 256), MethodRegister...)
	mark := byte('?')
	for _, p := range b.params() {
		if p.value == "" {
			continue
		}
		text = append(append(text, mark), url.QueryEscape(p.key)...)
		text = append(append(text, '='), url.QueryEscape(p.value)...)
		mark = '&'
	}
	return string(text)
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
	lines := make([]line, len(commands))
	for i, command := range commands {
		if !methodName(command.Method) {
			k := &call{access: a, method: MethodBatch}
			return nil, Time{}, k.fail(Validation, CodeBadCall, "a command's method is not the name of one", nil)
		}
		lines[i] = line{command.Method, command.text()}
	}
	return c.batch(ctx, a, lines)
}

// line is a command as a batch carries it. Its text is of letters, digits and
// what escapes them, so that JSON may quote it as it is.
type line struct{ method, text string }

func (c *Client) batch(ctx context.Context, a Access, lines []line) ([]CommandAnswer, Time, error) {
	k := &call{access: a, method: MethodBatch}
	if len(lines) == 0 {
		return nil, Time{}, nil
	}
	if len(lines) > MaxBatch {
		return nil, Time{}, k.fail(Validation, CodeBadCall,
			fmt.Sprintf("%d commands in a batch; at most %d are allowed", len(lines), MaxBatch), nil)
	}
	ans, err := c.do(ctx, a, MethodBatch, batchBody(lines))
	if err != nil {
		return nil, Time{}, err
	}
	answers, ok := parseBatch(a, ans.result, lines)
	if !ok {
		return nil, Time{}, k.unexpected("the answer is not that of a batch")
	}
	return answers, ans.time, nil
}

// batchBody is the JSON object of a batch.
func batchBody(lines []line) object {
	size := len(`{"halt":0,"cmd":{}}`)
	for _, l := range lines {
		size += len(l.text) + len(`"r00":"",`)
	}
	body := append(make([]byte, 0, size), `{"halt":0,"cmd":{`...)
	for i, l := range lines {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, '"')
		body = append(body, BatchKey(i)...)
		body = append(body, `":"`...)
		body = append(body, l.text...)
		body = append(body, '"')
	}
	return append(body, "}}"...)
}

// parseBatch reads the maps of a batch's answer. Each may be an empty list.
func parseBatch(a Access, raw json.RawMessage, lines []line) ([]CommandAnswer, bool) {
	parts := make([]struct{ result, failure, time json.RawMessage }, len(lines))
	ok := true
	each := func(part json.RawMessage, set func(i int, value json.RawMessage)) {
		ok = ok && (!present(part) || isList(part) || eachMember(part, func(key string, value json.RawMessage) {
			if i, known := batchIndex(key); known && i < len(parts) {
				set(i, value)
			}
		}))
	}
	whole := eachMember(raw, func(key string, part json.RawMessage) {
		switch key {
		case "result":
			each(part, func(i int, value json.RawMessage) { parts[i].result = value })
		case "result_error":
			each(part, func(i int, value json.RawMessage) { parts[i].failure = value })
		case "result_time":
			each(part, func(i int, value json.RawMessage) { parts[i].time = value })
		}
	})
	if !ok || !whole && !isList(raw) {
		return nil, false
	}
	answers := make([]CommandAnswer, len(lines))
	for i, p := range parts {
		switch {
		case p.failure != nil:
			k := &call{access: a, method: lines[i].method}
			answers[i] = CommandAnswer{Ran: true, Err: k.commandError(p.failure), Time: parseTime(p.time)}
		case p.result != nil:
			answers[i] = CommandAnswer{Ran: true, Result: p.result, Time: parseTime(p.time)}
		}
	}
	return answers, true
}

// batchIndex is the number of a [BatchKey].
func batchIndex(key string) (i int, ok bool) {
	if len(key) != 3 || key[0] != 'r' {
		return 0, false
	}
	i, err := strconv.Atoi(key[1:])
	return i, err == nil && i >= 0 && BatchKey(i) == key
}

// isList reports whether a part is what PHP makes of a map without keys of its own.
func isList(raw json.RawMessage) bool {
	at := skipSpace(raw, 0)
	return at < len(raw) && raw[at] == '['
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

// Commands is how many commands of a batch the bot takes: two with Update.
func (b *Bot) Commands() int {
	if b.Update {
		return 2
	}
	return 1
}

// RegisterBatch registers bots in one request, of up to [MaxBatch] commands. The
// bots should pass [CanBatch]. The error is that of the whole batch, as in
// [Client.Batch].
//
// A bot with Update set is followed by an imbot.update of the bot that the
// registration returned, with the same fields, so that one that existed is up to
// date afterwards. A row of which only the first half was done has not run.
func (c *Client) RegisterBatch(ctx context.Context, a Access, bots []*Bot) (BatchAnswer, error) {
	lines := make([]line, 0, len(bots))
	for _, b := range bots {
		key := BatchKey(len(lines))
		lines = append(lines, line{MethodRegister, registerText(b)})
		if b.Update {
			lines = append(lines, line{MethodUpdate, UpdateCommand(reference+key+"]", b).text()})
		}
	}
	answers, total, err := c.batch(ctx, a, lines)
	if err != nil {
		return BatchAnswer{}, err
	}
	rows := make([]BatchRow, len(bots))
	for i, b := range bots {
		rows[i] = registeredRow(a, answers[0])
		if b.Update {
			rows[i].updated(answers[1])
		}
		answers = answers[b.Commands():]
	}
	return BatchAnswer{Rows: rows, Time: total}, nil
}

// updated takes in what became of the update of a registered bot.
func (row *BatchRow) updated(ans CommandAnswer) {
	// Methods have budgets of their own; the fuller one binds.
	if ans.Time.HasOperating && (!row.Time.HasOperating || ans.Time.Operating > row.Time.Operating) {
		row.Time = ans.Time
	}
	switch {
	case !row.Ran || row.Err != nil || !row.Registered.Existed:
		// A new bot needed no update, whatever became of it.
	case !ans.Ran:
		row.Ran, row.Registered = false, Registered{}
	case ans.Err != nil:
		ans.Err.BotID = row.Registered.BotID
		row.Registered, row.Err = Registered{}, ans.Err
	default:
		row.Registered.Updated = true
	}
}

func registeredRow(a Access, ans CommandAnswer) BatchRow {
	row := BatchRow{Ran: ans.Ran, Err: ans.Err, Time: ans.Time}
	if ans.Ran && ans.Err == nil {
		k := &call{access: a, method: MethodRegister}
		row.Registered, row.Err = k.registered(answer{ans.Result, ans.Time})
	}
	return row
}
