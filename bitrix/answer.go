// What a portal's answer says: a result with its cost, or an error.

package bitrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// answer is a success.
type answer struct {
	result json.RawMessage
	time   Time
}

// envelope is the object that every answer is. Its parts are looked at one by
// one: PHP writes numbers as strings, and empty maps as lists.
type envelope struct {
	Result      json.RawMessage `json:"result"`
	Error       json.RawMessage `json:"error"`
	Description json.RawMessage `json:"error_description"`
	Time        json.RawMessage `json:"time"`
}

// interpret makes an answer or an error of a body, as far as it was read.
func (k *call) interpret(status int, body []byte, readErr error) (answer, *Error) {
	if readErr != nil {
		return answer{}, k.unreadable(status, readErr)
	}
	env, code := parseEnvelope(body)
	if code != "" {
		return answer{}, k.withoutJSON(status, code)
	}
	if portalCode, text := env.failure(); portalCode != "" {
		return answer{}, k.portalError(status, portalCode, text)
	}
	if status != 200 {
		// No portal says so; a server in front may.
		return answer{}, k.withoutJSON(status, CodeNotJSON)
	}
	return answer{result: env.Result, time: parseTime(env.Time)}, nil
}

// parseEnvelope returns the envelope, or one of this package's codes for what
// the body is instead.
func parseEnvelope(body []byte) (env envelope, code string) {
	if body, code = jsonObject(body); code != "" {
		return envelope{}, code
	}
	env = readEnvelope(body)
	if env.Result == nil && !present(env.Error) && !present(env.Description) {
		return envelope{}, CodeNotJSON
	}
	return env, ""
}

// jsonObject finds the one JSON object that a body is, or returns one of this
// package's codes for what it is instead.
func jsonObject(body []byte) (object []byte, code string) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	switch {
	case len(body) == 0:
		return nil, CodeEmpty
	case body[0] != '{':
		return nil, CodeNotJSON
	case json.Valid(body):
		return body, ""
	case truncated(body):
		return nil, CodeTruncated
	}
	return nil, CodeNotJSON
}

// readEnvelope takes an answer apart.
func readEnvelope(body []byte) (env envelope) {
	eachMember(body, func(key string, value json.RawMessage) {
		switch {
		case strings.EqualFold(key, "result"):
			env.Result = value
		case strings.EqualFold(key, "error"):
			env.Error = value
		case strings.EqualFold(key, "error_description"):
			env.Description = value
		case strings.EqualFold(key, "time"):
			env.Time = value
		}
	})
	return env
}

// truncated reports whether a JSON text would be one with more after it.
func truncated(body []byte) bool {
	var value json.RawMessage
	return errors.Is(json.NewDecoder(bytes.NewReader(body)).Decode(&value), io.ErrUnexpectedEOF)
}

// failure is the error that an answer holds, if it holds one.
func (e envelope) failure() (code, description string) {
	if !present(e.Error) && (e.Result != nil || !present(e.Description)) {
		return "", ""
	}
	return errorParts(e.Error, e.Description)
}

// codeUnknown stands for an error without a code that could be shown.
const codeUnknown = "UNKNOWN"

// errorParts reads a code and its text: a string, a number, or an object that
// holds them.
func errorParts(rawCode, rawText json.RawMessage) (code, description string) {
	code, description = scalar(rawCode), scalar(rawText)
	if code == "" {
		var inner struct {
			Error       json.RawMessage `json:"error"`
			Code        json.RawMessage `json:"code"`
			Description json.RawMessage `json:"error_description"`
			Message     json.RawMessage `json:"message"`
		}
		if json.Unmarshal(rawCode, &inner) == nil {
			code = firstOf(scalar(inner.Error), scalar(inner.Code))
			description = firstOf(description, scalar(inner.Description), scalar(inner.Message))
		}
	}
	return firstOf(strings.TrimSpace(code), codeUnknown), description
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// present reports whether a part is there and not one of PHP's empty values.
func present(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "false", `""`, "0", "[]", "{}":
		return false
	}
	return true
}

// scalar is the text of a JSON string, number or boolean; "" for all else.
func scalar(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		if inner := raw[1:max(len(raw)-1, 1)]; plain(inner) {
			return string(inner)
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return ""
		}
		return text
	case '{', '[', 'n':
		return ""
	}
	return string(raw)
}

// plain reports whether the inside of a JSON string means itself.
func plain(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// parseID reads a positive identifier and says whether it was in quotes.
func parseID(raw json.RawMessage) (id int64, quoted, ok bool) {
	raw = bytes.TrimSpace(raw)
	id, err := strconv.ParseInt(strings.TrimSpace(scalar(raw)), 10, 64)
	return id, len(raw) > 0 && raw[0] == '"', err == nil && id > 0
}

// portalError is an error that the portal itself gave.
func (k *call) portalError(status int, code, description string) *Error {
	shown := firstOf(k.scrub(code, maxErrorCode), codeUnknown)
	e := k.fail(Classify(status, code, description), shown, description, nil)
	e.Status = status
	return e
}

// withoutJSON is an answer that no REST method gives.
func (k *call) withoutJSON(status int, code string) *Error {
	text := "answer is not the JSON of a REST method"
	switch code {
	case CodeEmpty:
		text = "answer is empty"
	case CodeTruncated:
		text = "answer ends in the middle"
	case CodeTooLarge:
		text = "answer is too large"
	}
	e := k.fail(Classify(status, code, ""), code, fmt.Sprintf("HTTP %d, and the %s", status, text), nil)
	e.Status = status
	return e
}

// unreadable is an answer whose body did not arrive.
func (k *call) unreadable(status int, err error) *Error {
	if errors.Is(err, errTooLarge) {
		return k.withoutJSON(status, CodeTooLarge)
	}
	code, text := k.brokenOff(err)
	if code == CodeReset || code == CodeBadHTTP {
		code, text = CodeTruncated, "answer ends in the middle: "+err.Error()
	}
	// The status has arrived: a 4xx from a server in front ran nothing.
	e := k.fail(Classify(status, CodeTruncated, ""), code, fmt.Sprintf("HTTP %d: %s", status, text), k.identify(err))
	e.Status = status
	return e
}

// unexpected is a success with a result that is not the method's: the work was
// done or it was not.
func (k *call) unexpected(what string) *Error {
	e := k.fail(Ambiguous, CodeUnexpectedResult, what, nil)
	e.Status = 200
	return e
}
