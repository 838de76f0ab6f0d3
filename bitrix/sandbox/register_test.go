package sandbox

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/gif"
	"image/png"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestOrderOfChecks gives a call everything wrong at once and mends one thing
// after another: each time the next check must speak.
func TestOrderOfChecks(t *testing.T) {
	v := visit(t, Portal{})
	good := "https://bots.example.com/h"
	steps := []struct{ mend, code, text string }{
		{"", "ACCESS_DENIED", "Access denied! Client ID not specified"},
		{`"CLIENT_ID":"app"`, "EVENT_MESSAGE_ADD_ERROR", `Handler for "Message add" event isn't specified`},
		{`"EVENT_MESSAGE_ADD":"nonsense"`, "EVENT_MESSAGE_ADD_ERROR", "Wrong handler URL"},
		{`"EVENT_MESSAGE_ADD":"ftp://a.b/c"`, "EVENT_MESSAGE_ADD_ERROR", "Unsupported handler protocol"},
		{`"EVENT_MESSAGE_ADD":"` + good + `","EVENT_MESSAGE_UPDATE":"x","EVENT_MESSAGE_DELETE":"x","EVENT_CONTEXT_GET":"x"`,
			"EVENT_MESSAGE_UPDATE_ERROR", "Wrong handler URL"},
		{`"EVENT_MESSAGE_UPDATE":""`, "EVENT_MESSAGE_DELETE_ERROR", "Wrong handler URL"},
		{`"EVENT_MESSAGE_DELETE":"` + good + `"`, "EVENT_CONTEXT_GET_ERROR", "Wrong handler URL"},
		{`"EVENT_CONTEXT_GET":"` + good + `"`, "EVENT_WELCOME_MESSAGE_ERROR", `Handler for "Welcome message" event isn't specified`},
		{`"EVENT_WELCOME_MESSAGE":"` + good + `"`, "EVENT_BOT_DELETE_ERROR", `Handler for "Bot delete" event isn't specified`},
		{`"EVENT_BOT_DELETE":"` + good + `"`, "CODE_ERROR", "Bot code isn't specified"},
		{`"CODE":"0"`, "CODE_ERROR", "Bot code isn't specified"}, // empty to PHP
		{`"CODE":"helper"`, "NAME_ERROR", "Bot name isn't specified"},
		{`"PROPERTIES":{"NAME":null}`, "NAME_ERROR", "Bot name isn't specified"},
	}
	body := `"TYPE":"B"`
	for _, s := range steps {
		if s.mend != "" {
			body += "," + s.mend
		}
		status := 400
		if s.code == "ACCESS_DENIED" {
			status = 403
		}
		v.fails("imbot.register", "{"+body+"}", status, s.code, s.text)
	}
	v.works("imbot.register", "{"+body+`,"PROPERTIES":{"NAME":""}}`, "39")
	if n := len(v.st.Bots()); n != 1 {
		t.Errorf("%d bots", n)
	}
}

func TestParameterNamesAreCaseless(t *testing.T) {
	v := visit(t, Portal{})
	v.works("imbot.register", `{"code":"a","Client_Id":5,"event_handler":"http://a.b","properties":{"NAME":"x"}}`, "39")
	if b := v.st.Bots()[0]; b.App != "custom5" || b.Code != "a" {
		t.Errorf("stored %+v", b)
	}
}

func TestHandlerURLs(t *testing.T) {
	for u, want := range map[string]string{
		"https://a.b":                 "",
		"http://a.b:8080/x?y=z#f":     "",
		"https://user:pw@a.b/":        "",
		"https://a.":                  "",
		"https://.a":                  "Wrong handler URL",
		"https://localhost/x":         "Wrong handler URL",
		"https://localhost/x.y":       "Wrong handler URL",
		"https://me.you@localhost/":   "Wrong handler URL",
		"//a.b/c":                     "Wrong handler URL",
		"a.b/c":                       "Wrong handler URL",
		"":                            "Wrong handler URL",
		"HTTPS://a.b/":                "Unsupported handler protocol",
		"ftp://a.b/":                  "Unsupported handler protocol",
		"ftp://localhost/":            "Wrong handler URL",
		"https://bots.example.com/?q": "",
	} {
		if got := handlerProblem(u); got != want {
			t.Errorf("%s: %q, want %q", u, got, want)
		}
	}
}

func TestWhatIsStored(t *testing.T) {
	var tiny, wide bytes.Buffer
	if err := png.Encode(&tiny, image.NewGray(image.Rect(0, 0, 2, 3))); err != nil {
		t.Fatal(err)
	}
	if err := gif.Encode(&wide, image.NewGray(image.Rect(0, 0, 5001, 1)), nil); err != nil {
		t.Fatal(err)
	}
	photo := base64.StdEncoding.EncodeToString(tiny.Bytes())
	tooWide := base64.StdEncoding.EncodeToString(wide.Bytes())
	type stored struct {
		Type, Color, Gender, Photo string
		OpenLine                   bool
	}
	cases := []struct {
		name, more string
		want       stored
	}{
		{"defaults", `"X":1`, stored{Type: "B"}},
		{"unknown type", `"TYPE":"Q"`, stored{Type: "B"}},
		{"lower case type", `"TYPE":"s"`, stored{Type: "B"}},
		{"supervisor", `"TYPE":"S"`, stored{Type: "S"}},
		{"open channels forced", `"TYPE":"O","OPENLINE":"N"`, stored{Type: "O", OpenLine: true}},
		{"open channels added", `"TYPE":"B","OPENLINE":"Y"`, stored{Type: "B", OpenLine: true}},
		{"openline nonsense", `"OPENLINE":"yes"`, stored{Type: "B"}},
		{"color", props(`"COLOR":"AZURE","PERSONAL_GENDER":"F"`), stored{Type: "B", Color: "AZURE", Gender: "F"}},
		{"unknown color and gender", props(`"COLOR":"azure","PERSONAL_GENDER":"X"`), stored{Type: "B"}},
		{"photo", props(`"PERSONAL_PHOTO":"` + photo + `"`), stored{Type: "B", Photo: "png"}},
		{"photo with file name", props(`"PERSONAL_PHOTO":["a.png","` + photo + `"]`), stored{Type: "B", Photo: "png"}},
		{"photo with data prefix", props(`"PERSONAL_PHOTO":"data:image/png;base64,` + photo + `"`), stored{Type: "B"}},
		{"photo broken", props(`"PERSONAL_PHOTO":"` + photo[:20] + `"`), stored{Type: "B"}},
		{"photo too wide", props(`"PERSONAL_PHOTO":"` + tooWide + `"`), stored{Type: "B"}},
		{"photo no base64", props(`"PERSONAL_PHOTO":"@img/a.png"`), stored{Type: "B"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := visit(t, Portal{})
			v.works("imbot.register", bot("helper", c.more), "39")
			b := v.st.Bots()[0]
			got := stored{b.Type, b.Color, b.Gender, b.PhotoFormat, b.OpenLine}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func props(more string) string { return `"PROPERTIES":{"NAME":"x",` + more + `}` }

func TestTypeHByDialect(t *testing.T) {
	for d, want := range map[Dialect]string{Documented: "H", Published: "B"} {
		v := visit(t, Portal{Dialect: d})
		v.works("imbot.register", bot("helper", `"TYPE":"H"`), "39")
		if got := v.st.Bots()[0].Type; got != want {
			t.Errorf("%s stores %s", d, got)
		}
	}
}

func TestRefusedAfterTheWork(t *testing.T) {
	v := visit(t, Portal{})
	v.fails("imbot.register", bot(strings.Repeat("я", 51)), 400, "WRONG_REQUEST", "Bot can't be created")
	v.fails("imbot.register", bot("a", props(`"EMAIL":"nobody"`)), 400, "WRONG_REQUEST", "")
	v.fails("imbot.register", bot("a", props(`"PERSONAL_BIRTHDAY":"2024-02-30"`)), 400, "500", "")
	v.works("imbot.register", bot(strings.Repeat("я", 50), props(`"EMAIL":"a@b.ru","PERSONAL_BIRTHDAY":"2024-02-29"`)), "39")
}

func TestGetOrCreateOverAllApplications(t *testing.T) {
	v := visit(t, Portal{Tokens: []Token{{Value: "tok", App: "local.1"}}})
	v.works("imbot.register", bot("Helper"), "39")
	// Existing bots come back as strings, unchanged, whoever asks.
	v.works("imbot.register", bot("hELPER", props(`"COLOR":"RED"`)), `"39"`)
	a := v.send("/rest/imbot.register", strings.Replace(bot("helper"), "{", `{"auth":"tok",`, 1))
	if string(a.Result) != `"39"` {
		t.Errorf("other application: %s", a.raw)
	}
	if b := v.st.Bots(); len(b) != 1 || b[0].Color != "" || b[0].App != "customapp" || b[0].Code != "Helper" {
		t.Errorf("stored %+v", b)
	}
	if s := v.st.Stats(); s.BotsCreated != 1 || s.BotsReturned != 2 || s.DuplicateCodes != 0 {
		t.Errorf("counted %+v", s)
	}
	a = v.send("/rest/imbot.update", `{"auth":"tok","BOT_ID":39,"FIELDS":{"PROPERTIES":{"NAME":"x"}}}`)
	if a.status != 400 || a.Error != "APP_ID_ERROR" {
		t.Errorf("another application's bot was updated: %s", a.raw)
	}
}

func TestHandlersAreTheApplications(t *testing.T) {
	v := visit(t, Portal{Tokens: []Token{{Value: "tok", App: "local.1"}}})
	v.works("imbot.register", bot("a", `"EVENT_HANDLER":"https://a.b/one"`), "")
	want := map[string]string{}
	for _, e := range []string{"EVENT_MESSAGE_ADD", "EVENT_CONTEXT_GET", "EVENT_WELCOME_MESSAGE", "EVENT_BOT_DELETE"} {
		want[e] = "https://a.b/one?CLIENT_ID=app"
	}
	if d := cmp.Diff(want, v.st.Handlers("customapp")); d != "" {
		t.Error("UPDATE and DELETE are not for a B bot:", d)
	}
	// A second bot redirects the first one's events; EVENT_HANDLER beats single ones.
	v.works("imbot.register", bot("b", `"TYPE":"S","EVENT_HANDLER":"https://a.b/two?x=y","EVENT_MESSAGE_ADD":"https://a.b/lost"`), "")
	for _, e := range events {
		if got := v.st.Handlers("customapp")[e.param]; got != "https://a.b/two?x=y&CLIENT_ID=app" {
			t.Errorf("%s is %q", e.param, got)
		}
	}
	// So does a repeat that returns an existing bot, for the caller's application.
	v.send("/rest/imbot.register", `{"auth":"tok","CODE":"a","EVENT_HANDLER":"https://a.b/three","PROPERTIES":{"NAME":"x"}}`)
	if got := v.st.Handlers("local.1")["EVENT_MESSAGE_ADD"]; got != "https://a.b/three" {
		t.Errorf("OAuth application's handler is %q", got)
	}
	if d := cmp.Diff([]string{"customapp", "local.1"}, v.st.Applications()); d != "" {
		t.Error(d)
	}
}

func TestMaxBotsPerApplication(t *testing.T) {
	for _, strict := range []bool{false, true} {
		v := visit(t, Portal{MaxBotsPerApp: 2, MaxBotsStrict: strict})
		v.works("imbot.register", bot("a"), "39")
		v.works("imbot.register", bot("b"), "40")
		text := "Has reached the maximum number of bots for application (max: 2)"
		v.fails("imbot.register", bot("c"), 400, "MAX_COUNT_ERROR", text)
		if strict {
			v.fails("imbot.register", bot("a"), 400, "MAX_COUNT_ERROR", text)
		} else {
			v.works("imbot.register", bot("a"), `"39"`)
		}
		v.works("imbot.register", strings.Replace(bot("c"), `"app"`, `"other"`, 1), "41")
		v.works("imbot.unregister", `{"CLIENT_ID":"app","BOT_ID":39}`, "true")
		v.works("imbot.register", bot("d"), "42")
	}
}

// TestLooseBase64 holds the decoder to what PHP's does: all bytes come back,
// whatever foreign characters lie between.
func TestLooseBase64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		text := base64.StdEncoding.EncodeToString(data)
		at := rapid.IntRange(0, len(text)).Draw(t, "at")
		junk := rapid.SampledFrom([]string{"", "\n", " ", ":;,", "-_"}).Draw(t, "junk")
		if got := looseBase64(text[:at] + junk + text[at:]); !bytes.Equal(got, data) {
			t.Fatalf("%q became %x, want %x", text, got, data)
		}
	})
}
