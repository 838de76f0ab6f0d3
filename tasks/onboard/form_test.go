package onboard

import (
	"net/url"
	"strings"
	"testing"

	"botfleet/bitrix"
)

// Secrets of the forms here: nothing may ever print them.
const (
	accessToken  = "4cc3sst0k3n4cc3sst0k3n"
	refreshToken = "r3fr3sht0k3nr3fr3sht0k3n"
	appToken     = "4ppl1c4t10nt0k3n4ppl1c4t10nt0k3n"
)

// installForm is the form of an install as acme.bitrix24.ru sends it.
func installForm() url.Values {
	return url.Values{
		"event":                   {"ONAPPINSTALL"},
		"data[VERSION]":           {"1"},
		"data[LANGUAGE_ID]":       {"ru"},
		"ts":                      {"1795363200"},
		"auth[access_token]":      {accessToken},
		"auth[refresh_token]":     {refreshToken},
		"auth[expires]":           {"3600"},
		"auth[scope]":             {"imbot,im"},
		"auth[domain]":            {"acme.bitrix24.ru"},
		"auth[server_endpoint]":   {"https://oauth.bitrix24.tech/rest/"},
		"auth[client_endpoint]":   {"https://acme.bitrix24.ru/rest/"},
		"auth[member_id]":         {"a223c6b3710f85df22e9377d6c4f7553"},
		"auth[status]":            {"L"},
		"auth[application_token]": {appToken},
	}
}

// uninstallForm is what the same portal sends when it has enough.
func uninstallForm() url.Values {
	f := installForm()
	f.Set("event", "ONAPPUNINSTALL")
	f.Set("ts", "1795366800")
	for _, name := range []string{"auth[access_token]", "auth[refresh_token]", "auth[expires]", "data[VERSION]"} {
		f.Del(name)
	}
	return f
}

// with is a form with one value changed; nil removes it.
func with(f url.Values, name string, values ...string) url.Values {
	f.Del(name)
	if len(values) > 0 {
		f[name] = values
	}
	return f
}

func TestFormOfAnInstall(t *testing.T) {
	e, err := parseForm(installForm().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if e.name != eventInstall || e.domain != "acme.bitrix24.ru" || e.endpoint != "https://acme.bitrix24.ru/rest/" ||
		e.member != "a223c6b3710f85df22e9377d6c4f7553" || e.at != "1795363200" {
		t.Errorf("read as %+v", e)
	}
	if e.access.Reveal() != accessToken || e.refresh.Reveal() != refreshToken || e.app.Reveal() != appToken {
		t.Error("the secrets are others")
	}
}

func TestFormOfAnUninstall(t *testing.T) {
	e, err := parseForm(uninstallForm().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if e.name != eventUninstall || e.domain != "acme.bitrix24.ru" || e.app.Reveal() != appToken || e.access.Reveal() != "" {
		t.Errorf("read as %+v", e)
	}
}

func TestFormsThatAreTaken(t *testing.T) {
	for name, c := range map[string]struct {
		form   url.Values
		domain string
	}{
		"no client_endpoint":            {with(installForm(), "auth[client_endpoint]"), "acme.bitrix24.ru"},
		"no domain":                     {with(installForm(), "auth[domain]"), "acme.bitrix24.ru"},
		"domain with the port of https": {with(installForm(), "auth[domain]", "ACME.bitrix24.ru:443"), "acme.bitrix24.ru"},
		"domain with a port":            {with(installForm(), "auth[domain]", "crm.acme.example:8443"), "crm.acme.example:8443"},
		"event in lower case":           {with(installForm(), "event", "OnAppInstall"), "acme.bitrix24.ru"},
		"no time":                       {with(installForm(), "ts"), "acme.bitrix24.ru"},
		"text in other languages":       {with(installForm(), "data[NAME]", "Ромашка"), "acme.bitrix24.ru"},
		"a value many times that is not read": {
			with(installForm(), "data[X]", "1", "2"), "acme.bitrix24.ru"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parseForm(c.form.Encode())
			if err != nil || !e.known() || e.domain != c.domain {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

// hostileBodies are bodies that are no event.
func hostileBodies() map[string]string {
	bodies := map[string]string{
		"empty":             "",
		"JSON":              `{"event":"ONAPPINSTALL"}`,
		"broken escape":     "event=%ZZ",
		"a semicolon":       "event=ONAPPINSTALL;auth[domain]=x",
		"only separators":   strings.Repeat("&", 1000),
		"XML":               `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>`,
		"NUL bytes":         "\x00\x00\x00=\x00",
		"PHP's other forms": "auth=1&auth[][member_id]=2&event[]=ONAPPINSTALL",
		"very many values":  strings.Repeat("auth[member_id]=a&", 3000),
	}
	for _, name := range []string{"event", "auth[member_id]", "auth[application_token]", "auth[access_token]", "auth[refresh_token]"} {
		bodies["no "+name] = with(installForm(), name).Encode()
		bodies["empty "+name] = with(installForm(), name, "").Encode()
		bodies["twice "+name] = with(installForm(), name, "a", "b").Encode()
		bodies["endless "+name] = with(installForm(), name, strings.Repeat("a", 2000)).Encode()
		bodies["line break in "+name] = with(installForm(), name, "a\nlevel=ERROR").Encode()
		bodies["NUL in "+name] = with(installForm(), name, "a\x00b").Encode()
		bodies["broken UTF-8 in "+name] = with(installForm(), name, "a\xff").Encode()
	}
	for how, domain := range map[string]string{
		"with a path":     "acme.bitrix24.ru/rest",
		"with a scheme":   "https://acme.bitrix24.ru",
		"with a user":     "evil@acme.bitrix24.ru",
		"with a query":    "acme.bitrix24.ru?x",
		"with a backtick": "`id`",
		"with a space":    "acme bitrix24.ru",
		"two dots":        "acme..bitrix24.ru",
		"no port number":  "acme.bitrix24.ru:http",
		"long":            strings.Repeat("a.", 200) + "ru",
		"twice encoded":   "acme%2Ebitrix24.ru",
		"not ASCII":       "аcme.bitrix24.ru",
	} {
		bodies["domain "+how] = with(installForm(), "auth[domain]", domain).Encode()
	}
	neither := with(with(installForm(), "auth[domain]"), "auth[client_endpoint]")
	bodies["neither domain nor endpoint"] = neither.Encode()
	bodies["member_id with a quote"] = with(installForm(), "auth[member_id]", `a"b`).Encode()
	bodies["member_id with a colon"] = with(installForm(), "auth[member_id]", "botfleet:{portals}").Encode()
	bodies["uninstall without application_token"] = with(uninstallForm(), "auth[application_token]").Encode()
	return bodies
}

func TestHostileForms(t *testing.T) {
	for name, body := range hostileBodies() {
		t.Run(name, func(t *testing.T) {
			e, err := parseForm(body)
			if err == nil {
				t.Fatalf("taken as %+v", e)
			}
			for _, s := range []string{accessToken, refreshToken, appToken, "evil", "level=ERROR"} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("the error repeats what came from outside: %v", err)
				}
			}
		})
	}
}

func TestOtherEventsAreRecognised(t *testing.T) {
	form := with(uninstallForm(), "event", "ONIMBOTMESSAGEADD")
	e, err := parseForm(form.Encode())
	if err != nil || e.known() {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := parseForm(with(form, "auth[member_id]").Encode()); err == nil {
		t.Error("one without a member_id is taken")
	}
}

// id of a form.
func idOf(t *testing.T, f url.Values) string {
	t.Helper()
	e, err := parseForm(f.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return e.id()
}

func TestIDsOfEvents(t *testing.T) {
	install, uninstall := idOf(t, installForm()), idOf(t, uninstallForm())
	same := map[string]url.Values{
		"another time":           with(installForm(), "ts", "1795363299"),
		"other data":             with(installForm(), "data[VERSION]", "2"),
		"the domain in capitals": with(installForm(), "auth[domain]", "ACME.bitrix24.ru"),
	}
	for name, f := range same {
		if idOf(t, f) != install {
			t.Errorf("%s: another event", name)
		}
	}
	for _, name := range []string{"auth[access_token]", "auth[refresh_token]", "auth[application_token]", "auth[member_id]"} {
		if idOf(t, with(installForm(), name, "other")) == install {
			t.Errorf("another %s: the same event", name)
		}
	}
	if idOf(t, with(uninstallForm(), "ts", "1795366801")) == uninstall {
		t.Error("an uninstall at another time is the same event")
	}
	// What one value ends with must not be what the next begins with.
	a := event{name: eventInstall, app: bitrix.NewSecret("ab"), access: bitrix.NewSecret("c")}
	b := event{name: eventInstall, app: bitrix.NewSecret("a"), access: bitrix.NewSecret("bc")}
	if a.id() == b.id() {
		t.Error("two events have one id")
	}
}

func FuzzForm(f *testing.F) {
	f.Add(installForm().Encode())
	f.Add(uninstallForm().Encode())
	f.Add(with(installForm(), "auth[client_endpoint]", "http://127.0.0.1:8080/rest/").Encode())
	f.Add(with(installForm(), "auth[domain]", "[::1]:8080").Encode())
	for _, body := range hostileBodies() {
		if len(body) < 2000 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		e, err := parseForm(body)
		if err != nil {
			if len(err.Error()) > 120 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("the error is no fixed text: %q", err)
			}
			return
		}
		if !e.known() {
			return
		}
		if a, err := bitrix.NewOAuth(e.domain, "x"); err != nil || a.Host() != e.domain {
			t.Errorf("domain %q is not in its one form: %v", e.domain, err)
		}
		if e.member == "" || len(e.member) > maxMemberID || !isMemberID(e.member) {
			t.Errorf("member_id %q", e.member)
		}
		if e.app.Reveal() == "" || e.name == eventInstall && (e.access.Reveal() == "" || e.refresh.Reveal() == "") {
			t.Error("a secret is missing")
		}
		raw, err := e.seal(testKeys, testNow)
		if err != nil || len(raw) > maxPayload {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		p, err := decodePayload(raw)
		if err != nil {
			t.Fatal(err)
		}
		back, err := p.open(testKeys)
		if err != nil {
			t.Fatal(err)
		}
		back.at = e.at
		if back.id() != e.id() {
			t.Errorf("%+v came back as %+v", e, back)
		}
	})
}
