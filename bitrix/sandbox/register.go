// imbot.register: the portal's checks in the portal's order, and
// get-or-create with its unguarded gap.

package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxCode is how many characters of a CODE the database column holds.
const maxCode = 50

// register runs one imbot.register.
func (c *call) register() (any, *failure) {
	p := c.params.upperKeys()
	app, suffix, f := c.application(p)
	if f != nil {
		return nil, f
	}
	urls, f := handlers(c.dialect(), p, suffix, true)
	if f != nil {
		return nil, f
	}
	if phpEmpty(p.get("CODE")) {
		return nil, c.dialect().fail("CODE_ERROR")
	}
	properties := p.child("PROPERTIES")
	// isset, not empty: "" passes here, and a nameless bot is made.
	if properties.get("NAME") == nil && properties.get("LAST_NAME") == nil {
		return nil, c.dialect().fail("NAME_ERROR")
	}
	code := p.text("CODE")
	defer c.st.sendingEnds(c.st.sendingBegins(c, code))

	b, f := c.existing(code, app)
	if f != nil {
		return nil, f
	}
	if b != nil {
		return c.returned(b, app, urls)
	}
	return c.create(p, code, app, urls)
}

// application names the application that a call belongs to, and what is
// appended to handler URLs: CLIENT_ID=… when the call names the application.
func (c *call) application(p *array) (app, suffix string, f *failure) {
	if c.id.session {
		return "", "", c.dialect().fail("WRONG_AUTH_TYPE")
	}
	if c.id.app != "" {
		return c.id.app, "", nil
	}
	if phpEmpty(p.get("CLIENT_ID")) {
		return "", "", &failure{403, "ACCESS_DENIED", "Access denied! Client ID not specified"}
	}
	id := p.text("CLIENT_ID")
	return "custom" + id, "CLIENT_ID=" + id, nil
}

// existing looks the CODE up over all applications, and counts the
// application's bots.
func (c *call) existing(code, app string) (*Bot, *failure) {
	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	b := st.bots.lookup(code)
	full := st.cfg.MaxBotsPerApp > 0 && st.bots.byApp[app] >= st.cfg.MaxBotsPerApp
	if full && (b == nil || st.cfg.MaxBotsStrict) {
		text := fmt.Sprintf("Has reached the maximum number of bots for application (max: %d)", st.cfg.MaxBotsPerApp)
		return nil, c.dialect().fail("MAX_COUNT_ERROR").say(text)
	}
	return b, nil
}

// returned answers with a bot that exists, unchanged; its id is a string, as
// it comes from the database. Handlers are bound to the caller's application
// all the same.
func (c *call) returned(b *Bot, app string, urls map[string]string) (any, *failure) {
	c.cost += c.st.cfg.OperatingCost
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	c.st.bind(app, urls, !b.ignoresEdits())
	c.st.seen.returned++
	return strconv.Itoa(b.ID), nil
}

// create makes a bot without looking again whether its CODE is still free.
func (c *call) create(p *array, code, app string, urls map[string]string) (any, *failure) {
	if !c.st.box.sleep(c.st.serviceTime()) {
		return nil, c.dialect().fail("INTERNAL_SERVER_ERROR")
	}
	b := &Bot{Code: code, App: app, Type: storedType(c.dialect(), p.text("TYPE")), CreatedBy: c.id.name}
	b.OpenLine = b.Type == "O" || p.text("OPENLINE") == "Y"
	f := b.fill(c.dialect(), p.child("PROPERTIES"))
	if f != nil {
		return nil, f
	}
	if utf8.RuneCountInString(code) > maxCode {
		return nil, c.dialect().fail("WRONG_REQUEST")
	}
	c.cost += c.st.cfg.OperatingCost
	b.CreatedAt = c.st.box.now()

	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.bots.insert(b) {
		st.seen.duplicates++
		st.seen.violate(Violation{At: b.CreatedAt, Kind: DuplicateBot, Method: c.method, Credential: c.id.name, Bot: clip(code)})
	}
	st.bind(app, urls, !b.ignoresEdits())
	st.seen.created++
	return b.ID, nil
}

// storedType is what becomes of TYPE: an unknown one is silently B, and by the
// sources H is too.
func storedType(d Dialect, given string) string {
	switch given {
	case "O", "S":
		return given
	case "H":
		if d == Documented {
			return "H"
		}
	}
	return "B"
}

// ignoresEdits reports that UPDATE and DELETE handlers are not bound.
func (b *Bot) ignoresEdits() bool {
	return (b.Type == "B" || b.Type == "H") && !b.OpenLine
}

// sendingBegins notes that a CODE is being registered, and returns it folded.
func (st *PortalState) sendingBegins(c *call, code string) string {
	key := fold(code)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sending[key] > 0 {
		st.seen.violate(Violation{At: st.box.now(), Kind: SameCode, Method: c.method, Credential: c.id.name, Bot: clip(code)})
	}
	st.sending[key]++
	return key
}

func (st *PortalState) sendingEnds(key string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sending[key]--; st.sending[key] == 0 {
		delete(st.sending, key)
	}
}

// event is one handler of an application, in the order portals check them.
type event struct {
	param, missing string // missing: the event's name in the error; empty for optional ones
}

var events = [...]event{
	{"EVENT_MESSAGE_ADD", "Message add"},
	{"EVENT_MESSAGE_UPDATE", ""},
	{"EVENT_MESSAGE_DELETE", ""},
	{"EVENT_CONTEXT_GET", ""},
	{"EVENT_WELCOME_MESSAGE", "Welcome message"},
	{"EVENT_BOT_DELETE", "Bot delete"},
}

// handlers checks the handler URLs and returns them by event, with suffix
// appended to their query. EVENT_HANDLER replaces every single one.
func handlers(d Dialect, p *array, suffix string, required bool) (map[string]string, *failure) {
	urls := make(map[string]string, len(events))
	common := p.get("EVENT_HANDLER")
	for _, e := range events {
		given := p.get(e.param)
		if !phpEmpty(common) {
			given = common
		}
		if phpEmpty(given) {
			if required && e.missing != "" {
				return nil, d.fail(e.param + "_ERROR").say(fmt.Sprintf("Handler for %q event isn't specified", e.missing))
			}
			continue
		}
		u := appendQuery(phpString(given), suffix)
		if problem := handlerProblem(u); problem != "" {
			return nil, d.fail(e.param + "_ERROR").say(problem)
		}
		urls[e.param] = u
	}
	return urls, nil
}

func appendQuery(u, suffix string) string {
	switch {
	case suffix == "":
		return u
	case strings.Contains(u, "?"):
		return u + "&" + suffix
	}
	return u + "?" + suffix
}

// handlerProblem is a portal's whole idea of a good URL: a host with a dot that
// is not first, and a scheme of http or https in lower case.
func handlerProblem(u string) string {
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		return "Wrong handler URL"
	}
	host := rest
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if strings.IndexByte(host, '.') <= 0 {
		return "Wrong handler URL"
	}
	if scheme != "http" && scheme != "https" {
		return "Unsupported handler protocol"
	}
	return ""
}

// bind makes urls the application's handlers; those of events that were not
// given stay. An application has one set, whatever number of bots. The caller
// holds the portal's lock.
func (st *PortalState) bind(app string, urls map[string]string, edits bool) {
	set := st.bound[app]
	if set == nil {
		set = make(map[string]string, len(urls))
		st.bound[app] = set
	}
	for param, u := range urls {
		if !edits && (param == "EVENT_MESSAGE_UPDATE" || param == "EVENT_MESSAGE_DELETE") {
			continue
		}
		set[param] = u
	}
}
