// The registration of one bot, by the parameter names of imbot.register.

package bitrix

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
