package onboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/portals"
)

var (
	testKeys = mustKeys(portals.NewKey())
	testNow  = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
)

func mustKeys(s string) portals.Keyring {
	keys, err := portals.ParseKeys(s)
	if err != nil {
		panic(err)
	}
	return keys
}

func parsed(t *testing.T, body string) event {
	t.Helper()
	e, err := parseForm(body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sealed is the payload of an install.
func sealed(t *testing.T) []byte {
	t.Helper()
	e := parsed(t, installForm().Encode())
	raw, err := e.seal(testKeys, testNow)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func noSecret(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range []string{accessToken, refreshToken, appToken} {
		if strings.Contains(text, s) {
			t.Errorf("%s holds a secret: %s", what, text)
		}
	}
}

func TestSealedEventOpens(t *testing.T) {
	raw := sealed(t)
	noSecret(t, "the payload", string(raw))
	for _, s := range []string{`"event":"ONAPPINSTALL"`, `"domain":"acme.bitrix24.ru"`, `"at":"2026-11-22T12:00:00.123Z"`} {
		if !strings.Contains(string(raw), s) {
			t.Errorf("a person finds no %s in %s", s, raw)
		}
	}
	p, err := decodePayload(raw)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.open(testKeys)
	if err != nil {
		t.Fatal(err)
	}
	if e.access.Reveal() != accessToken || e.refresh.Reveal() != refreshToken || e.app.Reveal() != appToken ||
		e.member != "a223c6b3710f85df22e9377d6c4f7553" || e.endpoint != "https://acme.bitrix24.ru/rest/" {
		t.Errorf("opened as %+v", e)
	}
}

func TestEventsDoNotPrint(t *testing.T) {
	e := parsed(t, installForm().Encode())
	p, err := decodePayload(sealed(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		noSecret(t, verb, fmt.Sprintf(verb+verb+verb, e, &e, p))
	}
}

// Whoever can write to Redis can change what is open, but not without being found out.
func TestChangedEventDoesNotOpen(t *testing.T) {
	var p payload
	if err := json.Unmarshal(sealed(t), &p); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*payload){
		"event":  func(p *payload) { p.Event = eventUninstall },
		"domain": func(p *payload) { p.Domain = "evil.bitrix24.ru" },
		"time":   func(p *payload) { p.At = p.At.Add(time.Hour) },
		"seal":   func(p *payload) { p.Sealed = p.Sealed[:len(p.Sealed)-2] + "AA" },
		"no key": func(p *payload) { p.Sealed = "x" },
	} {
		changed := p
		change(&changed)
		if _, err := changed.open(testKeys); !errors.Is(err, errUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := mustKeys(portals.NewKey())
	if _, err := p.open(other); err == nil || errors.Is(err, errUnreadable) || !strings.Contains(err.Error(), testKeys.IDs()[0]) {
		t.Errorf("under another key: %v", err)
	}
	both := mustKeys(portals.NewKey())
	if _, err := p.open(both); err == nil {
		t.Error("opened without its key")
	}
}

func TestUnreadablePayloads(t *testing.T) {
	good := string(sealed(t))
	for name, raw := range map[string]string{
		"empty":          "",
		"no JSON":        "hello",
		"another shape":  `[1,2]`,
		"other version":  strings.Replace(good, `"v":1`, `"v":2`, 1),
		"unknown field":  strings.Replace(good, `"v":1`, `"v":1,"x":1`, 1),
		"unknown event":  strings.Replace(good, "ONAPPINSTALL", "ONAPPUPDATE", 1),
		"no domain":      strings.Replace(good, "acme.bitrix24.ru", "", 1),
		"two at once":    good + good,
		"a closing one":  good + "]",
		"10 MB":          `{"v":1,"event":"` + strings.Repeat("a", 10<<20) + `"}`,
		"deep":           strings.Repeat("[", 30_000),
		"cut":            good[:len(good)/2],
		"a registration": `{"v":1,"run":"r","row":1,"pid":"x","portal":"p","code":"c"}`,
	} {
		if p, err := decodePayload([]byte(raw)); !errors.Is(err, errUnreadable) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}
