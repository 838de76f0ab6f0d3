// What the authorization server's answers mean, and what their absence means.

package bitrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxTokenAnswer is far above an answer of the server: under 1 KB.
	maxTokenAnswer = 64 << 10
	// maxLifetime is far above an access token's: 3600 s.
	maxLifetime = 24 * 365 * time.Hour
	// maxMemberID is far above a member_id: 32 hexadecimal digits.
	maxMemberID = 100
)

// noAnswer judges a request that brought no answer. Texts of the transport are
// quoted only when nothing had left: later ones quote what the server sent.
func (k *tokenCall) noAnswer(err error, sent bool, refused error, hasty bool) (*Error, health) {
	h := ill
	if k.caller.Err() != nil && (hasty || !errors.Is(k.caller.Err(), context.DeadlineExceeded)) {
		h = untold
	}
	if sent {
		code, _ := k.brokenOff(err)
		failed := k.fail(Ambiguous, code, lostText(code), nil)
		failed.Err = &cause{text: failed.Description, err: k.identify(err)}
		return failed, h
	}
	failed := k.transportError(err, false, refused)
	switch failed.Code {
	case CodeNotSent:
		h = untold
	case CodeForbiddenEndpoint:
		// It is the server's address, not the portal's: the same for everybody.
		failed.Class = Transient
		return failed, refuses
	}
	return failed, h
}

// lostText says in words how an exchange ended after the request had left.
func lostText(code string) string {
	const after = "; the old refresh token may be dead by now"
	switch code {
	case CodeCancelled:
		return "cancelled after the request was sent" + after
	case CodeTimeout:
		return "no complete answer in time" + after
	case CodeBadHTTP:
		return "the answer is not HTTP that can be read" + after
	}
	return "the exchange broke off before the answer" + after
}

// interpret makes tokens or an error of an answer, as far as it was read.
func (k *tokenCall) interpret(status int, body []byte, readErr error, now time.Time) (Tokens, health, *Error) {
	if readErr != nil {
		code := CodeTooLarge
		if !errors.Is(readErr, errTooLarge) {
			if code, _ = k.brokenOff(readErr); code != CodeTimeout && code != CodeCancelled {
				code = CodeTruncated
			}
		}
		h := ill
		if code == CodeCancelled {
			h = untold
		}
		return Tokens{}, h, k.noTokens(status, code)
	}
	a, code := parseTokenAnswer(body)
	switch {
	case code != "":
		return Tokens{}, ill, k.noTokens(status, code)
	case a.failed():
		failed, h := k.refusal(status, a)
		return Tokens{}, h, failed
	}
	tokens, err := a.tokens(now)
	if err == nil && status != http.StatusOK {
		err = errors.New("status is not 200, though it holds tokens")
	}
	if err != nil {
		failed := k.fail(Ambiguous, CodeUnexpectedResult, "the answer's "+err.Error(), nil)
		failed.Status = status
		return Tokens{}, ill, failed
	}
	return tokens, well, nil
}

// noTokens is an answer that the authorization server itself does not give. By
// the status, a server in front of it ran nothing; otherwise nothing says
// whether the pair was traded.
func (k *tokenCall) noTokens(status int, code string) *Error {
	class := Ambiguous
	switch {
	case status >= 300 && status < 500, status == http.StatusBadGateway, status == http.StatusServiceUnavailable:
		class = Transient
	}
	text := map[string]string{
		CodeEmpty:     "the answer is empty",
		CodeTruncated: "the answer ends in the middle",
		CodeTooLarge:  "the answer is too large",
		CodeTimeout:   "the answer did not come in time",
		CodeCancelled: "the request was cancelled before the answer was read",
	}[code]
	switch {
	case status >= 300 && status < 400:
		text = "the server sends elsewhere, where credentials do not follow"
	case text == "":
		text = "the answer is not an authorization server's"
	}
	failed := k.fail(class, code, fmt.Sprintf("HTTP %d: %s", status, text), nil)
	failed.Status = status
	if class == Ambiguous && k.caller.Err() != nil {
		failed.Err = &cause{text: failed.Description, err: k.caller.Err()}
	}
	return failed
}

// refusal is an error that the authorization server itself gave. The code
// decides, and the status only where the code is unknown, as with portals.
func (k *tokenCall) refusal(status int, a tokenAnswer) (*Error, health) {
	code, text := errorParts(a.Error, a.Description)
	text = clean(text)
	class, h := Blocked, well
	switch upper := strings.ToUpper(code); {
	case slices.Contains([]string{"INVALID_CLIENT", "UNAUTHORIZED_CLIENT", "WRONG_CLIENT", "APPLICATION_NOT_FOUND"}, upper):
		class, h = Transient, refuses
		text = strings.TrimSpace("the authorization server does not accept the application: check BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET. " + text)
	case upper == "TEMPORARILY_UNAVAILABLE", upper == "SERVER_ERROR":
		class, h = Transient, ill // RFC 6749
	case saysNo(upper):
	case status >= 500, status == http.StatusTooManyRequests, Classify(status, code, text) == Limit, Classify(status, code, text) == Transient:
		class, h = Transient, ill
	}
	failed := k.fail(class, firstOf(k.scrub(code, maxErrorCode), codeUnknown),
		firstOf(text, "the authorization server says no, and not why"), nil)
	failed.Status = status
	return failed, h
}

// saysNo reports whether a code is the server's word about one portal's token.
func saysNo(code string) bool {
	switch code {
	case "INVALID_GRANT", "INVALID_SCOPE", "INVALID_REQUEST", "INVALID_TOKEN", "EXPIRED_TOKEN",
		"INSUFFICIENT_SCOPE", "PAYMENT_REQUIRED", "PORTAL_DELETED", "ACCESS_DENIED":
		return true
	}
	return false
}

// tokenAnswer is the object that every answer is. Its parts are looked at one
// by one: PHP writes numbers as strings, and empty maps as lists.
type tokenAnswer struct {
	Access, Refresh, Expires, ExpiresIn json.RawMessage
	Endpoint, MemberID, Scope, Status   json.RawMessage
	Error, Description                  json.RawMessage
}

// parseTokenAnswer takes a body apart, or returns one of this package's codes
// for what it is instead.
func parseTokenAnswer(body []byte) (a tokenAnswer, code string) {
	body, code = jsonObject(body)
	if code != "" {
		return tokenAnswer{}, code
	}
	fields := map[string]*json.RawMessage{
		"access_token": &a.Access, "refresh_token": &a.Refresh, "expires": &a.Expires, "expires_in": &a.ExpiresIn,
		"client_endpoint": &a.Endpoint, "member_id": &a.MemberID, "scope": &a.Scope, "status": &a.Status,
		"error": &a.Error, "error_description": &a.Description,
	}
	eachMember(body, func(key string, value json.RawMessage) {
		if field, ok := fields[strings.ToLower(key)]; ok {
			*field = value
		}
	})
	if !a.failed() && !a.success() {
		return tokenAnswer{}, CodeNotJSON
	}
	return a, ""
}

// success reports whether the answer holds tokens, or what stands for them.
func (a tokenAnswer) success() bool { return present(a.Access) || present(a.Refresh) }

// failed reports whether the answer is an error. One that holds tokens as well
// is none: they may be the only ones that are still good.
func (a tokenAnswer) failed() bool {
	return !a.success() && (present(a.Error) || present(a.Description))
}

// tokens reads a success. Its errors read after "the answer's" and quote nothing.
func (a tokenAnswer) tokens(now time.Time) (Tokens, error) {
	access, refresh, member := scalar(a.Access), scalar(a.Refresh), scalar(a.MemberID)
	if err := checkToken(access); err != nil {
		return Tokens{}, fmt.Errorf("access_token %w", err)
	}
	if err := checkToken(refresh); err != nil {
		return Tokens{}, fmt.Errorf("refresh_token %w", err)
	}
	if present(a.MemberID) && (checkToken(member) != nil || len(member) > maxMemberID) {
		return Tokens{}, errors.New("member_id is not one")
	}
	return Tokens{
		Access:   NewSecret(access),
		Refresh:  NewSecret(refresh),
		Endpoint: scalar(a.Endpoint),
		MemberID: member,
		Scope:    scopes(a.Scope),
		Expires:  expiry(a, now),
		Status:   cut(clean(scalar(a.Status)), 20),
	}, nil
}

// expiry is when the access token ends: a moment, or the seconds until then.
func expiry(a tokenAnswer, now time.Time) time.Time {
	if at := moment(a.Expires); !at.IsZero() {
		return at
	}
	if left, ok := seconds(a.ExpiresIn); ok && left > 0 && left <= maxLifetime {
		return now.Add(left)
	}
	return time.Time{}
}

// scopes reads "imbot,crm", "imbot crm" or a list.
func scopes(raw json.RawMessage) []string {
	text := scalar(raw)
	var list []json.RawMessage
	if text == "" && json.Unmarshal(raw, &list) == nil {
		for _, item := range list {
			text += " " + scalar(item)
		}
	}
	return strings.FieldsFunc(clean(text), func(r rune) bool { return r == ',' || r == ' ' })
}
