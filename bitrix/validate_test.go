// The rules of a registration, one by one and all at once.

package bitrix

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func singles(b *Bot) {
	b.EventHandler = ""
	b.EventMessageAdd = "https://a.example/add"
	b.EventWelcomeMessage = "http://a.example/hi"
	b.EventBotDelete = "https://a.example:8443/del"
}

// TestValidate gives each change of a good bot and the problems it must cause,
// as "FIELD CODE".
func TestValidate(t *testing.T) {
	handler := func(url string) func(*Bot) { return func(b *Bot) { b.EventHandler = url } }
	email := func(s string) func(*Bot) { return func(b *Bot) { b.Properties.Email = s } }
	birthday := func(s string) func(*Bot) { return func(b *Bot) { b.Properties.PersonalBirthday = s } }
	www := func(s string) func(*Bot) { return func(b *Bot) { b.Properties.PersonalWWW = s } }
	badHandler := []string{"EVENT_HANDLER EVENT_MESSAGE_ADD_ERROR"}
	badEmail := []string{"PROPERTIES.EMAIL WRONG_REQUEST"}
	badDate := []string{"PROPERTIES.PERSONAL_BIRTHDAY WRONG_REQUEST"}
	badWWW := []string{"PROPERTIES.PERSONAL_WWW WRONG_REQUEST"}
	tests := []struct {
		name   string
		change func(*Bot)
		want   []string
	}{
		{"good", func(*Bot) {}, nil},
		{"single handlers", singles, nil},
		{"no code", func(b *Bot) { b.Code = "" }, []string{"CODE CODE_ERROR"}},
		{"blank code", func(b *Bot) { b.Code = " \t\u00a0" }, []string{"CODE CODE_ERROR"}},
		{"code of 50 characters", func(b *Bot) { b.Code = strings.Repeat("ж", 50) }, nil},
		{"code of 51 characters", func(b *Bot) { b.Code = strings.Repeat("ж", 51) }, []string{"CODE WRONG_REQUEST"}},
		{"no name", func(b *Bot) { b.Properties.Name, b.Properties.LastName = "", " " }, []string{"PROPERTIES.NAME NAME_ERROR"}},
		{"last name only", func(b *Bot) { b.Properties.Name = "" }, nil},
		{"type", func(b *Bot) { b.Type = "b" }, []string{"TYPE WRONG_REQUEST"}},
		{"type H", func(b *Bot) { b.Type = "H" }, nil},
		{"openline", func(b *Bot) { b.OpenLine = "yes" }, []string{"OPENLINE WRONG_REQUEST"}},
		{"color", func(b *Bot) { b.Properties.Color = "azure" }, []string{"PROPERTIES.COLOR WRONG_REQUEST"}},
		{"gender", func(b *Bot) { b.Properties.PersonalGender = "X" }, []string{"PROPERTIES.PERSONAL_GENDER WRONG_REQUEST"}},
		{"both kinds of handler", func(b *Bot) { b.EventBotDelete = "https://a.example/x" }, []string{"EVENT_BOT_DELETE EVENT_BOT_DELETE_ERROR"}},
		{"no handler", handler(""), []string{"EVENT_MESSAGE_ADD EVENT_MESSAGE_ADD_ERROR",
			"EVENT_WELCOME_MESSAGE EVENT_WELCOME_MESSAGE_ERROR", "EVENT_BOT_DELETE EVENT_BOT_DELETE_ERROR"}},
		{"bad update handler", func(b *Bot) { singles(b); b.EventMessageUpdate = "https://nodot/" },
			[]string{"EVENT_MESSAGE_UPDATE EVENT_MESSAGE_UPDATE_ERROR"}},
		{"handler of the public page", handler("http://www.hazz/chatApi/event.php"), nil},
		{"handler with user and port", handler("https://u:p@a.b:8080?x=1"), nil},
		{"handler without scheme", handler("bots.example.com/x"), badHandler},
		{"handler with capitals", handler("HTTPS://bots.example.com"), badHandler},
		{"handler by ftp", handler("ftp://bots.example.com"), badHandler},
		{"handler at localhost", handler("http://localhost/x"), badHandler},
		{"handler with first dot", handler("http://.com/x"), badHandler},
		{"handler with dot in path", handler("http://host/x.php"), badHandler},
		{"handler with dot in user", handler("http://a.b@host/"), badHandler},
		{"handler with bad port", handler("http://a.b:99999/"), badHandler},
		{"handler with space", handler("http://a.b/c d"), badHandler},
		{"blank handler", handler("  "), badHandler},
		{"handler over 4 KB", handler("http://a.b/" + strings.Repeat("x", 4096)), badHandler},
		{"email plus", email("a.b+c@xn--d.example.org"), nil},
		{"email cyrillic", email("бот@пример.рф"), nil},
		{"email without at", email("bot.example.com"), badEmail},
		{"email two ats", email("a@b@example.com"), badEmail},
		{"email no dot", email("a@example"), badEmail},
		{"email double dot", email("a..b@example.com"), badEmail},
		{"email short end", email("a@example.c"), badEmail},
		{"email space", email("a b@example.com"), badEmail},
		{"leap day", birthday("2016-02-29"), nil},
		{"no leap day", birthday("2015-02-29"), badDate},
		{"date order", birthday("11.03.2016"), badDate},
		{"short date", birthday("2016-3-1"), badDate},
		{"year 0", birthday("0000-01-01"), badDate},
		{"www bare", www("www.example.com/x"), nil},
		{"www script", www("javascript:alert(1)"), badWWW},
		{"www word", www("example"), badWWW},
		{"www ftp", www("ftp://example.com"), badWWW},
		{"long position", func(b *Bot) { b.Properties.WorkPosition = strings.Repeat("x", 4097) }, []string{"PROPERTIES.WORK_POSITION WRONG_REQUEST"}},
		{"4 KB position", func(b *Bot) { b.Properties.WorkPosition = strings.Repeat("x", 4096) }, nil},
		{"broken UTF-8", func(b *Bot) { b.Properties.Name = "a\xff" }, []string{"PROPERTIES.NAME WRONG_REQUEST"}},
		{"NUL", func(b *Bot) { b.Properties.LastName = "a\x00b" }, []string{"PROPERTIES.LAST_NAME WRONG_REQUEST"}},
		{"all at once", func(b *Bot) { *b = Bot{Type: "x", Properties: Properties{Email: "x"}} },
			[]string{"CLIENT_ID ACCESS_DENIED", "EVENT_MESSAGE_ADD EVENT_MESSAGE_ADD_ERROR", "EVENT_WELCOME_MESSAGE EVENT_WELCOME_MESSAGE_ERROR",
				"EVENT_BOT_DELETE EVENT_BOT_DELETE_ERROR", "CODE CODE_ERROR", "PROPERTIES.NAME NAME_ERROR", "TYPE WRONG_REQUEST", "PROPERTIES.EMAIL WRONG_REQUEST"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := goodBot()
			tt.change(b)
			if diff := cmp.Diff(tt.want, brief(b.Validate(Rules{Webhook: true}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func brief(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Field+" "+p.Code)
	}
	return all
}

func TestValidateClientID(t *testing.T) {
	b := goodBot()
	b.ClientID = " "
	want := []string{"CLIENT_ID ACCESS_DENIED"}
	if got := brief(b.Validate(Rules{Webhook: true})); !slices.Equal(got, want) {
		t.Errorf("webhook without CLIENT_ID: %v", got)
	}
	if got := b.Validate(Rules{Webhook: true, ClientID: "portal"}); got != nil {
		t.Errorf("the portal's own CLIENT_ID does not do: %v", got)
	}
	if got := b.Validate(Rules{}); got != nil {
		t.Errorf("OAuth needs no CLIENT_ID: %v", got)
	}
}

func TestValidateAllocatesNothing(t *testing.T) {
	b := goodBot()
	if n := testing.AllocsPerRun(100, func() { _ = b.Validate(Rules{Webhook: true}) }); n != 0 {
		t.Errorf("%v allocations for a valid row", n)
	}
	if n := testing.AllocsPerRun(100, func() { _ = CanBatch(b) }); n != 0 {
		t.Errorf("%v allocations in CanBatch", n)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name string
		bot  Bot
		want []string
	}{
		{"none", *goodBot(), nil},
		{"open channel", Bot{Type: "O", OpenLine: "N"}, []string{"OPENLINE OPENLINE_FORCED"}},
		{"open channel, silent", Bot{Type: "O", EventMessageUpdate: "x"}, nil},
		{"human", Bot{Type: "H"}, []string{"TYPE TYPE_STORED_AS_B"}},
		{"ignored", Bot{EventMessageUpdate: "x", EventMessageDelete: "x"},
			[]string{"EVENT_MESSAGE_UPDATE HANDLER_IGNORED", "EVENT_MESSAGE_DELETE HANDLER_IGNORED"}},
		{"kept with OPENLINE", Bot{Type: "B", OpenLine: "Y", EventMessageUpdate: "x"}, nil},
		{"supervisor", Bot{Type: "S", OpenLine: "N", EventMessageDelete: "x"}, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, brief(tt.bot.Warnings())); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestHandlerSet(t *testing.T) {
	all := Bot{EventHandler: "https://a.b/x"}
	each := Bot{Type: "S", EventMessageAdd: "https://a.b/x", EventWelcomeMessage: "https://a.b/x", EventBotDelete: "https://a.b/x"}
	if all.HandlerSet() != each.HandlerSet() {
		t.Error("EVENT_HANDLER differs from the same URL for each event")
	}
	each.EventMessageUpdate = "https://a.b/update"
	if all.HandlerSet() == each.HandlerSet() {
		t.Error("another bound update handler is not seen")
	}
	each.Type = "B"
	if all.HandlerSet() != each.HandlerSet() {
		t.Error("an ignored update handler counts")
	}
	each.EventBotDelete = "https://a.b/other"
	if all.HandlerSet() == each.HandlerSet() {
		t.Error("another delete handler is not seen")
	}
}

// TestValidateProblemsAreClean: whatever a row holds, its problems are short
// lines of valid text.
func TestValidateProblemsAreClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, name)) }
		b := Bot{Code: text("code"), Type: text("type"), EventHandler: text("handler"),
			Properties: Properties{Name: text("name"), Color: text("color"), Email: text("email"),
				PersonalBirthday: text("birthday"), PersonalWWW: text("www"), PersonalPhoto: text("photo")}}
		for _, p := range b.Validate(Rules{Webhook: true}) {
			if p.Field == "" || p.Code == "" || p.Problem == "" || len(p.Problem) > 600 ||
				!utf8.ValidString(p.Problem) || strings.ContainsAny(p.Problem, "\n\x00") {
				t.Fatalf("bad problem: %+v", p)
			}
		}
	})
}
