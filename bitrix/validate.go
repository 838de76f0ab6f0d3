// What is wrong with a registration, found before anything is sent.

package bitrix

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Codes of imbot.register's public page that Validate gives.
const (
	codeAccessDenied = "ACCESS_DENIED"
	codeCode         = "CODE_ERROR"
	codeName         = "NAME_ERROR"
	codeWrongRequest = "WRONG_REQUEST"
)

const (
	// maxCodeChars: the column that holds CODE; a longer one ends as
	// WRONG_REQUEST after the portal has done all the work.
	maxCodeChars = 50
	// maxValueBytes bounds every value but the photo.
	maxValueBytes = 4 << 10
	// maxEmailChars is the longest address that a portal accepts.
	maxEmailChars = 320
)

const (
	typeList   = "B, O, H or S"
	colorList  = "RED, GREEN, MINT, LIGHT_BLUE, DARK_BLUE, PURPLE, AQUA, PINK, LIME, BROWN, AZURE, KHAKI, SAND, MARENGO, GRAY or GRAPHITE"
	genderList = "M or F"
)

// Problem is one thing wrong, or worth a warning, in a registration.
type Problem struct {
	Field   string `json:"field"`   // the method's parameter name, "PROPERTIES.NAME"
	Code    string `json:"code"`    // the code that a portal gives, or the nearest
	Problem string `json:"problem"` // one line for a person
}

// Rules is what Validate must know of the portal that the registration goes to.
type Rules struct {
	Webhook  bool   // the call travels over an incoming webhook
	ClientID string // the portal's own CLIENT_ID, for webhook rows without one
}

// Validate returns everything that is wrong with the registration: what a
// portal would refuse, in the order in which it looks, and what it would
// silently get wrong (code WRONG_REQUEST). It returns nil for a good one.
func (b *Bot) Validate(r Rules) []Problem {
	var c checker
	c.clientID(b, r)
	c.handlers(b)
	c.code(b.Code)
	c.name(&b.Properties)
	c.lists(b)
	c.profile(&b.Properties)
	for _, p := range b.params() {
		c.text(p)
	}
	return c.problems
}

// checker gathers problems. It allocates only for a problem found.
type checker struct {
	problems []Problem
}

func (c *checker) add(field, code, problem string) {
	c.problems = append(c.problems, Problem{Field: field, Code: code, Problem: problem})
}

func (c *checker) clientID(b *Bot, r Rules) {
	if r.Webhook && blank(b.ClientID) && blank(r.ClientID) {
		c.add("CLIENT_ID", codeAccessDenied, "a webhook needs a CLIENT_ID, the row's own or the portal's")
	}
}

// handlers follows the portal's order of checks.
func (c *checker) handlers(b *Bot) {
	if b.EventHandler != "" {
		if problem := handlerProblem(b.EventHandler); problem != "" {
			c.add("EVENT_HANDLER", eventCode("EVENT_HANDLER"), problem)
		}
	}
	c.handler(b, "EVENT_MESSAGE_ADD", b.EventMessageAdd, true)
	c.handler(b, "EVENT_MESSAGE_UPDATE", b.EventMessageUpdate, false)
	c.handler(b, "EVENT_MESSAGE_DELETE", b.EventMessageDelete, false)
	c.handler(b, "EVENT_WELCOME_MESSAGE", b.EventWelcomeMessage, true)
	c.handler(b, "EVENT_BOT_DELETE", b.EventBotDelete, true)
}

func (c *checker) handler(b *Bot, field, value string, required bool) {
	switch {
	case value == "" && required && b.EventHandler == "":
		c.add(field, eventCode(field), "handler URL is not given; give it, or EVENT_HANDLER for all events")
	case value == "":
	default:
		if b.EventHandler != "" {
			c.add(field, eventCode(field), "given together with EVENT_HANDLER, which replaces it; give one or the other")
		}
		if problem := handlerProblem(value); problem != "" {
			c.add(field, eventCode(field), problem)
		}
	}
}

func (c *checker) code(code string) {
	switch {
	case code == "":
		c.add("CODE", codeCode, "bot code is not given")
	case blank(code):
		c.add("CODE", codeCode, "bot code is blank")
	case len(code) > maxCodeChars && utf8.RuneCountInString(code) > maxCodeChars:
		c.add("CODE", codeWrongRequest,
			fmt.Sprintf("bot code has %d characters; at most %d fit", utf8.RuneCountInString(code), maxCodeChars))
	}
}

func (c *checker) name(p *Properties) {
	if blank(p.Name) && blank(p.LastName) {
		c.add("PROPERTIES.NAME", codeName, "bot name is not given; NAME or LAST_NAME is needed")
	}
}

// lists checks the values that a portal takes for something else when it does
// not know them, lower-case ones included.
func (c *checker) lists(b *Bot) {
	switch b.Type {
	case "", "B", "O", "H", "S":
	default:
		c.notListed("TYPE", b.Type, typeList)
	}
	switch b.OpenLine {
	case "", "Y", "N":
	default:
		c.notListed("OPENLINE", b.OpenLine, "Y or N")
	}
	switch b.Properties.Color {
	case "", "RED", "GREEN", "MINT", "LIGHT_BLUE", "DARK_BLUE", "PURPLE", "AQUA", "PINK", "LIME",
		"BROWN", "AZURE", "KHAKI", "SAND", "MARENGO", "GRAY", "GRAPHITE":
	default:
		c.notListed("PROPERTIES.COLOR", b.Properties.Color, colorList)
	}
	switch b.Properties.PersonalGender {
	case "", "M", "F":
	default:
		c.notListed("PROPERTIES.PERSONAL_GENDER", b.Properties.PersonalGender, genderList)
	}
}

func (c *checker) notListed(field, value, list string) {
	c.add(field, codeWrongRequest, fmt.Sprintf("%q is not %s", cut(value, 40), list))
}

func (c *checker) profile(p *Properties) {
	if s := p.Email; s != "" && !emailOK(s) {
		c.add("PROPERTIES.EMAIL", codeWrongRequest, "not a well-formed e-mail address")
	}
	if s := p.PersonalBirthday; s != "" && !dateOK(s) {
		c.add("PROPERTIES.PERSONAL_BIRTHDAY", codeWrongRequest,
			fmt.Sprintf("%q is not a date in the form YYYY-MM-DD", cut(s, 40)))
	}
	if s := p.PersonalWWW; s != "" && !websiteOK(s) {
		c.add("PROPERTIES.PERSONAL_WWW", codeWrongRequest, "not a well-formed web address such as https://example.com")
	}
	if s := p.PersonalPhoto; s != "" {
		if problem := photoProblem(s); problem != "" {
			c.add(photoField, codeWrongRequest, problem)
		}
	}
}

// text checks what holds for every value but the photo, whose alphabet and
// size are checked with it.
func (c *checker) text(p param) {
	if p.field == photoField {
		return
	}
	if len(p.value) > maxValueBytes {
		c.add(p.field, textCode(p.field), fmt.Sprintf("holds %d bytes; at most %d are allowed", len(p.value), maxValueBytes))
	}
	if !utf8.ValidString(p.value) {
		c.add(p.field, textCode(p.field), "is not valid UTF-8")
	}
	if strings.IndexByte(p.value, 0) >= 0 {
		c.add(p.field, textCode(p.field), "holds a NUL character")
	}
}

func textCode(field string) string {
	if strings.HasPrefix(field, "EVENT_") {
		return eventCode(field)
	}
	return codeWrongRequest
}

// eventCode is the portal's code for a bad handler. EVENT_HANDLER is copied
// over all of them, and EVENT_MESSAGE_ADD is the first that a portal checks.
func eventCode(field string) string {
	if field == "EVENT_HANDLER" {
		field = "EVENT_MESSAGE_ADD"
	}
	return field + "_ERROR"
}

// blank reports whether s holds nothing but white space.
func blank(s string) bool {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// handlerProblem says what a portal, or the delivery of events later, would
// dislike in a handler URL. A portal wants http or https in lower case and a
// host whose first dot is not its first character.
func handlerProblem(u string) string {
	if blank(u) {
		return "handler URL is blank"
	}
	if strings.IndexFunc(u, spaceOrControl) >= 0 {
		return "wrong handler URL: it holds a space or a control character"
	}
	scheme, rest, found := strings.Cut(u, "://")
	switch {
	case !found:
		return "wrong handler URL: it must begin with http:// or https://"
	case scheme != "http" && scheme != "https":
		return "unsupported handler protocol: the URL must begin with http:// or https://, in lower case"
	case !dottedHost(rest):
		return "wrong handler URL: its host must have a dot, as in bots.example.com"
	}
	return ""
}

func spaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// dottedHost reports whether what follows "://" begins with a host that holds
// a dot, not first, and at most a decent port.
func dottedHost(rest string) bool {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	return strings.IndexByte(host, '.') > 0 && (port == "" || portOK(port))
}

// portOK reports whether s is a decimal number from 1 to 65535.
func portOK(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if n = n*10 + int(s[i]-'0'); n > 65535 {
			return false
		}
	}
	return n > 0
}

// websiteOK accepts a web address with or without http:// or https://, as
// people write them.
func websiteOK(s string) bool {
	if strings.IndexFunc(s, spaceOrControl) >= 0 {
		return false
	}
	if scheme, rest, found := strings.Cut(s, "://"); found {
		return (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) && dottedHost(rest)
	}
	return dottedHost(s)
}

// dateOK reports whether s is a real day written YYYY-MM-DD.
func dateOK(s string) bool {
	t, err := time.Parse(time.DateOnly, s)
	return err == nil && t.Year() > 0
}

// emailOK follows a portal's own check of the form: dot-separated atoms, @, and
// at least two labels, the last of 2 to 20 characters. Letters of any script.
func emailOK(s string) bool {
	local, domain, found := strings.Cut(s, "@")
	if !found || utf8.RuneCountInString(s) > maxEmailChars {
		return false
	}
	dot := strings.LastIndexByte(domain, '.')
	if dot < 0 {
		return false
	}
	last := utf8.RuneCountInString(domain[dot+1:])
	return dotted(local, atomChar) && dotted(domain, labelChar) && last >= 2 && last <= 20
}

// dotted reports whether s is one or more non-empty runs of allowed
// characters with single dots between.
func dotted(s string, allowed func(rune) bool) bool {
	empty := true
	for _, r := range s {
		switch {
		case r == '.' && empty:
			return false
		case r == '.':
			empty = true
		case !allowed(r):
			return false
		default:
			empty = false
		}
	}
	return !empty
}

func labelChar(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || r >= '0' && r <= '9' || r == '-')
}

func atomChar(r rune) bool {
	return labelChar(r) || strings.ContainsRune("=_+~'!$&*^`|#%/?{}", r)
}
