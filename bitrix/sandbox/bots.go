// The bots of a portal.

package sandbox

import (
	"strconv"
	"strings"
	"time"
)

// Bot is a bot as the portal stored it.
type Bot struct {
	ID       int
	Code     string
	App      string // custom{CLIENT_ID}, or the OAuth application's id
	Type     string // B, O, H or S
	OpenLine bool

	Name, LastName, Color, Email string
	Birthday, WorkPosition       string
	WWW, Gender                  string
	PhotoFormat                  string // png, jpeg or gif; empty when none was stored
	PhotoWidth, PhotoHeight      int
	PhotoSHA256                  string
	CreatedAt                    time.Time
	CreatedBy                    string // credential, as in RequestLog
	Updates                      int    // how often imbot.update changed it
	fold                         string
}

// fullName is how the portal shows the bot.
func (b *Bot) fullName() string { return strings.TrimSpace(b.Name + " " + b.LastName) }

// fold is the database's idea of equal CODEs: case does not matter.
func fold(code string) string { return strings.ToLower(code) }

// botTable keeps bots by id and by CODE. It does not keep CODEs unique: neither
// does a portal.
type botTable struct {
	next   int
	byID   map[int]*Bot
	byCode map[string][]*Bot // ascending ids
	byApp  map[string]int    // how many
	order  []int             // ascending ids
}

func newBotTable(first int) botTable {
	return botTable{next: first, byID: map[int]*Bot{}, byCode: map[string][]*Bot{}, byApp: map[string]int{}}
}

// lookup finds the oldest bot with a CODE.
func (t *botTable) lookup(code string) *Bot {
	if found := t.byCode[fold(code)]; len(found) > 0 {
		return found[0]
	}
	return nil
}

// insert stores a bot under the next id and reports whether its CODE was taken.
func (t *botTable) insert(b *Bot) (duplicate bool) {
	b.ID = t.next
	t.next++
	b.fold = fold(b.Code)
	duplicate = len(t.byCode[b.fold]) > 0
	t.byID[b.ID] = b
	t.byCode[b.fold] = append(t.byCode[b.fold], b)
	t.byApp[b.App]++
	t.order = append(t.order, b.ID)
	return duplicate
}

func (t *botTable) remove(b *Bot) {
	delete(t.byID, b.ID)
	t.unindex(b)
	if t.byApp[b.App]--; t.byApp[b.App] == 0 {
		delete(t.byApp, b.App)
	}
	for i, id := range t.order {
		if id == b.ID {
			t.order = append(t.order[:i], t.order[i+1:]...)
			break
		}
	}
}

// recode gives a bot another CODE.
func (t *botTable) recode(b *Bot, code string) {
	t.unindex(b)
	b.Code, b.fold = code, fold(code)
	t.byCode[b.fold] = append(t.byCode[b.fold], b)
}

func (t *botTable) unindex(b *Bot) {
	same := t.byCode[b.fold]
	for i, other := range same {
		if other == b {
			same = append(same[:i:i], same[i+1:]...)
			break
		}
	}
	if len(same) == 0 {
		delete(t.byCode, b.fold)
		return
	}
	t.byCode[b.fold] = same
}

// list is the result of imbot.bot.list: the bots of all applications.
func (c *call) list() (any, *failure) {
	if c.id.session {
		return nil, c.dialect().fail("WRONG_AUTH_TYPE")
	}
	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	out := &array{}
	for _, id := range st.bots.order {
		b := st.bots.byID[id]
		key := strconv.Itoa(id)
		item := &array{}
		if st.cfg.Dialect == Published {
			item.set("ID", id)
		} else {
			item.set("ID", key)
		}
		item.set("NAME", b.fullName())
		item.set("CODE", b.Code)
		item.set("OPENLINE", yesNo(b.OpenLine))
		out.set(key, item)
	}
	return out, nil
}

func yesNo(yes bool) string {
	if yes {
		return "Y"
	}
	return "N"
}

// unregister deletes a bot of the caller's application.
func (c *call) unregister() (any, *failure) {
	p := c.params.upperKeys()
	app, _, f := c.application(p)
	if f != nil {
		return nil, f
	}
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	b, f := c.owned(p, app)
	if f != nil {
		return nil, f
	}
	c.st.bots.remove(b)
	return true, nil
}

// update changes fields and handlers of a bot of the caller's application.
func (c *call) update() (any, *failure) {
	p := c.params.upperKeys()
	app, suffix, f := c.application(p)
	if f != nil {
		return nil, f
	}
	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	b, f := c.owned(p, app)
	if f != nil {
		return nil, f
	}
	fields := p.child("FIELDS")
	if fields.len() == 0 {
		return nil, c.dialect().fail("WRONG_REQUEST").say("Update fields can't be empty")
	}
	fields = fields.upperKeys()
	urls, f := handlers(c.dialect(), fields, suffix, false)
	if f != nil {
		return nil, f
	}
	changed := *b
	if f := changed.fill(c.dialect(), fields.child("PROPERTIES")); f != nil {
		return nil, f
	}
	if code := fields.text("CODE"); code != "" {
		if len([]rune(code)) > maxCode {
			return nil, c.dialect().fail("WRONG_REQUEST").say("Bot can't be updated")
		}
		st.bots.recode(b, code)
		changed.Code, changed.fold = b.Code, b.fold
	}
	changed.Updates++
	*b = changed
	st.bind(app, urls, !b.ignoresEdits())
	return true, nil
}

// owned finds the bot that BOT_ID names, if it is the application's own. The
// caller holds the portal's lock.
func (c *call) owned(p *array, app string) (*Bot, *failure) {
	id, err := strconv.Atoi(p.text("BOT_ID"))
	b := c.st.bots.byID[id]
	if err != nil || b == nil {
		return nil, c.dialect().fail("BOT_ID_ERROR")
	}
	if b.App != app {
		return nil, c.dialect().fail("APP_ID_ERROR")
	}
	return b, nil
}
