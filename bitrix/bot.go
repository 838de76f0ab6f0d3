// The registration of one bot, by the parameter names of imbot.register.

package bitrix

import "strings"

// Bot holds the parameters of one imbot.register call. An empty field is not
// sent. Field names and rules are those of the method's public page.
type Bot struct {
	Code                string     `json:"CODE,omitempty"`
	Type                string     `json:"TYPE,omitempty"`     // B, O, H or S; empty means B
	OpenLine            string     `json:"OPENLINE,omitempty"` // Y or N; empty means N (Y for type O)
	EventHandler        string     `json:"EVENT_HANDLER,omitempty"`
	EventMessageAdd     string     `json:"EVENT_MESSAGE_ADD,omitempty"`
	EventMessageUpdate  string     `json:"EVENT_MESSAGE_UPDATE,omitempty"`
	EventMessageDelete  string     `json:"EVENT_MESSAGE_DELETE,omitempty"`
	EventWelcomeMessage string     `json:"EVENT_WELCOME_MESSAGE,omitempty"`
	EventBotDelete      string     `json:"EVENT_BOT_DELETE,omitempty"`
	ClientID            string     `json:"CLIENT_ID,omitempty"`
	Properties          Properties `json:"PROPERTIES,omitzero"`

	// Update brings a bot that the portal has already up to date in the same
	// batch: see [Client.RegisterBatch]. It is no parameter of the method.
	Update bool `json:"-"`
}

// Properties is the profile of a bot.
type Properties struct {
	Name             string `json:"NAME,omitempty"`
	LastName         string `json:"LAST_NAME,omitempty"`
	Color            string `json:"COLOR,omitempty"`
	Email            string `json:"EMAIL,omitempty"`
	PersonalBirthday string `json:"PERSONAL_BIRTHDAY,omitempty"` // YYYY-MM-DD
	WorkPosition     string `json:"WORK_POSITION,omitempty"`
	PersonalWWW      string `json:"PERSONAL_WWW,omitempty"`
	PersonalGender   string `json:"PERSONAL_GENDER,omitempty"` // M or F
	PersonalPhoto    string `json:"PERSONAL_PHOTO,omitempty"`  // base64 of a PNG, JPEG or GIF, without a data: prefix
}

// param is one parameter as problems name it, as PHP's bracket form names it,
// and its value.
type param struct {
	field, key, value string
}

// photoField is the only parameter with a size rule of its own.
const photoField = "PROPERTIES.PERSONAL_PHOTO"

// params lists every parameter. It returns an array, not a slice, so that
// checking a million rows allocates nothing.
func (b *Bot) params() [19]param {
	p := &b.Properties
	return [...]param{
		{"CODE", "CODE", b.Code},
		{"TYPE", "TYPE", b.Type},
		{"OPENLINE", "OPENLINE", b.OpenLine},
		{"EVENT_HANDLER", "EVENT_HANDLER", b.EventHandler},
		{"EVENT_MESSAGE_ADD", "EVENT_MESSAGE_ADD", b.EventMessageAdd},
		{"EVENT_MESSAGE_UPDATE", "EVENT_MESSAGE_UPDATE", b.EventMessageUpdate},
		{"EVENT_MESSAGE_DELETE", "EVENT_MESSAGE_DELETE", b.EventMessageDelete},
		{"EVENT_WELCOME_MESSAGE", "EVENT_WELCOME_MESSAGE", b.EventWelcomeMessage},
		{"EVENT_BOT_DELETE", "EVENT_BOT_DELETE", b.EventBotDelete},
		{"CLIENT_ID", "CLIENT_ID", b.ClientID},
		{"PROPERTIES.NAME", "PROPERTIES[NAME]", p.Name},
		{"PROPERTIES.LAST_NAME", "PROPERTIES[LAST_NAME]", p.LastName},
		{"PROPERTIES.COLOR", "PROPERTIES[COLOR]", p.Color},
		{"PROPERTIES.EMAIL", "PROPERTIES[EMAIL]", p.Email},
		{"PROPERTIES.PERSONAL_BIRTHDAY", "PROPERTIES[PERSONAL_BIRTHDAY]", p.PersonalBirthday},
		{"PROPERTIES.WORK_POSITION", "PROPERTIES[WORK_POSITION]", p.WorkPosition},
		{"PROPERTIES.PERSONAL_WWW", "PROPERTIES[PERSONAL_WWW]", p.PersonalWWW},
		{"PROPERTIES.PERSONAL_GENDER", "PROPERTIES[PERSONAL_GENDER]", p.PersonalGender},
		{photoField, "PROPERTIES[PERSONAL_PHOTO]", p.PersonalPhoto},
	}
}

// bindsEdits reports whether a portal binds EVENT_MESSAGE_UPDATE and
// EVENT_MESSAGE_DELETE for this bot. It ignores them for TYPE B and H without
// OPENLINE; an unknown or empty TYPE counts as B, and O is always OPENLINE=Y.
func (b *Bot) bindsEdits() bool {
	return b.Type == "O" || b.Type == "S" || b.OpenLine == "Y"
}

// HandlerSet is a canonical text of the event handlers that registering the
// bot binds to its application: those of EVENT_MESSAGE_ADD,
// EVENT_WELCOME_MESSAGE and EVENT_BOT_DELETE, one a line, EVENT_HANDLER being
// each of them where it is given.
//
// An application has one set: each registration rebinds it, so that two bots
// of one application with different HandlerSets take each other's events away.
// EVENT_MESSAGE_UPDATE and EVENT_MESSAGE_DELETE add a line only where they are
// bound and go elsewhere than EVENT_MESSAGE_ADD. The text holds the URLs as
// they are, query values included: store a hash of it rather than the text.
func (b *Bot) HandlerSet() string {
	if b.EventHandler != "" {
		return b.EventHandler + "\n" + b.EventHandler + "\n" + b.EventHandler
	}
	lines := []string{b.EventMessageAdd, b.EventWelcomeMessage, b.EventBotDelete}
	if b.bindsEdits() {
		if h := b.EventMessageUpdate; h != "" && h != b.EventMessageAdd {
			lines = append(lines, "update "+h)
		}
		if h := b.EventMessageDelete; h != "" && h != b.EventMessageAdd {
			lines = append(lines, "delete "+h)
		}
	}
	return strings.Join(lines, "\n")
}
