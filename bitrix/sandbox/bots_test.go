package sandbox

import "testing"

func TestList(t *testing.T) {
	for d, id := range map[Dialect]string{Documented: `"39"`, Published: `39`} {
		v := visit(t, Portal{Dialect: d})
		v.works("imbot.bot.list", "", `[]`)
		v.works("imbot.register", bot("a", `"PROPERTIES":{"NAME":"One","LAST_NAME":"Two"}`), "39")
		v.works("imbot.register", bot("b", `"CLIENT_ID":"other","TYPE":"O"`), "40")
		want := `{"39":{"ID":` + id + `,"NAME":"One Two","CODE":"a","OPENLINE":"N"},` +
			`"40":{"ID":` + map[bool]string{true: `"40"`, false: `40`}[d == Documented] + `,"NAME":"Helper","CODE":"b","OPENLINE":"Y"}}`
		v.works("imbot.bot.list", "", want)
	}
}

func TestUpdate(t *testing.T) {
	v := visit(t, Portal{})
	v.works("imbot.register", bot("a"), "39")
	v.fails("imbot.update", `{"BOT_ID":39}`, 403, "ACCESS_DENIED", "")
	v.fails("imbot.update", `{"CLIENT_ID":"app","BOT_ID":40}`, 400, "BOT_ID_ERROR", "")
	v.fails("imbot.update", `{"CLIENT_ID":"app","BOT_ID":"x"}`, 400, "BOT_ID_ERROR", "")
	v.fails("imbot.update", `{"CLIENT_ID":"other","BOT_ID":39,"FIELDS":{"CODE":"x"}}`, 400, "APP_ID_ERROR", "")
	v.fails("imbot.update", `{"CLIENT_ID":"app","BOT_ID":39,"FIELDS":{"EVENT_HANDLER":"x"}}`, 400, "EVENT_MESSAGE_ADD_ERROR", "Wrong handler URL")
	v.fails("imbot.update", `{"CLIENT_ID":"app","BOT_ID":39,"FIELDS":{"PROPERTIES":{"NAME":"Bad","EMAIL":"bad"}}}`, 400, "WRONG_REQUEST", "")
	v.fails("imbot.update", `{"CLIENT_ID":"app","BOT_ID":39}`, 400, "WRONG_REQUEST", "")
	if b := v.st.Bots()[0]; b.Name != "Helper" || b.Updates != 0 {
		t.Errorf("a refused update changed %+v", b)
	}
	v.works("imbot.update", `{"CLIENT_ID":"app","BOT_ID":"39","FIELDS":{"CODE":"new","EVENT_HANDLER":"https://c.d","PROPERTIES":{"COLOR":"RED"}}}`, "true")
	if b := v.st.Bots()[0]; b.Code != "new" || b.Name != "Helper" || b.Color != "RED" || b.Updates != 1 {
		t.Errorf("stored %+v", b)
	}
	if got := v.st.Handlers("customapp")["EVENT_MESSAGE_ADD"]; got != "https://c.d?CLIENT_ID=app" {
		t.Errorf("handler %q", got)
	}
	v.works("imbot.register", bot("NEW"), `"39"`)
	v.works("imbot.register", bot("a"), `40`)
}

func TestUnregister(t *testing.T) {
	v := visit(t, Portal{})
	v.works("imbot.register", bot("a"), "39")
	v.fails("imbot.unregister", `{"CLIENT_ID":"other","BOT_ID":39}`, 400, "APP_ID_ERROR", "")
	v.works("imbot.unregister", `{"CLIENT_ID":"app","BOT_ID":39}`, "true")
	v.fails("imbot.unregister", `{"CLIENT_ID":"app","BOT_ID":39}`, 400, "BOT_ID_ERROR", "")
	v.works("imbot.bot.list", "", "[]")
	v.works("imbot.register", bot("a"), "40")
}

func TestSmallMethods(t *testing.T) {
	v := visit(t, Portal{Scopes: []string{"imbot"}, Tokens: []Token{{Value: "tok", App: "local.1", User: "8", Scopes: []string{"im"}}}})
	v.works("scope", "", `["imbot"]`)
	v.works("app.info", "", `{"SCOPE":["imbot"]}`)
	if a := v.send("/rest/profile", `{"auth":"tok"}`); a.status != 200 || string(a.Result) == "" {
		t.Error(a.raw)
	}
	if a := v.send("/rest/app.info", `{"auth":"tok"}`); string(a.Result) != `{"CODE":"local.1","STATUS":"L","INSTALLED":true,"SCOPE":["im"]}` {
		t.Error(a.raw)
	}
}
