// Rows that must be refused: one of every kind that both formats can express.

package e2e

import (
	"encoding/base64"
	"strings"
)

// flaw spoils a good row; the row must then be refused with this field and code.
type flaw struct {
	field, code string
	spoil       func(r row)
}

func set(field, code, value string) flaw {
	return flaw{field, code, func(r row) { r[field] = value }}
}

// flaws are all kinds. A webhook row that lacks a CLIENT_ID, and one that
// repeats another, need a portal and a neighbour: see makeRows.
func flaws() []flaw {
	long := strings.Repeat("x", 4097)
	noPicture := base64.StdEncoding.EncodeToString([]byte("this is no picture"))
	return []flaw{
		set("CODE", "CODE_ERROR", ""),
		set("CODE", "CODE_ERROR", "   "),
		set("CODE", "WRONG_REQUEST", strings.Repeat("c", 51)),
		set("PROPERTIES.NAME", "NAME_ERROR", ""),
		set("PROPERTIES.NAME", "NAME_ERROR", " \t"),
		set("TYPE", "WRONG_REQUEST", "X"),
		set("TYPE", "WRONG_REQUEST", "b"),
		set("OPENLINE", "WRONG_REQUEST", "maybe"),
		set("PROPERTIES.COLOR", "WRONG_REQUEST", "PURPEL"),
		set("PROPERTIES.PERSONAL_GENDER", "WRONG_REQUEST", "X"),
		set("PROPERTIES.PERSONAL_BIRTHDAY", "WRONG_REQUEST", "2023-02-29"),
		set("PROPERTIES.EMAIL", "WRONG_REQUEST", "nobody"),
		set("PROPERTIES.PERSONAL_WWW", "WRONG_REQUEST", "no address"),
		set("PROPERTIES.WORK_POSITION", "WRONG_REQUEST", long),
		set("PROPERTIES.PERSONAL_PHOTO", "WRONG_REQUEST", noPicture),
		set("PROPERTIES.PERSONAL_PHOTO", "WRONG_REQUEST", "data:image/png;base64,"+noPicture),
		set("PROPERTIES.PERSONAL_PHOTO", "INPUT", "@no-such-file.png"),
		set("EVENT_HANDLER", "EVENT_MESSAGE_ADD_ERROR", "HTTPS://bots.example.com/events"),
		set("EVENT_HANDLER", "EVENT_MESSAGE_ADD_ERROR", "ftp://bots.example.com/events"),
		set("EVENT_HANDLER", "EVENT_MESSAGE_ADD_ERROR", "https://localhost/events"),
		set("EVENT_BOT_DELETE", "EVENT_BOT_DELETE_ERROR", "https://bots.example.com/events"),
		{"EVENT_MESSAGE_ADD", "EVENT_MESSAGE_ADD_ERROR", func(r row) { r["EVENT_HANDLER"] = "" }},
		{"EVENT_WELCOME_MESSAGE", "EVENT_WELCOME_MESSAGE_ERROR", func(r row) {
			r["EVENT_MESSAGE_ADD"], r["EVENT_HANDLER"] = r["EVENT_HANDLER"], ""
		}},
		set("portal", "PORTAL_UNKNOWN", "nobody.bitrix24.ru"),
		set("portal", "INPUT", ""),
		set("portal", "INPUT", "https://not a host/"),
	}
}
