// What people read of a task: its payload, its result, its error.

package dashboard

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hibiken/asynq"

	"botfleet/tasks"
)

// maxShown bounds a text on the page, in characters. Our own have some hundred.
const maxShown = 4000

// row is what a person wants to know of a task. The order is that of the page.
type row struct {
	Portal string `json:"portal"`
	Code   string `json:"code"`
	Name   string `json:"name,omitempty"`
	Run    string `json:"run"`
	Row    int    `json:"row"`
	Gen    int    `json:"gen,omitempty"`
}

// formatPayload names the row that a task is of. What it does not know it shows
// as it is, without secrets.
func formatPayload(kind string, payload []byte) string {
	if kind == tasks.TypeName {
		if p, err := tasks.DecodePayload(payload); err == nil {
			b, err := json.Marshal(row{p.Portal, p.Code, p.Name, p.Run, p.Row, p.Gen})
			if err == nil {
				return mask(string(b))
			}
		}
	}
	return formatText(payload)
}

// formatResult names a registered bot. (asynqmon gives no type with the results
// of its page about one task.)
func formatResult(_ string, result []byte) string {
	var id json.Number
	if json.Unmarshal(result, &id) == nil && !strings.ContainsAny(string(id), ".eE-") && id != "" {
		return `{"BOT_ID":` + string(id) + `}`
	}
	return formatText(result)
}

func formatText(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	text := string(b)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
		return fmt.Sprintf("%d bytes that are no text", len(b))
	}
	return mask(text)
}

// formatError is what a task said last, without asynq's words for "do not retry".
func formatError(text string) string {
	return mask(strings.TrimSuffix(text, ": "+asynq.SkipRetry.Error()))
}

// Credentials as they are written in addresses, in JSON and in forms. Nothing that
// is queued holds one, and the errors of portals are rid of them where they come
// in; this is for what other producers queue, and for what nobody has thought of.
var (
	webhookPath = regexp.MustCompile(`(?i)(/rest/[0-9]+/)[^/\s"'?&<>\\]+`)
	userinfo    = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^\s/@"'<>\\]*:[^\s/@"'<>\\]*@`)
	// After = or in quotes; after a colon alone stands prose: "waits for a new token: expired_token".
	named  = regexp.MustCompile(`(?i)(\b(?:auth|(?:access|refresh|application|app|auth)_?token|client_?secret|passw(?:or)?d|secrets?_?key|token|secret|authorization)(?:=|\\?["']\s*[:=]\s*\\?["']?))(?:(?:bearer|basic)\s+)?[^\s"'&,;}<>\\]+`)
	bearer = regexp.MustCompile(`(?i)\b((?:bearer|basic) )[a-z0-9._~+/=-]{8,}`)
)

const hidden = "[hidden]"

// mask hides what looks like a credential, and bounds a text.
func mask(text string) string {
	text = webhookPath.ReplaceAllString(text, "${1}"+hidden)
	text = userinfo.ReplaceAllString(text, "${1}"+hidden+"@")
	text = bearer.ReplaceAllString(text, "${1}"+hidden)
	text = named.ReplaceAllString(text, "${1}"+hidden)
	if utf8.RuneCountInString(text) > maxShown {
		text = string([]rune(text)[:maxShown]) + "…"
	}
	return text
}
