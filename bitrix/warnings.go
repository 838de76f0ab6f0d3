// What a portal will do otherwise than a registration says.

package bitrix

// Codes of warnings, in Problem.Code. No portal gives them.
const (
	WarnOpenLineForced = "OPENLINE_FORCED"  // TYPE O is stored with OPENLINE=Y
	WarnTypeStoredAsB  = "TYPE_STORED_AS_B" // current portals store TYPE H as B
	WarnHandlerIgnored = "HANDLER_IGNORED"  // the handler is not bound for this TYPE
)

// Warnings returns what a portal accepts but does not do as written. Such a
// registration may be sent.
func (b *Bot) Warnings() []Problem {
	var c checker
	if b.Type == "O" && b.OpenLine == "N" {
		c.add("OPENLINE", WarnOpenLineForced, "N is not kept: TYPE O is always registered with OPENLINE=Y")
	}
	if b.Type == "H" {
		c.add("TYPE", WarnTypeStoredAsB, "current portals store TYPE H as B")
	}
	if !b.bindsEdits() {
		const ignored = "ignored by the portal: it is bound only for TYPE O and S, or with OPENLINE=Y"
		if b.EventMessageUpdate != "" {
			c.add("EVENT_MESSAGE_UPDATE", WarnHandlerIgnored, ignored)
		}
		if b.EventMessageDelete != "" {
			c.add("EVENT_MESSAGE_DELETE", WarnHandlerIgnored, ignored)
		}
	}
	return c.problems
}
